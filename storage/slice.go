package storage

// Slice returns the bytes from, inclusive, to end, exclusive. It shares the
// memory of b, so a byte range is served without joining the pieces. Bounds
// outside of b are moved to its ends.
func (b Body) Slice(from, end int) Body {
	var out Body
	for _, piece := range b {
		low, high := max(from, 0), min(end, len(piece))
		if low < high {
			out = append(out, piece[low:high:high])
		}
		from, end = from-len(piece), end-len(piece)
	}
	return out
}
