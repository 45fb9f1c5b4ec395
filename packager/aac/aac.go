// Package aac makes the AAC rendition of a presentation: Opus packets in,
// AAC-LC access units of 1024 samples out, 48 kHz stereo. It exists because Opus
// in HLS plays on few television sets and on no older Apple device (specs S36 to
// S38). It is pure: no goroutine, clock or I/O.
//
// Times are samples at 48 kHz on the presentation's timeline. What comes in is
// contiguous but elastic: frames may be meant to last a little longer or shorter
// than they do, to correct the offset to the video. What goes out stands on an
// exact grid. In between the sound is bent or spliced so that nobody hears it.
//
// The encoder is github.com/tphakala/go-aac, under the LGPL 2.1 or later: see
// NOTICE. It is seen by one file only, behind the interface encoder, and the build
// tag noaac leaves it out. New then returns ErrUnavailable.
package aac

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/whipcast/whipcast/internal/opus"
)

const (
	// Rate is the sample rate of what comes in and goes out, and the unit of all times.
	Rate = 48000
	// FrameTicks is what an access unit lasts.
	FrameTicks = 1024
	// Latency is how many samples must have come in after the start of a Frame
	// until it comes out: the frame itself, the one that it overlaps with, and
	// the encoder's look into the future.
	Latency = 3 * FrameTicks

	// hush is the peak up to which a frame is silence: the least step of 16 bits, which
	// is what decoders for speech leave of it.
	hush = 1.0 / 32768
	// settleFrames is how many frames of silence in a row leave nothing else in the
	// encoder: the three that it holds, and the one that is given.
	settleFrames = 4

	defaultBitrate = 128000
	// mostUnit is the most bytes of an access unit: 6144 bits a channel.
	mostUnit     = 2 * 6144 / 8
	leastBitrate = 16000
	mostBitrate  = 512000
	// mostHole is the longest hole that is filled. A longer one starts a new grid.
	mostHole = 10 * Rate
)

var (
	// ErrUnavailable tells that the program was built without the AAC encoder.
	ErrUnavailable = errors.New("make an AAC encoder: this program was built without one (tag noaac); choose Opus alone")
	// ErrBitrate tells that the bit rate is not one for AAC-LC stereo.
	ErrBitrate = errors.New("bit rate is outside 16000 to 512000 bits a second")
)

// Config says how to encode. The zero value is right.
type Config struct {
	Bitrate int // bits a second; default 128000
}

// Frame is one access unit. Its Data is not used again by the Transcoder.
type Frame struct {
	At   int64  // timeline of its first sample as it is heard: the delays are subtracted
	Data []byte // a raw AAC access unit of FrameTicks samples
}

// Stats counts since New. Times are in samples.
type Stats struct {
	Packets     uint64 // given to Add
	Undecodable uint64 // packets that were concealed because they are no Opus
	Late        uint64 // packets or holes left out: their time had passed
	Concealed   uint64 // samples made up
	Failed      uint64 // frames that the encoder refused, and silence replaces
	Silent      uint64 // frames of silence that took no encoding
}

// encoder turns the next 1024 samples of both channels into an access unit.
type encoder interface {
	// encode appends to dst the access unit that became ready: none on the first
	// call, and then, one call after the other, the one before what was given.
	encode(dst []byte, left, right []float32) ([]byte, error)
	// reset forgets the stream.
	reset() error
	// config returns the AudioSpecificConfig.
	config() []byte
}

// Transcoder turns one Opus track into one AAC track. One goroutine uses it.
type Transcoder struct {
	encoder encoder
	decoder *opus.Decoder
	patch   opus.Patch
	pace    pace
	stats   Stats

	begun       bool
	expected    int64 // where the next packet should start
	first       int64 // where the grid starts
	frames      int64 // given to the encoder since
	filled      int   // samples in left and right
	left, right [FrameTicks]float32
	paced       []opus.Stereo
	meter       meter
	unit        []byte // the newest access unit
	last        []byte // the one before
	quiet       int    // frames of silence given in a row
	silent      []byte // an access unit of silence
}

