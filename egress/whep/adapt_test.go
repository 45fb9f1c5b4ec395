package whep

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/interceptor/pkg/twcc"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"github.com/whipcast/whipcast/internal/rtc"
	"github.com/whipcast/whipcast/stream"
)

// network is the way to one viewer in virtual time, and the viewer at its end:
// a link with a rate, a queue, a delay and random loss; a player that repairs by
// NACK, shows what it can decode, asks for a keyframe when it is stuck, and
// tells when packets came.
type network struct {
	oneWay time.Duration
	queue  time.Duration // more is dropped
	busy   time.Duration // the player reads what came so late at most
	deaf   bool          // the publisher sends no keyframe on request

	mu       sync.Mutex
	rate     int // bits a second
	loss     float64
	seed     uint64            // of what is lost
	tries    map[uint16]uint64 // how often a number was sent
	first    uint16            // number that was sent
	free     time.Time         // when the link is
	inflight []flying
	dropped  int
	padding  int

	// Of the player, which one goroutine runs.
	recorder *twcc.Recorder
	seen     map[uint16]bool
	newest   uint16
	any      bool
	missing  map[uint16]time.Time // → asked for last
	pictures map[uint32]*assembling
	shown    uint32
	layer    int
	showing  bool
	shows    []show
	back     []delayed
	pli      time.Time
	failed   error
	awake    time.Time // when it read last
	wakes    uint64
	events   []event // what happened; below mu
}

// log notes what happened, for when a test fails.
func (n *network) log(what string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.note(what, args...)
}

// note is log. n.mu is held.
func (n *network) note(what string, args ...any) {
	n.events = append(n.events, event{time.Now(), what, args})
}

// tell writes what happened around the longest time without a picture.
func (n *network) tell(t *testing.T) {
	t.Helper()
	var from, to time.Time
	for i := 1; i < len(n.shows); i++ {
		if n.shows[i].at.Sub(n.shows[i-1].at) > to.Sub(from) {
			from, to = n.shows[i-1].at, n.shows[i].at
		}
	}
	for _, e := range n.events {
		if at := e.at.Sub(from); at > -200*time.Millisecond && !e.at.After(to) {
			t.Logf("%8.3f %-8s %v", at.Seconds(), e.what, e.args)
		}
	}
}

// parcel is a packet as a failed test tells of it.
type parcel struct {
	sequence uint16
	padding  bool
	payload  []byte
}

func (p parcel) String() string {
	if p.padding {
		return fmt.Sprintf("%d: padding", p.sequence)
	}
	return fmt.Sprintf("%d: layer %d picture %d, %d of %d", p.sequence, p.payload[5], pictureOf(p.payload), p.payload[6], p.payload[7])
}

// event is something that happened on the way to the viewer, or that it did.
type event struct {
	at   time.Time
	what string
	args []any
}

type flying struct {
	header  rtp.Header
	payload []byte
	at      time.Time
}

type assembling struct {
	layer, whole int
	key          bool
	have         map[byte]bool
}

// show is one picture on the screen.
type show struct {
	at    time.Time
	layer int
}

type delayed struct {
	at time.Time
	b  []byte
}

func newNetwork(rate int, loss float64) *network {
	return &network{
		oneWay: 40 * time.Millisecond, queue: 350 * time.Millisecond, rate: rate, loss: loss, seed: 1,
		tries: map[uint16]uint64{}, recorder: twcc.NewRecorder(1),
		seen: map[uint16]bool{}, missing: map[uint16]time.Time{}, pictures: map[uint32]*assembling{}, layer: -1,
	}
}

func (n *network) set(rate int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.rate = rate
}

func (n *network) WriteRTP(h *rtp.Header, payload []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	if n.free.Before(now) {
		n.free = now
	}
	if n.unlucky(h.SequenceNumber) || n.free.Sub(now) > n.queue {
		n.dropped++
		n.note("lost", parcel{h.SequenceNumber, h.Padding, payload}, n.tries[h.SequenceNumber], n.free.Sub(now))
		return len(payload), nil
	}
	n.free = n.free.Add(time.Duration((len(payload)+overhead)*8) * time.Second / time.Duration(n.rate))
	n.note("sent", parcel{h.SequenceNumber, h.Padding, payload}, n.tries[h.SequenceNumber], n.free.Sub(now))
	n.inflight = append(n.inflight, flying{h.Clone(), payload, n.free.Add(n.oneWay)})
	return len(payload), nil
}

