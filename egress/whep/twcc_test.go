package whep

import (
	"math/rand/v2"
	"testing"
	"time"
	"unsafe"

	"github.com/pion/interceptor/pkg/twcc"
	"github.com/pion/rtcp"
)

// told is what a feedback says of one packet.
type told struct {
	number uint16
	at     time.Duration
}

func readAll(b []byte) (all []told, ok bool) {
	ok = readTWCC(b, func(number uint16, at time.Duration) { all = append(all, told{number, at}) })
	return all, ok
}

// TestTWCC reads what another implementation writes: runs, gaps and jumps of
// all lengths, over the wrap of the numbers.
func TestTWCC(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	recorder := twcc.NewRecorder(7)
	number, now := uint16(65_400), int64(1_700_000_000_000_000)
	for round := range 200 {
		arrived := map[uint16]int64{}
		first := number
		for range 1 + random.IntN(300) {
			now += random.Int64N(5000)
			if random.IntN(40) == 0 {
				now += random.Int64N(150_000)
			}
			if random.IntN(5) > 0 || number == first {
				recorder.Record(9, number, now)
				arrived[number] = now
			}
			number++
			if random.IntN(30) == 0 {
				number += uint16(random.IntN(60))
			}
		}
		var all []told
		for _, p := range recorder.BuildFeedbackPacket() {
			b, err := p.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			h, ok := readHeader(b)
			if !ok || h.kind != rtpFeedback || h.format != formatTWCC || h.size != len(b) {
				t.Fatalf("header %+v of %d bytes", h, len(b))
			}
			some, ok := readAll(b)
			if !ok {
				t.Fatalf("round %d: not read", round)
			}
			all = append(all, some...)
		}
		known := 0
		var origin int64
		for _, one := range all {
			at, came := arrived[one.number]
			if (one.at >= 0) != came {
				if came || int16(one.number-first) >= 0 { // else it is of the round before
					t.Fatalf("round %d: packet %d at %v, arrived: %v", round, one.number, one.at, came)
				}
				continue
			}
			if !came {
				continue
			}
			if known == 0 {
				origin = at - one.at.Microseconds()
			}
			known++
			if off := at - one.at.Microseconds() - origin; off > 600 || off < -600 {
				t.Fatalf("round %d: packet %d is off by %d µs", round, one.number, off)
			}
		}
		if known != len(arrived) {
			t.Fatalf("round %d: told of %d packets, %d arrived", round, known, len(arrived))
		}
	}
}

func TestTWCCMalformed(t *testing.T) {
	whole := func(count, chunk uint16, deltas ...byte) []byte {
		b := append([]byte{0x8f, 205, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 5, byte(count >> 8), byte(count), 0, 0, 1, 0, byte(chunk >> 8), byte(chunk)}, deltas...)
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
		b[3] = byte(len(b)/4 - 1)
		return b
	}
	for name, tt := range map[string]struct {
		b    []byte
		want []told
		ok   bool
	}{
		"one":                     {whole(1, 0x2001, 4), []told{{5, 65 * time.Millisecond}}, true},
		"not there":               {whole(2, 0x0002), []told{{5, -1}, {6, -1}}, true},
		"reserved status":         {whole(1, 0x6001), []told{{5, -1}}, true},
		"back in time":            {whole(1, 0x4001, 0xff, 0xfc), []told{{5, 63 * time.Millisecond}}, true},
		"more chunk than count":   {whole(1, 0x8000|1<<13|1<<12, 4, 4), []told{{5, 65 * time.Millisecond}}, true},
		"a run of none":           {whole(1, 0x2000), nil, false},
		"deltas are missing":      {whole(9, 0x2009, 1, 2), []told{{5, 64*time.Millisecond + 250*time.Microsecond}, {6, 64*time.Millisecond + 750*time.Microsecond}}, false},
		"a long one is cut":       {whole(2, 0x4002, 0, 1)[:24], []told{{5, 64*time.Millisecond + 250*time.Microsecond}}, false},
		"chunks are missing":      {whole(9000, 0x1fff)[:22], nil, false},
		"more than is remembered": {whole(5000, 0x1388), nil, false},
		"short":                   {make([]byte, 19), nil, false},
	} {
		got, ok := readAll(tt.b)
		if ok != tt.ok || len(got) != len(tt.want) {
			t.Errorf("%s: %v, %v", name, got, ok)
			continue
		}
		for i := range got {
			if got[i] != tt.want[i] {
				t.Errorf("%s: %v, want %v", name, got, tt.want)
			}
		}
	}
}

