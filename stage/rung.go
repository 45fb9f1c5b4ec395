package stage

import (
	"strconv"

	"github.com/whipcast/whipcast/stream"
)

// The ladder of a program stays the same over cuts, whatever the seats have: players
// know its rungs from the beginning, and a viewer of one stays on it. The best layer of
// a seat is the best rung, its smallest the lowest one. Where a seat has fewer, or one
// has no keyframe in time, the next smaller one feeds its rung as well.

// rung returns the name of a layer of a program that has so many, the best one is 0.
func rung(i, rungs int) stream.LayerID {
	id := stream.LayerID{Kind: stream.Video}
	if rungs > 1 {
		id.RID = strconv.Itoa(i)
	}
	return id
}

// feeds returns which of the layers that hold a keyframe feeds a rung. At least one
// does. It is pure.
func feeds(takes []*take, i, rungs int) *take {
	at := 0
	if rungs > 1 {
		at = (2*i*(len(takes)-1) + rungs - 1) / (2 * (rungs - 1)) // of two as near the smaller one
	}
	for _, t := range takes[at:] {
		if len(t.held) > 0 {
			return t
		}
	}
	for ; at > 0; at-- {
		if t := takes[at-1]; len(t.held) > 0 {
			return t
		}
	}
	return takes[0]
}
