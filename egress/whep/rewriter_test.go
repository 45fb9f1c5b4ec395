package whep

import (
	"testing"

	"pgregory.net/rapid"
)

// step is one thing that happens to a rewriter.
type step struct {
	do      string // "begin", "resume" or "" for a packet
	seq     uint16
	ts      uint32
	size    int
	advance uint32
	want    int // the viewer's number, −1 for none
}

func TestRewriter(t *testing.T) {
	packet := func(seq uint16, want int) step { return step{seq: seq, size: 1, want: want} }
	padding := func(seq uint16, want int) step { return step{seq: seq, want: want} }
	begin := func(seq uint16) step { return step{do: "begin", seq: seq} }
	for _, tt := range []struct {
		name  string
		steps []step
	}{
		{"numbers wrap on both sides", []step{
			begin(65533), packet(65533, 65534), packet(65534, 65535), packet(65535, 0), packet(0, 1), packet(1, 2),
		}},
		{"what is lost stays a hole", []step{begin(10), packet(10, 65534), packet(13, 1), packet(14, 2)}},
		{"what comes late keeps its place", []step{
			begin(10), packet(10, 65534), packet(12, 0), packet(11, 65535), packet(9, 65533), packet(13, 1),
		}},
		{"padding leaves no hole", []step{
			begin(10), packet(10, 65534), padding(11, -1), packet(12, 65535), padding(13, -1), padding(14, -1), packet(15, 0),
		}},
		{"padding first", []step{begin(10), padding(10, -1), padding(11, -1), packet(12, 65534)}},
		{"padding after a loss, and the lost packet late", []step{
			begin(10), packet(10, 65534), padding(12, -1), packet(13, 0), packet(11, 65535),
		}},
		{"late padding fills the hole that was shown", []step{
			begin(10), packet(10, 65534), packet(12, 0), padding(11, 65535), packet(13, 1),
		}},
		{"another source continues", []step{
			begin(10), packet(10, 65534), packet(11, 65535),
			begin(40000), packet(40000, 0), packet(40001, 1), packet(39999, -1), packet(40003, 3), packet(40002, 2),
		}},
		{"another source after padding", []step{
			begin(10), packet(10, 65534), padding(11, -1), begin(500), packet(500, 65535),
		}},
		{"a lagging reader shows no hole", []step{
			begin(10), packet(10, 65534), {do: "resume", seq: 900}, packet(900, 65535), packet(902, 1), packet(901, 0), packet(500, -1),
		}},
		{"numbers jump forward out of reach", []step{begin(10), packet(10, 65534), packet(10000, 65535), packet(10001, 0)}},
		{"numbers jump back out of reach", []step{
			begin(30000), packet(30000, 65534), packet(100, -1), packet(101, 65535), packet(102, 0),
		}},
		{"one stray packet changes nothing", []step{
			begin(30000), packet(30000, 65534), packet(100, -1), packet(30001, 65535), packet(101, -1), packet(30002, 0),
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRewriter(65534, 0)
			for i, s := range tt.steps {
				switch s.do {
				case "begin":
					r.begin(s.seq, s.ts, s.advance)
					continue
				case "resume":
					r.resume(s.seq)
					continue
				}
				got := -1
				if out, ok := r.rewrite(s.seq, s.ts, s.size); ok {
					got = int(out)
					if back, ok := r.source(out); !ok || back != s.seq {
						t.Errorf("step %d: viewer's %d is the source's %d, %v; want %d", i, out, back, ok, s.seq)
					}
				}
				if got != s.want {
					t.Errorf("step %d: packet %d became %d, want %d", i, s.seq, got, s.want)
				}
			}
		})
	}
}

