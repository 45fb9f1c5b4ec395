package au

const (
	maxChunks = 16384 // of one unit; a chunk costs memory even if it holds one byte
)

// chunk is a piece of an element (a NAL unit, an OBU, a frame) in a packet's
// payload. The payload is copied only once, when the unit is complete.
type chunk struct {
	bytes []byte
	first bool // begins an element
	head  byte // the element's first byte, if prefix: it is not among the bytes
	head2 byte // its second one, if prefix is 2
	// prefix is how many rebuilt header bytes stand before bytes.
	prefix uint8
}

// frame gathers the payloads of one access unit.
type frame struct {
	max    int
	chunks []chunk
	size   int
	// open says that the last element is not complete.
	open bool
	// damaged says that something is missing or malformed.
	damaged bool
}

func (f *frame) reset() {
	clear(f.chunks) // lets go of the payloads
	f.chunks = f.chunks[:0]
	f.size = 0
	f.open, f.damaged = false, false
}

func (f *frame) add(c chunk) {
	f.size += len(c.bytes) + int(c.prefix)
	if c.first {
		f.size += 8 // more than any length field that is written before an element
	}
	if f.size > f.max || len(f.chunks) >= maxChunks {
		f.damage()
	}
	if !f.damaged {
		f.chunks = append(f.chunks, c)
	}
}

// damage drops what was gathered: the unit will not be finished.
func (f *frame) damage() {
	clear(f.chunks)
	f.chunks = f.chunks[:0]
	f.damaged = true
	f.open = false
}

// element is the chunks of one element.
type element []chunk

// elements calls visit with each element, in order.
func (f *frame) elements(visit func(e element)) {
	for i := 0; i < len(f.chunks); {
		j := i + 1
		for j < len(f.chunks) && !f.chunks[j].first {
			j++
		}
		visit(f.chunks[i:j])
		i = j
	}
}

func (e element) size() int {
	n := 0
	for i := range e {
		n += len(e[i].bytes) + int(e[i].prefix)
	}
	return n
}

// peek copies the first bytes of the element to into and returns how many.
func (e element) peek(into []byte) int {
	n := 0
	for i := range e {
		c := &e[i]
		if c.prefix > 0 && n < len(into) {
			into[n] = c.head
			n++
		}
		if c.prefix > 1 && n < len(into) {
			into[n] = c.head2
			n++
		}
		n += copy(into[n:], c.bytes)
		if n == len(into) {
			break
		}
	}
	return n
}

// append copies to dst what is behind the first skip bytes of the element, at
// most size bytes.
func (e element) append(dst []byte, skip, size int) []byte {
	for i := range e {
		c := &e[i]
		head := [2]byte{c.head, c.head2}
		for _, b := range [2][]byte{head[:c.prefix], c.bytes} {
			n := min(skip, len(b))
			skip -= n
			b = b[n:]
			b = b[:min(size, len(b))]
			size -= len(b)
			dst = append(dst, b...)
		}
	}
	return dst
}