// unlucky reports whether a packet is lost by chance: which of them are depends on
// the seed alone, not on who sends first.
func (n *network) unlucky(seq uint16) bool {
	if len(n.tries) == 0 {
		n.first = seq
	}
	n.tries[seq]++
	return rand.New(rand.NewPCG(n.seed, n.tries[seq]<<16|uint64(seq-n.first))).Float64() < n.loss //nolint:gosec // chance, no secret
}

func (n *network) Write(b []byte) (int, error) { return len(b), nil }

func (n *network) arrivals(now time.Time) []flying {
	n.mu.Lock()
	defer n.mu.Unlock()
	i := 0
	for i < len(n.inflight) && !n.inflight[i].at.After(now) {
		i++
	}
	all := n.inflight[:i]
	n.inflight = n.inflight[i:]
	return all
}

// play runs the player until ctx ends; what it says comes to the track after a
// delay.
func (n *network) play(ctx context.Context, t *track) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	w := t.wire()
	for i := 1; ; i++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		now := time.Now()
		for _, p := range n.arrivals(now) {
			n.take(p)
		}
		n.repair(now)
		n.show(now)
		if i%20 == 0 {
			for _, p := range n.recorder.BuildFeedbackPacket() {
				n.say(now, p)
			}
		}
		for len(n.back) > 0 && !n.back[0].at.After(now) {
			t.handle(n.back[0].b, now, w)
			n.back = n.back[1:]
		}
	}
}

func (n *network) say(now time.Time, p rtcp.Packet) {
	b, err := p.Marshal()
	if err != nil {
		n.failed = err
		return
	}
	n.back = append(n.back, delayed{now.Add(n.oneWay), b})
}

func (n *network) take(p flying) {
	seq := p.header.SequenceNumber
	number := p.header.GetExtension(3)
	n.recorder.Record(4711, uint16(number[0])<<8|uint16(number[1]), n.read(p.at).UnixMicro())
	if n.any {
		for m := n.newest + 1; int16(seq-m) > 0; m++ {
			n.missing[m] = time.Time{}
		}
	}
	if !n.any || int16(seq-n.newest) > 0 {
		n.newest, n.any = seq, true
	}
	delete(n.missing, seq)
	if p.header.Padding {
		n.padding++
		return
	}
	number32 := pictureOf(p.payload)
	pic := n.pictures[number32]
	if pic == nil || pic.layer != int(p.payload[5]) && (!n.showing || number32 >= n.shown) && p.payload[0] == idr {
		pic = &assembling{layer: int(p.payload[5]), whole: int(p.payload[7]), key: p.payload[0] == idr, have: map[byte]bool{}}
		n.pictures[number32] = pic
	}
	if pic.layer == int(p.payload[5]) {
		pic.have[p.payload[6]] = true
	}
}

// read returns when the player reads what comes at a time: it gets the processor now and
// then.
func (n *network) read(at time.Time) time.Time {
	if n.busy == 0 {
		return at
	}
	if n.awake.IsZero() {
		n.awake = at
	}
	for n.awake.Before(at) {
		n.wakes++
		u := rand.New(rand.NewPCG(n.seed, n.wakes)).Float64() //nolint:gosec // chance, no secret
		n.awake = n.awake.Add(100*time.Microsecond + time.Duration(u*u*float64(n.busy)))
	}
	return n.awake
}

// repair asks for what is missing, once a round trip; what is too old is given up.
func (n *network) repair(now time.Time) {
	var numbers []uint16
	for _, m := range slices.Sorted(maps.Keys(n.missing)) {
		asked := n.missing[m]
		if n.newest-m > 600 {
			delete(n.missing, m)
		} else if now.Sub(asked) > 200*time.Millisecond && len(numbers) < 50 {
			n.missing[m] = now
			numbers = append(numbers, m)
		}
	}
	if len(numbers) > 0 {
		n.log("NACK", numbers)
		n.say(now, &rtcp.TransportLayerNack{MediaSSRC: 4711, Nacks: rtcp.NackPairsFromSequenceNumbers(numbers)})
	}
}

// show shows all pictures that can be decoded.
func (n *network) show(now time.Time) {
	for n.next(now) {
	}
	last := now
	if len(n.shows) > 0 {
		last = n.shows[len(n.shows)-1].at
	}
	if now.Sub(last) > 400*time.Millisecond && now.Sub(n.pli) > 400*time.Millisecond {
		n.pli = now
		n.log("PLI")
		n.say(now, &rtcp.PictureLossIndication{MediaSSRC: 4711})
	}
}

