package packager

import (
	"context"
	"errors"
	"fmt"

	"github.com/whipcast/whipcast/packager/aac"
	"github.com/whipcast/whipcast/packager/au"
	"github.com/whipcast/whipcast/packager/fmp4"
)

// Sound says which audio renditions are made.
type Sound string

// The choices.
const (
	Both Sound = "both" // AAC, which every player knows, and Opus as it came
	Opus Sound = "opus"
	AAC  Sound = "aac"
)

// voice is an audio rendition that follows the leading one.
type voice struct {
	*rendition
	trail follower
	coded bool // it is AAC
}

// aacName is AAC in a Layer's Codec and in au.Params.
const aacName = "AAC"

// choir is all audio of a presentation: one soundtrack, coded once. Audio that
// comes as AAC is passed on as it is (ADR 10).
//
//	unit ──▶ soundtrack ──▶ Opus frames ──▶ voice "audio"
//	             │             └─▶ Transcoder ──▶ AAC frames ──▶ voice "aac"
//	             └────────▶ AAC frames as they came ──────────────┘
type choir struct {
	soundtrack
	opus   *au.Params
	aac    *au.Params
	coder  *aac.Transcoder // nil without AAC to make
	passed bool            // the audio comes as AAC
	frames []aac.Frame     // scratch
}

// newChoir returns the audio's beginning. Without an AAC encoder in the program
// it makes Opus alone, and says so by the error. Where the audio comes as AAC there
// is nothing to choose.
func newChoir(choice Sound, has tracks) (choir, Sound, error) {
	c := choir{
		opus: &au.Params{Codec: "Opus", SampleRate: opusRate, Channels: 2},
		aac:  &au.Params{Codec: aacName, SampleRate: aac.Rate, Channels: 2},
	}
	if has.aac {
		c.pass(c.aac)
		return c, AAC, nil
	}
	if choice == Opus {
		return c, choice, nil
	}
	coder, err := aac.New(aac.Config{})
	if errors.Is(err, aac.ErrUnavailable) {
		return c, Opus, err
	}
	if err != nil {
		return c, Opus, fmt.Errorf("make the AAC rendition: %w", err)
	}
	c.coder = coder
	return c, choice, nil
}

// pass makes the choir one of AAC that comes with these parameters.
func (c *choir) pass(params *au.Params) {
	c.aac, c.passed = params, true
	c.still = sound{ticks: au.FrameAAC * opusRate / int64(params.SampleRate), data: aac.Silence(params.Channels), made: true}
}

// code returns the AAC frames that became ready with these sounds.
func (c *choir) code(sounds, out []sound) []sound {
	if c.passed {
		return append(out, sounds...)
	}
	if c.coder == nil {
		return out
	}
	c.frames = c.frames[:0]
	for _, s := range sounds {
		if s.made {
			c.frames = c.coder.Conceal(s.at, s.ticks, c.frames)
		} else {
			c.frames = c.coder.Add(s.at, s.ticks, s.data, c.frames)
		}
	}
	return c.timed(out)
}

// flush returns what the encoder still holds: the Epoch ends.
func (c *choir) flush(out []sound) []sound {
	if c.coder == nil {
		return out
	}
	c.frames = c.coder.Flush(c.frames[:0])
	return c.timed(out)
}

func (c *choir) timed(out []sound) []sound {
	for _, f := range c.frames {
		out = append(out, sound{at: f.At, ticks: aac.FrameTicks, data: f.Data})
	}
	clear(c.frames)
	return out
}

// leave leaves out the time up to at: a discontinuity is there, or segments
// without media.
func (c *choir) leave(at int64) {
	if c.coder != nil && at > c.cursor {
		c.coder.Reset()
	}
	c.skip(at)
}

// do carries out what the follower said.
func (v *voice) do(ctx context.Context, verb verb) error {
	switch verb {
	case keep:
		s := v.trail.take(verb)
		v.add(fmp4.Sample{Duration: uint32(s.ticks), Key: true, Data: s.data}) //nolint:gosec // less than a part
	case discard:
		v.trail.take(verb)
	case openSegment:
		v.begin(v.trail.segmentAt, v.trail.begun.date(v.trail.segmentAt, opusRate), v.trail.begun)
	case closePart:
		return v.closePart(ctx)
	case skip:
		return v.skipPart(ctx, v.trail.blank)
	case closeSegment:
		if err := v.cover(ctx, v.trail.cutAt); err != nil {
			return err
		}
		return v.closeSegment(ctx)
	}
	return nil
}
