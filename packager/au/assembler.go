package au

import (
	"fmt"
	"time"
)

// maxSide is the largest width and height in pixels. Anything larger is a
// broken or hostile stream.
const maxSide = 8192

// enoughDisorder is how many contradictions between timestamps and picture order
// it takes to disbelieve the order.
const enoughDisorder = 2

// Assembler turns the packets of one Source into access units. It is not safe
// for concurrent use: one goroutine calls it.
//
// When no packet is missing it adds no delay: a Unit comes out with the packet
// that carries its marker bit, or else with the first one of the next Unit.
type Assembler struct {
	config   Config
	video    bool
	format   format
	reorder  reorder
	timeline timeline
	stats    Stats
	out      []Unit // during a call

	frame     frame
	begun     bool // the frame has at least one packet
	timestamp uint32
	pts       int64
	arrival   time.Time
	markers   bool // the source has set a marker bit

	// broken says that packets are missing since the last whole access unit, so
	// that the next one must prove that its beginning is there.
	broken  bool
	waiting bool // for a keyframe
	gap     bool // something was lost since the last Unit
	restart bool // the clock jumped since the last Unit

	// Of the last Unit:
	params   *Params
	count    uint32 // its picture order count
	counted  bool   // count is known
	shown    int64  // its presentation time
	disorder int    // how often picture order and timestamps disagreed under params
}

// format is the RTP payload format of a codec with what it must remember.
type format interface {
	// push adds a payload to the frame.
	push(f *frame, payload []byte) verdict
	// inspect looks at a complete frame that is not damaged.
	inspect(f *frame, at situation) picture
	// build returns the sample.
	build(f *frame) []byte
}

// several is a format whose frames may have more than one unit.
type several interface {
	// more reports whether build has another one.
	more(f *frame) bool
}

// verdict is what a format thinks of a payload.
type verdict int

const (
	taken     verdict = iota
	torn              // it does not fit what came before, as after a loss
	malformed         // it is wrong in itself
)

// situation is what an Assembler knows before a frame.
type situation struct {
	broken  bool // packets are missing between the last whole frame and this one
	waiting bool // no decoder has begun yet, or it will have to begin again
}

// picture is what a format found in a frame.
type picture struct {
	coded    bool // there is a picture in it, not only parameters
	whole    bool // nothing is missing at its beginning
	key      bool
	recovery bool // not a keyframe, but marked as a point to start at
	usable   bool // its parameter sets are known
	leading  bool // refers to pictures before the keyframe (H.265 RASL)
	params   *Params
	order    order
	duration int64
}

// order is what a format knows of the order of pictures.
type order struct {
	depth   int  // pictures that may overtake another one
	ordered bool // depth is 0 for certain
	known   bool // count is known
	count   uint32
	bits    uint32 // that count wraps at
}

// New returns an Assembler for codec, one of "H264", "H265", "AV1", "VP9", "Opus"
// and "AAC". It waits for a keyframe first, unless it is for audio.
func New(codec string, cfg Config) (*Assembler, error) {
	cfg = cfg.withDefaults()
	a := &Assembler{config: cfg, video: true, broken: true, waiting: true}
	a.frame.max = cfg.MaxUnit
	a.timeline.rate = 90000
	switch codec {
	case "H264":
		a.format = newH264(cfg.Fmtp, &a.stats)
	case "H265":
		a.format = newH265(cfg.Fmtp, &a.stats)
	case "AV1":
		a.format = &formatAV1{stats: &a.stats}
		a.timeline.ordered = true
	case "VP9":
		a.format = &formatVP9{stats: &a.stats}
		a.timeline.ordered = true
	case "Opus":
		a.format = newOpus()
		a.timeline.rate = 48000
		a.timeline.ordered = true
		a.video, a.broken, a.waiting = false, false, false
	case "AAC":
		aac, err := newAAC(cfg)
		if err != nil {
			return nil, err
		}
		a.format = aac
		a.timeline.rate = aac.rate
		a.timeline.ordered = true
		a.video, a.broken, a.waiting = false, false, false
	default:
		return nil, fmt.Errorf("assemble %q: not one of H264, H265, AV1, VP9, Opus, AAC", codec)
	}
	a.reorder = reorder{wait: cfg.Reorder, max: cfg.MaxReorder, rate: a.timeline.rate}
	return a, nil
}

// Push takes a packet and appends the Units that are finished by it to out.
func (a *Assembler) Push(p Packet, out []Unit) []Unit {
	a.out = out
	a.stats.Packets++
	a.reorder.push(p, &a.stats, a)
	return a.take()
}

// Advance gives up on packets that are overdue at now, and appends the Units
// that are finished by that to out.
func (a *Assembler) Advance(now time.Time, out []Unit) []Unit {
	a.out = out
	a.reorder.advance(now, &a.stats, a)
	return a.take()
}

// Flush is called at the end of the Source. It appends to out what can still be
// finished.
func (a *Assembler) Flush(out []Unit) []Unit {
	a.out = out
	a.reorder.flush(&a.stats, a)
	if a.markers || a.stats.Units == 0 { // then what has no marker may not be complete
		a.abandon()
	}
	a.finish()
	return a.take()
}

