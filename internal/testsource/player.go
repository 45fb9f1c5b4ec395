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

// outlet takes what a player sends. Its methods are called by the player's
// goroutine only.
type outlet interface {
	// packet sends p on the video or the audio track. The outlet sets SSRC and
	// payload type; it must not keep p.
	packet(kind kind, p *rtp.Packet) error
	// report sends a sender report: at the time ntp the track's clock stood at rtp.
	report(kind kind, ntp time.Time, rtp uint32) error
}

// kind is the index of a track.
type kind int

const (
	video kind = iota
	audio
	kinds
)

// player sends a Loop by the wall clock. It belongs to one goroutine.
type player struct {
	loop   *testclip.Loop
	out    outlet
	h264   codecs.H264Payloader
	packet rtp.Packet
	padTo  int // bytes of a picture at least
	// RTP numbers begin anywhere (RFC 3550 §5.1).
	sequence [kinds]uint16
	base     [kinds]uint32
}

func newPlayer(loop *testclip.Loop, out outlet) *player {
	p := &player{loop: loop, out: out}
	for k := range kinds {
		// The lower half keeps the first hours away from a wrap, so that a reader of
		// a packet dump need not think of it.
		p.sequence[k], p.base[k] = uint16(rand.Uint32()), rand.Uint32()&0x7fffffff //nolint:gosec // RTP needs no secrecy here
	}
	return p
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
	k, payloads := audio, [][]byte{u.Data}
	if u.Video {
		k, payloads = video, p.h264.Payload(maxPayload, p.pad(u.Data))
	}
	for i, payload := range payloads {
		p.packet = rtp.Packet{
			Header: rtp.Header{
				Version:        2,
				Marker:         u.Video && i == len(payloads)-1,
				SequenceNumber: p.sequence[k],
				Timestamp:      p.base[k] + uint32(u.Ticks), //nolint:gosec // RTP time wraps
			},
			Payload: payload,
		}
		p.sequence[k]++
		if err := p.out.packet(k, &p.packet); err != nil {
			return err
		}
	}
	return nil
}

// pad lengthens a picture's last slice.
func (p *player) pad(picture []byte) []byte {
	if missing := p.padTo - len(picture); missing > 0 {
		return append(slices.Clip(picture), bytes.Repeat([]byte{0x55}, missing)...)
	}
	return picture
}

// reports tells both tracks' clocks at one instant of one clock (RFC 3550
// §6.4.1), which is what keeps lips in sync.
func (p *player) reports(start time.Time, now time.Duration) error {
	for k, clock := range [kinds]int64{testclip.VideoClock, testclip.AudioClock} {
		ticks := int64(now/time.Second)*clock + int64(now%time.Second)*clock/int64(time.Second)
		if err := p.out.report(kind(k), start.Add(now), p.base[k]+uint32(ticks)); err != nil { //nolint:gosec // RTP time wraps
			return fmt.Errorf("send sender report: %w", err)
		}
	}
	return nil
}