func (n *network) next(now time.Time) bool {
	whole := func(p *assembling) bool { return p != nil && len(p.have) == p.whole }
	if n.showing {
		for _, number := range []uint32{n.shown, n.shown + 1} {
			if p := n.pictures[number]; whole(p) && (p.layer == n.layer && number > n.shown || p.layer != n.layer && p.key) {
				n.put(number, p, now)
				return true
			}
		}
	}
	for _, number := range slices.Sorted(maps.Keys(n.pictures)) {
		if p := n.pictures[number]; whole(p) && p.key && (!n.showing || number > n.shown) {
			n.put(number, p, now)
			return true
		}
	}
	return false
}

func (n *network) put(number uint32, p *assembling, now time.Time) {
	n.shown, n.showing, n.layer = number, true, p.layer
	n.log("show", number, p.layer)
	n.shows = append(n.shows, show{now, p.layer})
	for old := range n.pictures {
		if int32(number-old) > 90 {
			delete(n.pictures, old)
		}
	}
}

// freeze returns the longest time without a new picture from one time to another.
func (n *network) freeze(from, to time.Time) (longest time.Duration) {
	last := from
	for _, s := range n.shows {
		if s.at.After(from) && !s.at.After(to) {
			longest = max(longest, s.at.Sub(last))
			last = s.at
		}
	}
	return max(longest, to.Sub(last))
}

// settled returns how long after from the viewer saw a layer until to without
// end, and how often the layer changed.
func (n *network) settled(want int, from, to time.Time) (after time.Duration, changes int) {
	since, layer := time.Time{}, -1
	for _, s := range n.shows {
		if s.at.After(to) {
			break
		}
		if s.layer != layer {
			if s.at.After(from) {
				changes++
			}
			layer, since = s.layer, s.at
		}
	}
	if layer != want {
		return time.Hour, changes
	}
	return max(since.Sub(from), 0), changes
}

// watched is one viewer of three layers behind a network, in virtual time.
type watched struct {
	*network
	track     *track
	metrics   *Metrics
	projector *projector
}

func watchThree(t *testing.T, n *network, run func(w *watched)) {
	t.Helper()
	watchLayers(t, n, three(), run)
}

func watchLayers(t *testing.T, n *network, layers []*projection, run func(w *watched)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newStream(t)
		w := &watched{network: n, metrics: &Metrics{}, projector: newProjector(t, s, layers...)}
		th := newTheatre(t, s, Config{Metrics: w.metrics, Size: func(_, rid string) (width, height int) {
			return map[string]int{"f": 1280, "h": 640, "q": 320}[rid], map[string]int{"f": 720, "h": 360, "q": 180}[rid]
		}})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		if !n.deaf {
			wg.Go(func() { w.projector.obey(ctx) })
		}
		w.projector.film(2200 * time.Millisecond) // the last keyframe is 0.2 s old
		w.track, _, _ = th.seatAt(rtc.Video, n)
		wg.Go(func() { n.play(ctx, w.track) })
		run(w)
		cancel()
		wg.Wait()
		th.close()
		if n.failed != nil {
			t.Error(n.failed)
		}
	})
}

// obey makes keyframes that are asked for, as browsers do: soon.
func (p *projector) obey(ctx context.Context) {
	for {
		id, err := p.session.KeyframeRequest(ctx)
		if err != nil {
			return
		}
		time.Sleep(70 * time.Millisecond)
		for _, l := range p.layers {
			if l.layer.ID == id {
				l.wantsKey.Store(true)
			}
		}
	}
}

// TestAdaptation: the right layer within 3 s of media, no freeze above 1 s, no flapping,
// whatever is lost by chance.
func TestAdaptation(t *testing.T) {
	for _, tt := range []struct {
		loss  float64
		seeds uint64 // patterns of loss: seldom ones have been the worst
	}{{0, 1}, {0.02, 5}, {0.1, 20}} {
		t.Run(fmt.Sprintf("%.0f %% lost", tt.loss*100), func(t *testing.T) {
			for seed := range tt.seeds {
				n := newNetwork(3_000_000, tt.loss)
				n.seed = seed
				watchThree(t, n, func(w *watched) {
					for _, phase := range []struct{ rate, layer int }{{3_000_000, 0}, {600_000, 2}, {3_000_000, 0}} {
						long := 12 * time.Second
						if seed == 0 {
							long = 30 * time.Second // for what changes again and again
						}
						w.adapts(t, phase.rate, phase.layer, long)
					}
				})
				if t.Failed() {
					t.Logf("so it was with seed %d", seed)
					n.tell(t)
					return
				}
			}
		})
	}
}