func TestRewriterTimestamps(t *testing.T) {
	r := newRewriter(0, 1000)
	r.begin(1, 0xFFFFFFF0, 99) // the first source's advance means nothing
	r.rewrite(1, 0xFFFFFFF0, 1)
	r.rewrite(2, 2984, 1)
	if got := r.outTimestamp(2984); got != 4000 {
		t.Errorf("after 3000 units: %d, want 4000", got)
	}
	r.begin(77, 500_000, 180_000) // back after two seconds
	r.rewrite(77, 500_000, 1)
	if got := r.outTimestamp(500_000); got != 184_000 {
		t.Errorf("after a new source: %d, want 184000", got)
	}
	r.begin(78, 9, 0)
	if got := r.outTimestamp(9); got != 184_001 {
		t.Errorf("no time passed: %d, want one unit more", got)
	}
	if _, ok := r.source(60000); ok {
		t.Error("knows a number that was never sent")
	}
}

func TestRewriterPacksABurst(t *testing.T) {
	r := newRewriter(0, 0)
	r.begin(0, 1000, 0)
	r.pack(1000 + 90000) // the keyframe is one second old
	if got := r.outTimestamp(1000); got != 0 {
		t.Errorf("keyframe at %d, want 0", got)
	}
	last := r.outTimestamp(1000)
	for ts := uint32(4000); ts <= 91000; ts += 3000 {
		got := r.outTimestamp(ts)
		if step := got - last; step != 187 && step != 188 {
			t.Errorf("step of %d at %d, want 3000/16", step, ts)
		}
		last = got
	}
	if got := r.outTimestamp(91000+3000) - r.outTimestamp(91000); got != 3000 {
		t.Errorf("live step of %d, want 3000", got)
	}
	for ts, i := uint32(91000), uint16(1); i < 60000; ts, i = ts+90000, i+1 { // 16 hours
		before := r.outTimestamp(ts)
		r.rewrite(i, ts, 1)
		if got := r.outTimestamp(ts) - before; got != 0 {
			t.Fatalf("packet %d: the mapping jumped by %d", i, got)
		}
		if i > 1 && r.outTimestamp(ts)-r.outTimestamp(ts-90000) != 90000 {
			t.Fatalf("packet %d: a second is not a second", i)
		}
	}
}

// TestRewriterProperties sends sources with loss, disorder, padding, lag and
// changes of source, and looks at what the viewer sees.
func TestRewriterProperties(t *testing.T) {
	rapid.Check(t, checkRewriter)
}

func FuzzRewriter(f *testing.F) { f.Fuzz(rapid.MakeFuzz(checkRewriter)) }

func checkRewriter(t *rapid.T) {
	r := newRewriter(rapid.Uint16().Draw(t, "seq"), rapid.Uint32().Draw(t, "timestamp"))
	type key struct {
		source int
		number int64
	}
	seen := map[int64]key{} // by the viewer's number, unwrapped
	highest, known := int64(0), false
	highTime := uint32(0)
	send := func(source int, number int64, ts uint32, size int) (bool, int64) {
		out, ok := r.rewrite(uint16(number), ts, size)
		if !ok {
			return false, 0
		}
		if !known {
			highest, known = int64(out), true
		}
		full := highest + int64(int16(out-uint16(highest)))
		k := key{source, number}
		if other, twice := seen[full]; twice && other != k {
			t.Fatalf("%v and %v share number %d", other, k, out)
		}
		seen[full] = k
		back, ok := r.source(out)
		if !ok || back != uint16(number) {
			t.Fatalf("number %d leads back to %d, %v; want %d", out, back, ok, uint16(number))
		}
		highest = max(highest, full)
		return true, full
	}
	for source := range rapid.IntRange(1, 5).Draw(t, "sources") {
		number := int64(rapid.Uint16().Draw(t, "first"))
		ts := rapid.Uint32().Draw(t, "ts")
		r.begin(uint16(number), ts, rapid.Uint32Range(0, 1<<20).Draw(t, "advance"))
		if step := int32(r.outTimestamp(ts) - highTime); source > 0 && step <= 0 {
			t.Fatalf("the timestamp of a new source goes back by %d", -step)
		}
		want := highest + 1 // of the next packet in order
		shown := want       // as far as the source has got
		var late []int64
		for i := range rapid.IntRange(1, 80).Draw(t, "packets") {
			event := rapid.IntRange(0, 9).Draw(t, "event")
			if i == 0 {
				event = 9 // a source begins with a packet
			}
			switch event {
			case 0: // lost
				want++
				number++
				continue
			case 1: // overtaken
				want++
				late = append(late, number)
				number++
				continue
			case 2:
				if ok, _ := send(source, number, ts, 0); ok {
					t.Fatalf("padding in order was sent")
				}
				number++
				shown = want
				continue
			case 3:
				if len(late) > 0 {
					ok, out := send(source, late[0], ts, 1)
					if !ok && len(late) < maxSpans/2 {
						t.Fatalf("late packet %d was dropped", late[0])
					}
					if late = late[1:]; ok {
						shown = max(shown, out+1)
					}
				}
				continue
			case 4: // lag
				number += int64(rapid.IntRange(0, 2000).Draw(t, "lag"))
				r.resume(uint16(number))
				want, late = shown, nil
			}
			ts += rapid.Uint32Range(0, 9000).Draw(t, "step")
			fresh := !known
			ok, out := send(source, number, ts, 1)
			if !ok {
				t.Fatalf("packet %d in order was dropped", number)
			}
			if !fresh && out != want {
				t.Fatalf("packet %d in order became %d, want %d", number, out, want)
			}
			want, shown = out+1, out+1
			number++
		}
		highest = shown - 1
		highTime = r.outTimestamp(r.high)
	}
}