func TestREMB(t *testing.T) {
	for _, want := range []float32{0, 1000, 262_144, 600_000, 8_927_168} {
		b, err := (&rtcp.ReceiverEstimatedMaximumBitrate{SenderSSRC: 1, Bitrate: want, SSRCs: []uint32{4711}}).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := readREMB(b); !ok || float32(got) > want || float32(got) < want*0.999 {
			t.Errorf("%v: got %d, %v", want, got, ok)
		}
	}
	if _, ok := readREMB([]byte("20 bytes, but other ones")); ok {
		t.Error("took something else")
	}
}

func FuzzTWCC(f *testing.F) {
	f.Add([]byte{0x8f, 205, 0, 5, 0, 0, 0, 1, 0, 0, 0, 2, 0, 5, 0, 1, 0, 0, 1, 0, 0x20, 1, 4, 0})
	log := sendlog{slots: make([]sent, sentSlots)}
	for i := range uint16(3000) {
		log.note(i, 1000, uint32(i)*3000, i%100 == 0)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		taken := 0
		readTWCC(b, func(uint16, time.Duration) { taken++ })
		if taken > maxReported {
			t.Errorf("%d packets", taken)
		}
		if g, _ := log.feedback(b); g.came > maxReported || g.last < g.first {
			t.Errorf("group %+v", g)
		}
		readREMB(b)
		readHeader(b)
	})
}

// TestSendlog: what is reported once, late, again or beyond the log's memory.
func TestSendlog(t *testing.T) {
	start := time.Now()
	log := sendlog{slots: make([]sent, sentSlots)}
	recorder := twcc.NewRecorder(7)
	feedback := func() (all group) {
		for _, p := range recorder.BuildFeedbackPacket() {
			b, err := p.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			g, ok := log.feedback(b)
			if !ok {
				t.Fatal("not read")
			}
			all.came, all.lost, all.bytes, all.again = all.came+g.came, all.lost+g.lost, all.bytes+g.bytes, all.again+g.again
			all.way, all.scouted = g.way, max(all.scouted, g.scouted)
		}
		return all
	}
	at := func(d time.Duration) uint32 { return log.micros(start.Add(d)) }
	arrive := func(number uint16, d time.Duration) { recorder.Record(9, number, start.Add(d).UnixMicro()) }
	const ms = time.Millisecond
	for i := range uint16(10) { // 3 and 4 are lost, 4 is repeated before that is known
		log.note(i, 1000-overhead, at(time.Duration(i)*ms), false)
		if i != 3 && i != 4 {
			arrive(i, 40*ms+time.Duration(i)*ms)
		}
	}
	log.again(4)
	if g := feedback(); g.came != 8 || g.lost != 2 || g.bytes != 8000 || g.again != 1000 || g.way.Abs() > ms {
		t.Errorf("first: %+v", g)
	}
	arrive(4, 120*ms) // the repeat: nothing new
	log.note(10, 1000-overhead, at(130*ms), false)
	arrive(10, 230*ms)
	if g := feedback(); g.came != 1 || g.lost != 0 || (g.way-60*ms).Abs() > ms {
		t.Errorf("second: %+v", g)
	}
	log.scout()
	for i := range uint16(12) { // 4 ms between packets of 500 bytes: a megabit a second
		log.note(11+i, 500-overhead, at(300*ms), true)
		if i != 5 {
			arrive(11+i, 350*ms+4*ms*time.Duration(i))
		}
	}
	if g := feedback(); g.scouted < 880_000 || g.scouted > 1_000_000 { // one is missing
		t.Errorf("a scout of a megabit found %d", g.scouted)
	}
	log.restart(start.Add(400 * ms))
	log.note(23, 100, at(390*ms), false)
	log.note(24, 100, at(410*ms), false)
	log.note(25, 100, at(420*ms), false)
	arrive(25, 480*ms)
	if g := feedback(); g.lost != 1 || g.came != 1 {
		t.Errorf("after a restart: %+v, want one lost: what was sent before does not count", g)
	}
	for i := range uint16(sentSlots) {
		log.note(26+i, 100, at(500*ms), false)
	}
	arrive(20, 600*ms)
	arrive(26+sentSlots-1, 600*ms)
	if g := feedback(); g.came != 1 {
		t.Errorf("a packet that is not remembered: %+v", g)
	}
	if (&sendlog{}).unwrap(nil) != 0 {
		t.Error("time of nothing")
	}
}