// New returns a Transcoder. The errors are ErrUnavailable and ErrBitrate.
func New(cfg Config) (*Transcoder, error) {
	if cfg.Bitrate == 0 {
		cfg.Bitrate = defaultBitrate
	}
	if cfg.Bitrate < leastBitrate || cfg.Bitrate > mostBitrate {
		return nil, fmt.Errorf("make an AAC encoder of %d bits a second: %w", cfg.Bitrate, ErrBitrate)
	}
	enc, err := newEncoder(cfg.Bitrate)
	if err != nil {
		return nil, err
	}
	dec, err := opus.NewDecoder()
	if err != nil {
		return nil, fmt.Errorf("make an Opus decoder: %w", err)
	}
	return newTranscoder(enc, dec)
}

// newTranscoder joins both ends, and keeps an access unit of silence.
func newTranscoder(enc encoder, dec *opus.Decoder) (*Transcoder, error) {
	t := &Transcoder{
		encoder: enc, decoder: dec,
		unit: make([]byte, 0, mostUnit), last: make([]byte, 0, mostUnit),
	}
	for range 3 {
		var err error
		if t.unit, err = enc.encode(t.unit[:0], t.left[:], t.right[:]); err != nil {
			return nil, fmt.Errorf("encode silence: %w", err)
		}
	}
	t.silent = append(t.silent, t.unit...)
	t.unit = t.unit[:0]
	if err := enc.reset(); err != nil {
		return nil, fmt.Errorf("reset the AAC encoder: %w", err)
	}
	return t, nil
}

// Config returns the AudioSpecificConfig (ISO/IEC 14496-3 §1.6.2.1).
func (t *Transcoder) Config() []byte { return t.encoder.config() }

// Stats returns the counters since New.
func (t *Transcoder) Stats() Stats { return t.stats }

// Add takes the packet that is heard from at on, for the given ticks, and appends
// the frames that became ready. The first one after New, Reset or Flush sets the
// grid: frames follow at its time plus multiples of FrameTicks, without a gap. A
// hole before the packet is concealed; one of more than 10 s starts a new grid. A
// packet that cannot be decoded is concealed too, and counted; one that an encoder
// sends in a pause, without sound (specs R47), is concealed as well.
func (t *Transcoder) Add(at, ticks int64, packet []byte, out []Frame) []Frame {
	t.stats.Packets++
	out, ok := t.arrive(at, ticks, out)
	if !ok {
		return out
	}
	if opus.Paused(packet) {
		return t.fill(out)
	}
	pcm, err := t.decoder.Decode(packet)
	if err != nil {
		t.stats.Undecodable++
		return t.fill(out)
	}
	lag := t.pace.lag(t.expected, len(pcm))
	switch {
	case lag > mostLag: // the packet lasts less than it was said to
		return t.play(pcm, t.fillTo(t.expected-int64(len(pcm)), out))
	case lag < -mostLag: // or more
		t.stats.Late++
		t.patch.Begin()
		return out
	}
	return t.play(pcm, out)
}

// Conceal makes up the sound of a hole: what was heard last goes on and fades out
// within 60 ms (specs R48). Use it instead of Add for what was lost.
func (t *Transcoder) Conceal(at, ticks int64, out []Frame) []Frame {
	out, ok := t.arrive(at, ticks, out)
	if !ok {
		return out
	}
	return t.fill(out)
}

// Flush ends an Epoch: it appends the frames whose samples have all come in and
// does what Reset does. Less than one frame of sound is given up.
func (t *Transcoder) Flush(out []Frame) []Frame {
	if t.begun {
		end := t.pace.made
		whole := (end - t.first) / FrameTicks
		for t.frames < whole+2 {
			out = t.fillTo(t.pace.made+FrameTicks-int64(t.filled), out)
		}
	}
	t.Reset()
	return out
}

