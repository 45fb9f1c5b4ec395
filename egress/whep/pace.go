package whep

import (
	"time"

	"github.com/whipcast/whipcast/stream"
)

const (
	readSize = 512 // packets that a lane reads in one go: a large keyframe
	turnSize = 10  // packets of a large picture that a viewer gets in turn; they leave in one call
	// A large picture is sent in at most paceSteps, one each paceStep: within a
	// quarter of the time between two pictures at 30 a second.
	paceStep  = time.Millisecond
	paceSteps = 8
	// paceMemory is of how many pictures the usual one is the average.
	paceMemory = 32
)

// pace says how a picture that is much larger than others is spread over time. It
// is pure.
//
// A viewer's network carries the usual picture at once, as it must all the time.
// Of a larger one it gets as much each millisecond, or more where the picture
// would take too long.
type pace struct {
	usual float64 // packets of a picture
	count int     // packets of the one that has begun
}

// observe takes what was read.
func (p *pace) observe(packets []stream.Packet) {
	for i := range packets {
		p.count++
		if packets[i].Marker {
			p.usual += (float64(p.count) - p.usual) / paceMemory
			p.count = 0
		}
	}
}

// step returns how many of so many packets a viewer gets before a pause: whole
// turns, or all of them.
func (p *pace) step(packets int) int {
	usual := max(int(p.usual), turnSize)
	if packets <= 2*usual {
		return packets
	}
	least := (packets + paceSteps - 1) / paceSteps
	return roundUp(max(usual, least), turnSize)
}

func roundUp(n, unit int) int { return (n + unit - 1) / unit * unit }

// turn returns how many of so many packets a viewer gets before the next one's
// turn.
func turn(packets int) int {
	if packets <= 2*turnSize {
		return packets
	}
	return turnSize
}
