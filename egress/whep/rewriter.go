package whep

import "math"

const (
	// maxSpans is how many pieces of a source's numbers are remembered. A new
	// piece begins where packets were left out on purpose: padding, or what a
	// lagging reader missed.
	maxSpans = 32
	// maxLate is how far behind the newest packet one may come and still keep
	// its place (RFC 3550 A.1 calls it misorder).
	maxLate = 3000
	// catchUp is by how much the pictures of a joining viewer's burst are pushed
	// together: out = in / 2^catchUp.
	catchUp = 4
	// packReach is how far behind live a timestamp may be; longer than any packet
	// can be asked for.
	packReach = 1 << 24
)

// rewriter maps sequence numbers and timestamps of changing sources to the one
// continuous sequence that a viewer sees, and back. It is pure.
//
//	source 1:  7 8 . 10      source 2:  900 901
//	viewer:    1 2 3 4                  5   6       the hole stays: it can be asked for
//
// Packets that come late keep their place. Padding leaves no hole, unless the
// hole was already shown. It is not safe for concurrent use.
type rewriter struct {
	seq       uint16 // first number of the viewer's sequence
	timestamp uint32 // first timestamp of the viewer's sequence

	begun  bool
	newest int64          // newest number of the source, unwrapped
	spans  [maxSpans]span // ring of the newest ones
	count  int            // how many are in use
	last   int            // index of the newest

	stray  int64 // number of a packet out of all reach; the next one after it is a restart
	strays bool

	shift  uint32 // viewer's timestamp − source's
	high   uint32 // newest timestamp of the source
	live   uint32 // source's timestamps up to here are pushed together
	packed bool   // live is set

	paddings *[maxSpans]padded // ring of the newest; nil before the first
	padCount int               // how many there were
}

// padded is a run of numbers that were given to padding.
type padded struct {
	first     int64 // viewer's number, unwrapped
	count     int
	timestamp uint32
}

// span is a piece of the source's numbers that is passed on without a gap of
// our making: first ≤ number < end.
type span struct {
	first, end int64
	offset     int64 // viewer's number − source's, both unwrapped
}

// newRewriter returns a rewriter whose first packet gets these numbers. They
// should be random (RFC 3550 §5.1).
func newRewriter(seq uint16, timestamp uint32) rewriter {
	return rewriter{seq: seq, timestamp: timestamp}
}

// begin says that another source follows: its packet first with this timestamp
// gets the next number, advance timestamp units after the newest one. What
// comes of it with lower numbers is dropped, but for the very first source.
func (r *rewriter) begin(first uint16, timestamp, advance uint32) {
	next, out := int64(r.seq), r.timestamp
	lowest := int64(math.MinInt64)
	if r.begun {
		next, out = r.next(), r.outTimestamp(r.high)+max(advance, 1)
		lowest = int64(first)
	}
	r.begun, r.strays, r.packed = true, false, false
	r.newest = int64(first) - 1
	r.count, r.last = 1, 0
	r.spans[0] = span{first: lowest, end: math.MaxInt64, offset: next - int64(first)}
	r.high, r.shift = timestamp, out-timestamp
}

// resume says that the same source goes on at the packet first after some were
// skipped, and that the viewer shall see no hole.
func (r *rewriter) resume(first uint16) {
	r.restart(r.newest + 1 + int64(uint16(int64(first)-r.newest-1)))
}

// restart begins a new span at number first, which may be lower than newest
// when the source itself began anew.
func (r *rewriter) restart(first int64) {
	next := r.next()
	if first <= r.newest { // what was before is out of reach
		r.count = 0
	}
	r.cut(first, next)
	r.newest = first - 1
}

// pack pushes the timestamps of the source up to live together, so that a
// burst of old pictures is shown quickly and ends at live.
func (r *rewriter) pack(live uint32) {
	if int32(live-r.high) <= 0 {
		return
	}
	r.shift -= live - r.high - (live-r.high)>>catchUp
	r.live, r.packed = live, true
}

