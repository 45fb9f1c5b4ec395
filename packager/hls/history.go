package hls

import "slices"

// Sizes of a chunk of history, in bytes. Small playlists should not hold big
// chunks, and big ones should not consist of many pieces.
const (
	minChunk  = 2 << 10
	maxChunk  = 32 << 10
	maxPieces = 16
)

// history is the text of segments that do not change any more, oldest first. It
// is written once: chunks are only appended to, behind what was handed out, and
// dropped whole.
type history struct {
	chunks [][]byte
	first  int // number of chunks[0], counted from the first ever
	size   int // bytes in chunks
}

// place says where the text of a segment begins.
type place struct {
	chunk  int // counted from the first ever
	offset int
}

// add appends the text of one segment. A segment is never split.
func (h *history) add(head, tail []byte) place {
	n := len(head) + len(tail)
	last := len(h.chunks) - 1
	if last < 0 || cap(h.chunks[last])-len(h.chunks[last]) < n {
		size := max(min(h.size/maxPieces, maxChunk), minChunk, n)
		h.chunks = append(h.chunks, make([]byte, 0, size))
		last++
	}
	chunk := h.chunks[last]
	at := place{chunk: h.first + last, offset: len(chunk)}
	h.chunks[last] = append(append(chunk, head...), tail...)
	h.size += n
	return at
}

// trim lets go of the chunks before at.
func (h *history) trim(at place) {
	for h.first < at.chunk {
		h.size -= len(h.chunks[0])
		h.chunks[0] = nil
		h.chunks = h.chunks[1:]
		h.first++
	}
}

// since appends to pieces all text from at on.
func (h *history) since(pieces [][]byte, at place) [][]byte {
	for i := at.chunk - h.first; i < len(h.chunks); i++ {
		chunk := h.chunks[i][at.offset:]
		at.offset = 0
		if len(chunk) > 0 {
			pieces = append(pieces, slices.Clip(chunk))
		}
	}
	return pieces
}