// Reset forgets the sound so far: a discontinuity follows, and the next packet sets
// a new grid (specs R51). Sound that has not come out yet is given up; Flush saves it.
func (t *Transcoder) Reset() {
	t.begun = false
	t.patch = opus.Patch{}
	t.meter = meter{}
	t.filled, t.frames, t.quiet = 0, 0, 0
	t.unit, t.last = t.unit[:0], t.last[:0]
	t.decoder.Reset()
	if err := t.encoder.reset(); err != nil {
		t.stats.Failed++
	}
}

// arrive begins a grid, or goes on to where a packet starts. It reports whether the
// packet's time is still to come, and keeps its end in expected.
func (t *Transcoder) arrive(at, ticks int64, out []Frame) ([]Frame, bool) {
	if ticks <= 0 || ticks > mostHole {
		t.stats.Late++
		return out, false
	}
	if t.begun && at-t.expected > mostHole {
		out = t.Flush(out)
	}
	if !t.begun {
		t.begun = true
		t.first, t.expected = at, at
		t.pace = pace{made: at}
	}
	if at > t.expected {
		t.expected = at
		out = t.fill(out)
	}
	if at+ticks <= t.pace.made-mostLag {
		t.stats.Late++
		return out, false
	}
	t.expected = at + ticks
	return out, true
}

// fill conceals up to where the next packet is expected, and so takes up all lag.
func (t *Transcoder) fill(out []Frame) []Frame { return t.fillTo(t.expected, out) }

func (t *Transcoder) fillTo(end int64, out []Frame) []Frame {
	for t.pace.made < end {
		n := min(end-t.pace.made, opus.MostSamples)
		t.paced = t.patch.Fill(t.paced[:0], int(n))
		t.stats.Concealed += uint64(n)
		out = t.encode(t.paced, out)
	}
	return out
}

// play hands decoded sound on, in step with the timeline.
func (t *Transcoder) play(pcm []opus.Stereo, out []Frame) []Frame {
	t.patch.Join(pcm)
	t.paced = t.pace.fit(t.paced[:0], t.patch.Past(), pcm, t.expected)
	t.patch.Learn(pcm)
	return t.encode(t.paced, out)
}

// encode appends what is complete with the given samples.
func (t *Transcoder) encode(pcm []opus.Stereo, out []Frame) []Frame {
	t.pace.made += int64(len(pcm))
	for _, s := range pcm {
		t.left[t.filled], t.right[t.filled] = min(max(s[0], -1), 1), min(max(s[1], -1), 1)
		if t.filled++; t.filled == FrameTicks {
			t.filled = 0
			out = t.encodeFrame(out)
		}
	}
	return out
}

// encodeFrame encodes the full buffer. The first call after a reset yields nothing
// and the second one a unit that lies before the grid and only opens the overlap.
func (t *Transcoder) encodeFrame(out []Frame) []Frame {
	if t.meter.take(&t.left, &t.right) > hush {
		t.quiet = 0
	} else {
		t.quiet++
		clear(t.left[:])
		clear(t.right[:])
	}
	if t.settled() {
		t.stats.Silent++
	} else {
		t.encodeUnit()
	}
	t.frames++
	if t.frames < 3 {
		return out
	}
	data := t.unit
	if len(data) == 0 { // the encoder failed: the grid stays whole
		data = t.silent
	}
	return append(out, Frame{
		At:   t.first + (t.frames-3)*FrameTicks,
		Data: append(make([]byte, 0, len(data)), data...),
	})
}

// settled tells that the newest unit can be used again. All that the encoder holds and
// gets is zeros, so that it is as well off without this frame; and its last two units
// are the same, so that the window of one may follow that of the other.
func (t *Transcoder) settled() bool {
	return t.quiet >= settleFrames && len(t.unit) > 0 && bytes.Equal(t.unit, t.last)
}

// encodeUnit makes the next unit.
func (t *Transcoder) encodeUnit() {
	t.unit, t.last = t.last, t.unit
	var err error
	t.unit, err = t.encoder.encode(t.unit[:0], t.left[:], t.right[:])
	if err != nil {
		t.stats.Failed++
		t.unit = t.unit[:0]
		// It fails the same way in New, which reports it.
		_ = t.encoder.reset()
	}
}