// TestWallClockIsSet: the gateway's wall clock may be set while it runs; no packet was on
// its way longer, or shorter, for that.
func TestWallClockIsSet(t *testing.T) {
	for _, seconds := range []int64{-3600, -1, 1, 3600} {
		log := sendlog{slots: make([]sent, sentSlots)}
		begin := time.Now()
		for i := range uint16(20) {
			now := begin.Add(time.Duration(i) * timeUnit)
			if i >= 10 {
				set := setWall(now, seconds)
				if set.Sub(now) != 0 || set.Unix()-now.Unix() != seconds {
					t.Fatalf("a wall clock that is set by %d s shows %v instead of %v", seconds, set, now)
				}
				now = set
			}
			if i == 12 {
				log.restart(now)
			}
			log.note(i, 100, log.micros(now), false)
			b := []byte{0x8f, 205, 0, 5, 0, 0, 0, 1, 0, 0, 0, 2, 0, byte(i), 0, 1, 0, 1, byte(i), 0, 0x20, 1, 4, 0}
			if g, ok := log.feedback(b); !ok || g.came != 1 || g.way != 0 {
				t.Errorf("set by %d s: feedback %d: %+v, %v", seconds, i, g, ok)
			}
		}
	}
}

// setWall returns what time.Now would have returned had the wall clock been set by so many
// seconds before. A Time has them in its first word, above 30 bits of nanoseconds, beside
// the monotonic clock's in its second one.
func setWall(t time.Time, seconds int64) time.Time {
	wall := (*uint64)(unsafe.Pointer(&t)) //nolint:gosec // there is no other way to have such a Time
	*wall += uint64(seconds) << 30        //nolint:gosec // it may wrap
	return t
}

// TestFeedbackClockWraps: a receiver's clock of 24 bits wraps every 12 days.
func TestFeedbackClockWraps(t *testing.T) {
	log := sendlog{slots: make([]sent, sentSlots)}
	before := time.Duration(-1)
	for i := range uint16(6) {
		reference := uint32(0xfffffd) + uint32(i)
		log.note(i, 100, uint32(i)*64_000, false)
		b := []byte{0x8f, 205, 0, 5, 0, 0, 0, 1, 0, 0, 0, 2, 0, byte(i), 0, 1, byte(reference >> 16), byte(reference >> 8), byte(reference), 0, 0x20, 1, 4, 0}
		g, ok := log.feedback(b)
		if !ok || g.came != 1 || g.way != 0 {
			t.Fatalf("feedback %d: %+v, %v", i, g, ok)
		}
		if before >= 0 && g.last-before != timeUnit {
			t.Errorf("feedback %d: the clock went on by %v", i, g.last-before)
		}
		before = g.last
	}
}