// rewrite returns the viewer's number of a packet of the source with size bytes
// of payload, none if it is padding; false says that the viewer does not get it.
func (r *rewriter) rewrite(seq uint16, timestamp uint32, size int) (uint16, bool) {
	number := r.unwrap(seq)
	switch ahead := number - r.newest; {
	case ahead > maxLate: // nobody can send what is between
		r.restart(number)
	case ahead <= -maxLate:
		if !r.believe(number) {
			return 0, false
		}
		r.restart(number)
	case ahead <= 0:
		return r.late(number)
	}
	r.newest, r.strays = number, false
	if size == 0 {
		r.omit(number)
		return 0, false
	}
	if int32(timestamp-r.high) > 0 {
		r.high = timestamp
		if int32(timestamp-r.live) > packReach {
			r.packed = false // before the difference wraps
		}
	}
	return uint16(number + r.spans[r.last].offset), true
}

// late returns the place of a packet that came after a newer one.
func (r *rewriter) late(number int64) (uint16, bool) {
	for i := range r.count {
		if s := r.span(i); number >= s.first {
			return uint16(number + s.offset), number < s.end
		}
	}
	return 0, false
}

// believe reports whether a source's numbers did jump back out of reach: two
// packets in a row say so (RFC 3550 A.1).
func (r *rewriter) believe(number int64) bool {
	if r.strays && number == r.stray+1 {
		return true
	}
	r.stray, r.strays = number, true
	return false
}

// omit takes a number out of the viewer's sequence.
func (r *rewriter) omit(number int64) {
	out := number + r.spans[r.last].offset
	if s := &r.spans[r.last]; s.first == number {
		s.first, s.offset = number+1, s.offset-1
		return
	}
	r.cut(number+1, out)
	r.span(1).end = number
}

// cut begins a span at number first that continues with the viewer's number out.
func (r *rewriter) cut(first, out int64) {
	if r.count > 0 {
		r.spans[r.last].end = r.newest + 1
		r.last = (r.last + 1) % maxSpans
	}
	r.count = min(r.count+1, maxSpans)
	r.spans[r.last] = span{first: first, end: math.MaxInt64, offset: out - first}
}

// source returns the source's number of a packet that the viewer knows as out;
// false if none was sent under it, or too long ago.
func (r *rewriter) source(out uint16) (uint16, bool) {
	if !r.begun {
		return 0, false
	}
	newest := r.next() - 1
	number := newest - int64(uint16(newest)-out)
	if newest-number > maxLate {
		return 0, false
	}
	for i := range r.count {
		s := r.span(i)
		if n := number - s.offset; n >= s.first {
			return uint16(n), n < s.end
		}
	}
	return 0, false
}

// pad takes the next numbers of the viewer's sequence for padding and returns
// the first of them, with the timestamp of the newest picture (specs E38: the
// sequence shows no hole). Call it after a whole picture.
func (r *rewriter) pad(count int) (first uint16, timestamp uint32) {
	p := padded{first: r.next(), count: count, timestamp: r.outTimestamp(r.high)}
	if r.paddings == nil {
		r.paddings = new([maxSpans]padded)
	}
	r.paddings[r.padCount%maxSpans] = p
	r.padCount++
	r.cut(r.newest+1, p.first+int64(count))
	return uint16(p.first), p.timestamp
}

// padding reports whether a number was given to padding not long ago, and the
// timestamp that it went out with.
func (r *rewriter) padding(out uint16) (timestamp uint32, ok bool) {
	if r.padCount == 0 {
		return 0, false
	}
	newest := r.next() - 1
	number := newest - int64(uint16(newest)-out)
	for _, p := range r.paddings[:min(r.padCount, maxSpans)] {
		if number >= p.first && number < p.first+int64(p.count) {
			return p.timestamp, true
		}
	}
	return 0, false
}

// outTimestamp maps a timestamp of the source.
func (r *rewriter) outTimestamp(timestamp uint32) uint32 {
	if behind := r.live - timestamp; r.packed && int32(behind) > 0 {
		return r.live - behind>>catchUp + r.shift
	}
	return timestamp + r.shift
}

// next is the viewer's number that follows the newest, unwrapped.
func (r *rewriter) next() int64 { return r.newest + 1 + r.spans[r.last].offset }

// span returns the i-th span before the newest.
func (r *rewriter) span(i int) *span { return &r.spans[(r.last-i+maxSpans)%maxSpans] }

// unwrap returns the number nearest to newest.
func (r *rewriter) unwrap(seq uint16) int64 {
	return r.newest + int64(int16(seq-uint16(r.newest)))
}