func BenchmarkRewrite(b *testing.B) {
	r := newRewriter(1, 1)
	r.begin(0, 0, 0)
	b.ReportAllocs()
	var seq uint16
	var ts, sum uint32
	for b.Loop() {
		out, _ := r.rewrite(seq, ts, 1)
		sum += uint32(out) + r.outTimestamp(ts)
		seq++
		if seq%10 == 0 {
			ts += 3000
		}
	}
	if sum == 1 {
		b.Log(sum)
	}
}

// TestPaddingInTheNumbering: padding takes numbers of its own between pictures,
// which can be told from those of media, also when packets come late.
func TestPaddingInTheNumbering(t *testing.T) {
	r := newRewriter(65_530, 1000)
	r.begin(100, 5000, 0)
	numbers := map[uint16]uint16{} // viewer's → source's
	put := func(seq uint16, timestamp uint32) {
		t.Helper()
		out, ok := r.rewrite(seq, timestamp, 100)
		if _, twice := numbers[out]; !ok || twice {
			t.Fatalf("packet %d became %d, %v", seq, out, ok)
		}
		numbers[out] = seq
	}
	var paddings []uint16
	pad := func(n int) {
		first, timestamp := r.pad(n)
		if want := r.outTimestamp(r.high); timestamp != want {
			t.Errorf("padding at %d, want %d", timestamp, want)
		}
		for i := range uint16(n) {
			paddings = append(paddings, first+i)
		}
	}
	put(100, 5000)
	put(101, 5000)
	pad(5)
	put(102, 8000)
	put(104, 8000) // 103 is late
	pad(3)
	put(105, 11000)
	put(103, 8000)
	pad(64)
	put(106, 14000)
	all := map[uint16]bool{}
	for out, seq := range numbers {
		all[out] = true
		if got, ok := r.source(out); !ok || got != seq {
			t.Errorf("number %d is %d, %v, want %d", out, got, ok, seq)
		}
		if _, ok := r.padding(out); ok {
			t.Errorf("number %d of media is taken for padding", out)
		}
	}
	for _, out := range paddings {
		if all[out] {
			t.Errorf("number %d is used twice", out)
		}
		all[out] = true
		if _, ok := r.source(out); ok {
			t.Errorf("number %d of padding is taken for media", out)
		}
		if _, ok := r.padding(out); !ok {
			t.Errorf("number %d is not known as padding", out)
		}
	}
	for i := range uint16(len(all)) {
		if !all[65_530+i] {
			t.Errorf("number %d is a hole", 65_530+i)
		}
	}
}
