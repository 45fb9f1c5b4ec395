package whep

import (
	"slices"
	"time"

	"github.com/whipcast/whipcast/stream"
)

const (
	// overhead is what a packet takes on the wire beside its payload: IPv4, UDP,
	// RTP with an extension, and the SRTP tag.
	overhead = 20 + 8 + 12 + 8 + 16
	// A Layer is taken for gone when nothing came for goneAfter, or nothing at all
	// for neverAfter.
	goneAfter   = 1500 * time.Millisecond
	neverAfter  = 500 * time.Millisecond
	sampleEvery = 250 * time.Millisecond
	samples     = 8 // of a Layer's totals: its bit rate is that of two seconds
)

// rung is one video Layer and its figures. It is pure.
type rung struct {
	source  *stream.Source
	moved   time.Time // when it was last seen to go on; before, when it was first known
	bitrate int

	totals [samples]total // ring of the newest
	next   int            // how many there were
}

type total struct {
	at      time.Time
	packets uint64
	bytes   uint64
}

// ladder is the video Layers of the present or last publisher, the best one
// first. It is pure.
type ladder struct {
	rungs []rung
	size  func(rid string) (width, height int) // nil: not known
	seen  []rate                               // scratch of rates
}

// rates returns the Layers as controllers see them; what a viewer's wish leaves
// out is not usable, unless nothing else is. The slice is valid until the next
// call.
func (l *ladder) rates(w *wish) []rate {
	l.seen = l.seen[:0]
	for i := range l.rungs {
		l.seen = append(l.seen, rate{l.rungs[i].bitrate, l.rungs[i].usable(), l.rungs[i].next > samples})
	}
	if w != nil {
		if choice, _ := w.get(); !choice.Automatic() {
			l.restrict(choice.Allows(l.layers()))
		}
	}
	return l.seen
}

// restrict leaves only the allowed Layers usable, if one of them is.
func (l *ladder) restrict(allowed []Layer) {
	in := func(i int) bool {
		return slices.ContainsFunc(allowed, func(a Layer) bool { return a.RID == l.id(i).RID })
	}
	some := false
	for i, r := range l.seen {
		some = some || r.usable && in(i)
	}
	for i := range l.seen {
		l.seen[i].usable = l.seen[i].usable && (!some || in(i))
	}
}

// follow takes the sources of a publisher, who has been there for since. Known ones
// go on.
func (l *ladder) follow(sources []*stream.Source, since, now time.Time) {
	var rungs []rung
	for _, s := range sources {
		if s.Layer.ID.Kind != stream.Video {
			continue
		}
		r := rung{source: s, moved: now}
		if now.Sub(since) > 2*sampleEvery { // else its first picture counts too much
			r.sample(total{at: since})
		}
		for _, old := range l.rungs {
			if old.source == s {
				r = old
			}
		}
		rungs = append(rungs, r)
	}
	if rungs != nil { // else lanes wait where they are for video to come back
		l.rungs = rungs
	}
	l.measure(now)
}

// measure reads the totals of the Layers.
func (l *ladder) measure(now time.Time) {
	for i := range l.rungs {
		c := l.rungs[i].source.Counters()
		l.rungs[i].sample(total{at: now, packets: c.Packets, bytes: c.Bytes})
	}
}

func (r *rung) sample(t total) {
	var last total
	if r.next > 0 {
		last = r.totals[(r.next-1)%samples]
	}
	if t.packets > last.packets {
		r.moved = t.at
	}
	if r.next > 0 && t.at.Sub(last.at) < sampleEvery {
		return
	}
	if r.next > 0 {
		first := r.totals[max(r.next-samples, 0)%samples]
		octets := t.bytes - first.bytes + (t.packets-first.packets)*overhead
		r.bitrate = int(float64(octets) * 8 / t.at.Sub(first.at).Seconds())
	}
	r.totals[r.next%samples] = t
	r.next++
}

// usable reports whether viewers can be sent the Layer, or soon will.
func (r *rung) usable() bool {
	if r.next == 0 {
		return true
	}
	last := r.totals[(r.next-1)%samples]
	if last.packets == 0 {
		return last.at.Sub(r.moved) < neverAfter
	}
	return last.at.Sub(r.moved) < goneAfter
}

// best returns the index of the best usable Layer from the one with index from
// on; if there is none, of the next better one; 0 if there is none at all.
func best(rates []rate, from int) int {
	for i := from; i < len(rates); i++ {
		if rates[i].usable {
			return i
		}
	}
	for i := min(from, len(rates)) - 1; i >= 0; i-- {
		if rates[i].usable {
			return i
		}
	}
	return 0
}

// id returns the name of a Layer.
func (l *ladder) id(i int) stream.LayerID {
	if i >= len(l.rungs) {
		return stream.LayerID{Kind: stream.Video}
	}
	return l.rungs[i].source.Layer.ID
}

// index returns the place of a Layer, -1 if there is none of that name.
func (l *ladder) index(id stream.LayerID) int {
	for i := range l.rungs {
		if l.id(i) == id {
			return i
		}
	}
	return -1
}

func (l *ladder) has(id stream.LayerID) bool { return l.index(id) >= 0 }

// layers returns the figures.
func (l *ladder) layers() []Layer {
	all := make([]Layer, len(l.rungs))
	for i := range l.rungs {
		all[i] = l.rungs[i].figures()
		if l.size != nil {
			all[i].Width, all[i].Height = l.size(all[i].RID)
		}
	}
	return all
}

func (r *rung) figures() Layer {
	f := Layer{RID: r.source.Layer.ID.RID}
	if r.usable() {
		f.Bitrate = r.bitrate
	}
	return f
}
