//go:build unix

package packager

import (
	"log/slog"
	"syscall"
	"testing"
	"time"

	"github.com/whipcast/whipcast/packager/au"
	"github.com/whipcast/whipcast/stream"
)

// quality is a video layer of a benchmark: 30 pictures a second of so many packets.
type quality struct {
	width, height int
	packets, size int // of a picture; bytes of a packet
}

// Layers of 2.5 Mb/s alone, and of 6 Mb/s in all: 4, 1.5 and 0.5.
func single() []quality { return []quality{{1280, 720, 10, 1041}} }

func three() []quality {
	return []quality{{1920, 1080, 14, 1190}, {1280, 720, 6, 1041}, {640, 360, 2, 1041}}
}

// footage makes media by the picture: video layers with a key frame each 2 s, and
// Opus, 50 packets a second.
type footage struct {
	layers   []*burst
	audio    *au.Assembler
	audioSeq uint16
	audioTS  uint32
	ts       uint32
	frames   int
	units    []au.Unit
	packets  int
	bytes    int
	begin    time.Time
	elapsed  time.Duration
	opus     []byte
}

// burst is one layer of footage.
type burst struct {
	quality
	asm           *au.Assembler
	seq           uint16
	key, inter    []byte
	middle, final []byte
}

func newFootage(b testing.TB, layers []quality) *footage {
	b.Helper()
	s := &footage{begin: time.Now(), opus: make([]byte, 160)}
	s.opus[0] = 0xfc
	var err error
	if s.audio, err = au.New("Opus", au.Config{}); err != nil {
		b.Fatal(err)
	}
	for _, q := range layers {
		l := &burst{quality: q, key: keyPicture(q.width, q.height)[:q.size], inter: interPicture()[:q.size]}
		if l.asm, err = au.New("VP9", au.Config{}); err != nil {
			b.Fatal(err)
		}
		l.key[0], l.inter[0] = 0x08, 0x48
		l.middle, l.final = make([]byte, q.size), make([]byte, q.size)
		l.middle[0], l.final[0] = 0x40, 0x44
		s.layers = append(s.layers, l)
	}
	return s
}

// payload is that of a picture's packet.
func (l *burst) payload(frame, packet int) []byte {
	switch {
	case packet == l.packets-1:
		return l.final
	case packet > 0:
		return l.middle
	case frame%60 == 0:
		return l.key
	}
	return l.inter
}

// picture feeds a picture of each layer and what audio belongs to it.
func (s *footage) picture(take func(track int, u *au.Unit)) {
	arrival := s.begin.Add(s.elapsed)
	push := func(track int, asm *au.Assembler, p au.Packet) {
		p.Arrival = arrival
		s.packets++
		s.bytes += len(p.Payload)
		s.units = asm.Push(p, s.units[:0])
		for j := range s.units {
			take(track, &s.units[j])
		}
	}
	for track, l := range s.layers {
		for i := range l.packets {
			l.seq++
			push(track, l.asm, au.Packet{
				Timestamp: s.ts, Sequence: l.seq, Marker: i == l.packets-1, Payload: l.payload(s.frames, i),
			})
		}
	}
	s.frames++
	s.ts += 3000
	s.elapsed += time.Second / 30
	for s.audioTS/48 < s.ts/90 {
		s.audioSeq++
		push(len(s.layers), s.audio, au.Packet{Timestamp: s.audioTS, Sequence: s.audioSeq, Marker: true, Payload: s.opus})
		s.audioTS += 960
	}
}

// deck packages footage without goroutines.
type deck struct {
	r     *runner
	e     *epoch
	s     *footage
	one   []au.Unit // scratch
	begun bool
}

func newDeck(b testing.TB, cfg Config, layers []quality) *deck {
	b.Helper()
	r := &runner{cfg: cfg.withDefaults(), log: slog.New(slog.DiscardHandler), metrics: &Metrics{}}
	r.out = outlet{sink: &drain{}, log: r.log, metrics: r.metrics}
	r.present = newPresentation(r, "show", 2*time.Second, tracks{video: true, audio: true})
	e, read := &epoch{videos: len(layers)}, map[stream.LayerID]*pump{}
	for i := range layers {
		l := video("VP9")
		l.ID.RID = string(rune('a' + i))
		e.sources = append(e.sources, &stream.Source{Layer: l})
	}
	e.sources = append(e.sources, &stream.Source{Layer: audio()})
	for _, source := range e.sources {
		read[source.Layer.ID] = nil
	}
	r.ward = ward{log: r.log, board: &board{}}
	r.ward.enroll(stream.State{Live: true, Sources: e.sources}, read, r.cfg.Segment)
	return &deck{r: r, e: e, s: newFootage(b, layers), one: make([]au.Unit, 1)}
}

// second packages a second of media.
func (d *deck) second(b testing.TB) {
	b.Helper()
	ctx := b.Context()
	take := func(track int, u *au.Unit) {
		if !d.begun {
			d.begun = true
			err := d.r.present.begin(ctx, opening{
				lead: len(d.s.layers) - 1, first: u.DTS, at: u.Arrival, videos: len(d.s.layers), audio: true,
				sync: func(_ int, offset int64) alignment { return alignment{offset: offset, sure: true} },
			})
			if err != nil {
				b.Fatal(err)
			}
		}
		d.one[0] = *u
		d.r.ward.take(&event{source: d.e.sources[track], units: d.one, seen: sight{at: u.Arrival}})
		if err := d.r.pass(ctx, d.e, track, u); err != nil {
			b.Fatal(err)
		}
	}
	for range 30 {
		d.s.picture(take)
	}
	d.r.ward.look(d.s.begin.Add(d.s.elapsed))
	for _, key := range d.r.shelf.due(time.Now().Add(time.Hour)) {
		d.r.out.remove(ctx, key)
	}
}

// processor returns the processor time that this process has used.
func processor(b testing.TB) time.Duration {
	b.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// record measures an iteration of one second of media, from RTP payloads to
// objects and playlists, and to what is wrong with it, without the waking of
// goroutines. %core counts the garbage collector's time too.
func record(b *testing.B, cfg Config, layers []quality) {
	d := newDeck(b, cfg, layers)
	for range 70 { // fill the window
		d.second(b)
	}
	d.s.packets, d.s.bytes = 0, 0
	seconds := 0
	b.ReportAllocs()
	before := processor(b)
	for b.Loop() {
		d.second(b)
		seconds++
	}
	b.ReportMetric(100*(processor(b)-before).Seconds()/float64(seconds), "%core")
	b.ReportMetric(float64(d.s.packets)/float64(seconds), "packets/op")
	b.SetBytes(int64(d.s.bytes / seconds))
	if got := len(d.r.present.renditions()); got < len(layers)+1 || d.r.metrics.Dropped.Load() > 0 {
		b.Fatalf("%d renditions of %d layers and audio, %d units dropped", got, len(layers), d.r.metrics.Dropped.Load())
	}
}

// BenchmarkPublisher is one layer of 2.5 Mb/s, 350 packets a second.
func BenchmarkPublisher(b *testing.B) {
	for _, choice := range []Sound{Opus, Both} {
		b.Run("audio="+string(choice), func(b *testing.B) { record(b, Config{Audio: choice}, single()) })
	}
}

// BenchmarkLadder is a simulcast of 6 Mb/s, 710 packets a second. The mark is 1 %
// of a core, without the AAC encoder.
func BenchmarkLadder(b *testing.B) {
	for _, choice := range []Sound{Opus, Both} {
		b.Run("audio="+string(choice), func(b *testing.B) { record(b, Config{Audio: choice}, three()) })
	}
}