// adapts fails unless the viewer soon gets the layer and has pictures all the time when
// its link has the rate for so long.
func (w *watched) adapts(t *testing.T, rate, layer int, long time.Duration) {
	t.Helper()
	n := w.network
	from, padding := time.Now(), w.metrics.Padding.Load()
	n.set(rate)
	w.projector.film(long)
	synctest.Wait()
	to := time.Now()
	after, changes := n.settled(layer, from, to)
	freeze := n.freeze(from, to)
	t.Logf("%d kb/s: layer %d after %v, %d changes, freeze %v, %d probes, %d padding, %+v",
		rate/1000, n.layer, after, changes, freeze, w.metrics.Probes.Load(), w.metrics.Padding.Load(), w.track.pilot.state())
	if after > 3*time.Second {
		t.Errorf("%d kb/s: layer %d only after %v", rate/1000, layer, after)
	}
	if changes > 2 {
		t.Errorf("%d kb/s: %d changes in %v", rate/1000, changes, long)
	}
	if freeze > time.Second {
		t.Errorf("%d kb/s: no picture for %v", rate/1000, freeze)
	}
	if padding = w.metrics.Padding.Load() - padding; n.loss > 0 && layer == 0 && padding > 4*scoutPackets+2*scoutLong {
		t.Errorf("%d kb/s: %d packets of padding where packets get lost", rate/1000, padding)
	}
}

// TestGoesUpOnTightLink: the best layer follows within 3 s also where the link is hardly
// faster than it, the player reads late, and keyframes come each second and never on
// request. Scouts that are short find too little then, and the middle layer.
func TestGoesUpOnTightLink(t *testing.T) {
	for _, loss := range []float64{0, 0.02, 0.1} {
		t.Run(fmt.Sprintf("%.0f %% lost", loss*100), func(t *testing.T) {
			for seed := range uint64(8) {
				n := newNetwork(3_000_000, loss)
				n.seed, n.busy, n.deaf = seed, 4*time.Millisecond, true
				layers := []*projection{
					{layer: stream.Layer{ID: stream.LayerID{RID: "f"}}, perFrame: 6, size: 1100, key: 4, every: perSecond},
					{layer: stream.Layer{ID: stream.LayerID{RID: "h"}}, perFrame: 2, size: 1050, key: 4, every: perSecond},
					{layer: stream.Layer{ID: stream.LayerID{RID: "q"}}, perFrame: 1, size: 700, key: 4, every: perSecond},
				}
				watchLayers(t, n, layers, func(w *watched) {
					w.projector.film(5*time.Second + time.Duration(seed)*137*time.Millisecond)
					n.set(600_000)
					w.projector.film(8 * time.Second)
					n.set(3_000_000)
					from := time.Now()
					w.projector.film(8 * time.Second)
					synctest.Wait()
					after, changes := n.settled(0, from, time.Now())
					t.Logf("seed %d: the best layer after %v, %d changes", seed, after, changes)
					if after > 3*time.Second {
						t.Errorf("seed %d: the best layer only after %v", seed, after)
					}
				})
			}
		})
	}
}

// TestBeginsLow: a viewer has a picture at once on a slow network, and the best
// layer soon on a fast one.
func TestBeginsLow(t *testing.T) {
	for _, tt := range []struct {
		rate, layer int
		loss        float64
		first, best time.Duration // at most
	}{
		{50_000_000, 0, 0, 100 * time.Millisecond, 500 * time.Millisecond},
		{50_000_000, 0, 0.02, 300 * time.Millisecond, 700 * time.Millisecond},
		{3_000_000, 0, 0, 150 * time.Millisecond, 700 * time.Millisecond},
		{600_000, 2, 0, 300 * time.Millisecond, 300 * time.Millisecond},
		{300_000, 2, 0, 400 * time.Millisecond, 400 * time.Millisecond},
		{600_000, 2, 0.02, 600 * time.Millisecond, 600 * time.Millisecond},
	} {
		t.Run(fmt.Sprintf("%d kb/s, %.0f %% lost", tt.rate/1000, tt.loss*100), func(t *testing.T) {
			n := newNetwork(tt.rate, tt.loss)
			from := time.Time{}
			watchThree(t, n, func(w *watched) {
				from = time.Now()
				w.projector.film(8 * time.Second)
				synctest.Wait()
				to := time.Now()
				first := n.shows[0].at.Sub(from)
				after, changes := n.settled(tt.layer, from, to)
				freeze := n.freeze(from.Add(first), to)
				t.Logf("first picture after %v, of layer %d; layer %d after %v, %d changes, freeze %v, %d padding, %d dropped",
					first, n.shows[0].layer, n.layer, after, changes, freeze, w.metrics.Padding.Load(), n.dropped)
				if first > tt.first || after > max(tt.best, first) || freeze > time.Second || changes > 3 {
					t.Errorf("want %v, then %v", tt.first, tt.best)
				}
			})
		})
	}
}