// NeedKeyframe reports whether nothing comes out until the next keyframe: before
// the first one, after a jump of the clock, after parameter sets were lost, and
// after any loss if Config.Strict.
func (a *Assembler) NeedKeyframe() bool { return a.waiting }

// Stats returns the counters.
func (a *Assembler) Stats() Stats { return a.stats }

func (a *Assembler) take() []Unit {
	out := a.out
	a.out = nil
	return out
}

// packet takes the next packet in order.
func (a *Assembler) packet(p Packet) {
	if len(p.Payload) == 0 {
		return // padding
	}
	if a.begun && p.Timestamp != a.timestamp {
		a.finish() // the marker is missing or was never set (specs R15)
	}
	if !a.begun {
		a.begin(p)
	}
	if !a.frame.damaged {
		v := a.format.push(&a.frame, p.Payload)
		if v == malformed || v == torn && !a.broken {
			a.stats.BadPayloads++
		}
		if v != taken {
			a.frame.damage()
		}
	}
	if p.Marker {
		a.markers = true
	}
	if p.Marker || !a.video && !a.frame.open {
		a.finish()
	}
}

// lost hears that count packets before the next one are missing.
func (a *Assembler) lost(int64) {
	a.timeline.missing = true
	a.abandon()
	a.miss()
}

// abandon marks the unfinished frame as incomplete.
func (a *Assembler) abandon() {
	if a.begun {
		a.frame.damage()
	}
}

// miss remembers that something is missing before the next Unit.
func (a *Assembler) miss() {
	a.gap = true
	if a.video {
		a.broken = true
		a.waiting = a.waiting || a.config.Strict
	}
}

func (a *Assembler) begin(p Packet) {
	a.begun = true
	a.timestamp, a.arrival = p.Timestamp, p.Arrival
	pts, jumped := a.timeline.unwrap(p.Timestamp, p.Arrival)
	a.pts = pts
	if jumped {
		a.stats.Restarts++
		a.restart = true
		a.waiting = a.video
	}
}

// finish ends the frame and emits it if it is whole and wanted.
func (a *Assembler) finish() {
	if !a.begun {
		return
	}
	a.begun = false
	defer a.frame.reset()
	if a.frame.damaged || a.frame.open {
		a.drop(&a.stats.Damaged)
		return
	}
	pic := a.format.inspect(&a.frame, situation{broken: a.broken, waiting: a.waiting})
	if pic.recovery {
		a.stats.RecoveryPoints++
	}
	if !pic.coded {
		return
	}
	if !pic.whole {
		a.drop(&a.stats.Damaged)
		return
	}
	a.broken = false
	switch {
	case a.waiting && !pic.key, pic.leading:
		a.stats.Discarded++
	case !pic.usable:
		a.waiting = true
		a.drop(&a.stats.Discarded)
	default:
		a.emit(pic)
		if s, ok := a.format.(several); ok {
			for s.more(&a.frame) {
				a.pts += pic.duration
				a.emit(pic)
			}
		}
	}
}

// drop counts an access unit that will not come out.
func (a *Assembler) drop(counter *uint64) {
	*counter++
	a.miss()
}

func (a *Assembler) emit(pic picture) {
	u := Unit{
		PTS: a.pts, DTS: a.pts, Duration: pic.duration, Arrival: a.arrival,
		Key: pic.key, Gap: a.gap && a.stats.Units > 0, Restart: a.restart && a.stats.Units > 0,
		Params: pic.params, Data: a.format.build(&a.frame),
	}
	if !a.video && a.timeline.emitted && u.PTS <= a.timeline.dts {
		a.stats.Discarded++
		return
	}
	a.decode(&u, pic.order)
	if a.video && u.Key {
		a.stats.Keyframes++
	}
	a.stats.Units++
	a.waiting, a.gap, a.restart = false, false, false
	a.out = append(a.out, u)
}

// decode sets the decoding time.
func (a *Assembler) decode(u *Unit, o order) {
	if u.Params != a.params {
		a.params = u.Params
		a.timeline.reorder(o.depth, o.ordered)
		a.disorder = 0
	}
	if a.disagrees(u, o) {
		// The sender stamps in decoding order. Where the pictures belong is not
		// known any more: show them as they come (specs R13).
		a.stats.Disordered++
		if a.disorder++; a.disorder == enoughDisorder {
			a.timeline.reorder(0, true)
		}
	}
	a.count, a.counted, a.shown = o.count, o.known, u.PTS
	u.DTS = a.timeline.decode(u.PTS, u.Gap || u.Restart)
	if u.PTS < u.DTS && a.timeline.ordered {
		a.stats.Disordered++
		u.PTS = u.DTS
	}
}

// disagrees reports whether a picture goes back in picture order and forward in
// time.
func (a *Assembler) disagrees(u *Unit, o order) bool {
	if !o.known || !a.counted || u.Key || u.Gap || u.Restart {
		return false
	}
	shift := 32 - o.bits
	back := int32((o.count-a.count)<<shift) < 0 //nolint:gosec // wraps on purpose
	return back && u.PTS > a.shown
}
