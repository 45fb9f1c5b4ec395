package testsource

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"

	"github.com/whipcast/whipcast/internal/testclip"
)

const (
	maxPayload  = 1180            // RTP payload; with all headers far below 1,280 bytes
	reportEvery = time.Second     // between two sender reports
	tooLate     = 1 * time.Second // a player that is later than this leaves media out
)

// outlet takes what a player sends. A lane is one RTP sequence: the video layers
// come first, the best one first, and the audio is the last. Its methods are
// called by the player's goroutine only.
type outlet interface {
	// packet sends p on a lane. The outlet sets SSRC, payload type and header
	// extensions; it must not keep p.
	packet(lane int, p *rtp.Packet) error
	// report sends a sender report: at the time ntp the lane's clock stood at rtp.
	report(lane int, ntp time.Time, rtp uint32) error
}

// lane is what a player knows of one RTP sequence.
type lane struct {
	clock    int64 // ticks a second
	sequence uint16
	base     uint32 // RTP time of media time 0
	h264     codecs.H264Payloader
	silent   bool // sends nothing until a keyframe after its silence
}

// player sends a Loop by the wall clock. It belongs to one goroutine.
type player struct {
	loop   *testclip.Loop
	out    outlet
	lanes  []lane // the video layers, then the audio
	packet rtp.Packet
	padTo  int                                       // bytes of a picture at least
	silent func(layer int, media time.Duration) bool // nil: no layer ever is
}

// newPlayer plays a loop of so many video layers.
func newPlayer(loop *testclip.Loop, layers int, out outlet) *player {
	p := &player{loop: loop, out: out}
	for range layers {
		p.lanes = append(p.lanes, newLane(testclip.VideoClock))
	}
	p.lanes = append(p.lanes, newLane(testclip.AudioClock))
	return p
}

// newLane begins its numbers anywhere (RFC 3550 §5.1). The lower half of times
// keeps the first hours away from a wrap, so that a reader of a packet dump need
// not think of it.
func newLane(clock int64) lane {
	return lane{clock: clock, sequence: uint16(rand.Uint32()), base: rand.Uint32() & 0x7fffffff} //nolint:gosec // RTP needs no secrecy here
}

// oneBase gives all video layers equal RTP times.
func (p *player) oneBase() {
	for i := range p.lanes[1 : len(p.lanes)-1] {
		p.lanes[1+i].base = p.lanes[0].base
	}
}

// run sends until ctx ends or the outlet fails. Each unit goes out when its
// media time has come, counted from one start: lateness never adds up. It
// returns the cause of ctx, or the outlet's error.
func (p *player) run(ctx context.Context) error {
	start := time.Now()
	nextReport := time.Duration(0)
	unit := p.loop.Next()
	for {
		now := time.Since(start)
		if now-unit.Time() > tooLate {
			// The machine slept. What is overdue is of no use to anybody; go on
			// at a keyframe.
			p.loop.Skip(now)
			unit = p.loop.Next()
			continue
		}
		for unit.Time() <= now {
			if err := p.send(unit); err != nil {
				return err
			}
			unit = p.loop.Next()
		}
		if now >= nextReport {
			if err := p.reports(start, now); err != nil {
				return err
			}
			nextReport = now.Truncate(reportEvery) + reportEvery
		}
		sleep(ctx, min(unit.Time(), nextReport)-time.Since(start))
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// send sends one unit as RTP: RFC 6184 for video, RFC 7587 for audio.
func (p *player) send(u testclip.Unit) error {
	k, payloads := len(p.lanes)-1, [][]byte{u.Data}
	if u.Video {
		k = u.Layer
		if p.quiet(u) {
			return nil
		}
		payloads = p.lanes[k].h264.Payload(maxPayload, p.pad(u.Data))
	}
	to := &p.lanes[k]
	for i, payload := range payloads {
		p.packet = rtp.Packet{
			Header: rtp.Header{
				Version:        2,
				Marker:         u.Video && i == len(payloads)-1,
				SequenceNumber: to.sequence,
				Timestamp:      to.base + uint32(u.Ticks), //nolint:gosec // RTP time wraps
			},
			Payload: payload,
		}
		to.sequence++
		if err := p.out.packet(k, &p.packet); err != nil {
			return err
		}
	}
	return nil
}

// quiet says whether a picture is left out: its layer is silent, or was and has
// not come to a keyframe yet.
func (p *player) quiet(u testclip.Unit) bool {
	if p.silent == nil {
		return false
	}
	to := &p.lanes[u.Layer]
	switch {
	case p.silent(u.Layer, u.Time()):
		to.silent = true
	case u.Key:
		to.silent = false
	}
	return to.silent
}

// pad lengthens a picture's last slice.
func (p *player) pad(picture []byte) []byte {
	if missing := p.padTo - len(picture); missing > 0 {
		return append(slices.Clip(picture), bytes.Repeat([]byte{0x55}, missing)...)
	}
	return picture
}

// reports tells all lanes' clocks at one instant of one clock (RFC 3550 §6.4.1),
// which is what keeps lips and layers in sync. Who sends nothing reports nothing.
func (p *player) reports(start time.Time, now time.Duration) error {
	for i := range p.lanes {
		from := &p.lanes[i]
		if from.silent {
			continue
		}
		ticks := int64(now/time.Second)*from.clock + int64(now%time.Second)*from.clock/int64(time.Second)
		if err := p.out.report(i, start.Add(now), from.base+uint32(ticks)); err != nil { //nolint:gosec // RTP time wraps
			return fmt.Errorf("send sender report: %w", err)
		}
	}
	return nil
}
