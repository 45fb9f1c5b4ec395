// Package opus decodes Opus, by a library, conceals holes in what is decoded, and
// encodes it, by itself: packets of 20 ms at 48 kHz over the full band, by the CELT
// layer alone (RFC 6716 §4.3 and §5.3, RFC 8251), at a constant bit rate. The encoder
// is written from the standard, in Go; docs/adr/0013-opus-encoder.md says why.
//
// What the encoder leaves out are choices that no decoder needs: the pitch
// filter, boosts of single bands, and changes between time and frequency resolution
// other than short blocks for all of a frame.
package opus

import (
	"errors"
	"fmt"
	"math"
)

const (
	// Rate is the sample rate.
	Rate = 48000
	// FrameSamples is what a packet lasts, for each channel.
	FrameSamples = 960
	// Lookahead is by how many samples what is decoded is later than what was encoded,
	// unless Reset was given them.
	Lookahead = overlap
	// History is how many samples Reset can use.
	History = overlap + 1

	// MostBytes is the most that a packet has.
	MostBytes = 1276
	// leastBytes leaves room for more than the energies, whatever they are.
	leastBytes = 99
	mostBytes  = MostBytes - 1 // of a frame (RFC 6716 §3.2.1)
	// emphasis is by how much high sound is raised (RFC 6716 §4.3.7.2).
	emphasis = 0.85000610
	// full is the amplitude that the standard's energies count in.
	full = 32768
	// hush is the peak of silence, 102 dB below full scale.
	hush = 1.0 / 131072
)

// ErrConfig tells that channels or bit rate are not what this encoder can do.
var ErrConfig = errors.New("an Opus encoder takes 1 or 2 channels, and 40000 to 510000 bits a second")

// Config says how to encode. All is needed.
type Config struct {
	Channels int // 1 or 2
	Bitrate  int // bits a second: 40000 to 510000
}

// Encoder turns sound into packets. One goroutine uses it.
type Encoder struct {
	channels  int
	toc       byte // the packet's first byte (RFC 6716 §3.1)
	coder     rangeEncoder
	packet    []byte
	long      *transform
	short     *transform
	codebook  *codebook
	intensity int // band from which both channels share a shape

	fresh  bool              // no frame is before
	frame  [2]frame          // of each channel
	energy [2][bands]float32 // of the bands, as the decoder knows them
	coded  int               // bands in the last frame
	spread int               // of the last frame
	tonal  int               // how tonal the last frames were
	attack attack

	allocation allocation
	transient  bool // this frame has short blocks
	highest    int  // band with sound in this frame
	left       int  // eighths of bits for this frame's shapes
	pulses     []int
	size       []float32
	double     []float32
}

// frame is one channel of a frame.
type frame struct {
	last      float32                         // the sample before
	samples   [overlap + FrameSamples]float32 // emphasised; the overlap is of the frame before
	bins      [FrameSamples]float32
	amplitude [bands]float32
	target    [bands]float32 // energies as logarithms
	missing   [bands]float32 // what the decoder does not know of them yet
}

// NewEncoder returns an Encoder, or ErrConfig.
func NewEncoder(cfg Config) (*Encoder, error) {
	size := cfg.Bitrate / 8 / 50
	if cfg.Channels < 1 || cfg.Channels > 2 || size-1 < leastBytes || size-1 > mostBytes {
		return nil, fmt.Errorf("encode %d channels with %d bits a second: %w", cfg.Channels, cfg.Bitrate, ErrConfig)
	}
	e := &Encoder{
		channels: cfg.Channels, toc: 0xf8, packet: make([]byte, size),
		long: newTransform(FrameSamples), short: newTransform(FrameSamples / blocks), codebook: newCodebook(),
		intensity: bands,
		pulses:    make([]int, mostBins), size: make([]float32, mostBins), double: make([]float32, mostBins),
	}
	if cfg.Channels == 2 {
		e.toc |= 4
		e.intensity = shared(cfg.Bitrate)
	}
	e.Reset(nil)
	return e, nil
}

// shared returns the band from which a stereo stream of the bit rate is better off with
// one shape for both channels.
func shared(bitrate int) int {
	least := [...]int{36, 44, 50, 56, 62, 67, 72, 79, 88, 106, 134} // kb/s for bands up to 10, 11, …
	band := 10
	for _, kb := range least {
		if bitrate >= kb*1000 {
			band++
		}
	}
	return min(band, bands)
}

// Reset forgets the stream. The next packet needs none before it. history are the
// samples before the next frame, both channels in turn, of which the last 121 count: a
// decoder that has just played their sound by other packets goes on without a seam,
// and without Lookahead: it plays the last 120 of them again.
func (e *Encoder) Reset(history []float32) {
	e.fresh = true
	e.energy = [2][bands]float32{}
	e.coded, e.spread, e.tonal = bands, spreadNormal, 256
	e.attack = attack{}
	n := e.channels
	history = history[:len(history)/n*n]
	history = history[max(0, len(history)-n*History):]
	for c := range n {
		f := &e.frame[c]
		*f = frame{}
		at := overlap - len(history)/n
		for i := c; i < len(history); i += n {
			v := clip(history[i])
			if at >= 0 {
				f.samples[FrameSamples+at] = full * (v - emphasis*f.last)
			}
			f.last = v
			at++
		}
	}
}

// clip makes a number of full scale of any.
func clip(v float32) float32 {
	if v != v {
		return 0
	}
	return min(max(v, -1), 1)
}

// Encode appends to dst the packet of a frame: FrameSamples of each channel, in turn;
// full scale is -1 to 1, and what is beyond is clipped. Missing samples are silence.
func (e *Encoder) Encode(dst []byte, pcm []float32) []byte {
	if e.take(pcm) <= hush {
		for c := range e.energy {
			for b := range bands {
				e.energy[c][b] = leastEnergy
			}
		}
		e.fresh = false
		return append(dst, e.toc, 0xff, 0xfe)
	}
	e.transient = e.attack.find(e.frame[:e.channels])
	e.packet[0] = e.toc
	e.coder.reset(e.packet[1:])
	e.transform()
	e.measure()
	e.write()
	e.fresh = false
	return append(dst, e.packet...)
}

// FinalRange returns the state of the range coder behind the last packet that was not
// silence, which a decoder has, too, behind it (RFC 6716 §6.1).
func (e *Encoder) FinalRange() uint32 { return e.coder.size }

// take takes the samples of a frame, emphasised, and returns the peak of all that the
// frame is made of.
func (e *Encoder) take(pcm []float32) float32 {
	peak, n := float32(0), e.channels
	for c := range n {
		f := &e.frame[c]
		copy(f.samples[:overlap], f.samples[FrameSamples:])
		for _, v := range f.samples[:overlap] {
			peak = max(peak, v/full, -v/full)
		}
		for i := range FrameSamples {
			v := float32(0)
			if at := i*n + c; at < len(pcm) {
				v = clip(pcm[at])
			}
			peak = max(peak, v, -v)
			f.samples[overlap+i] = full * (v - emphasis*f.last)
			f.last = v
		}
	}
	return peak
}

// transform makes bins of the samples; those of short blocks lie interleaved.
func (e *Encoder) transform() {
	for c := range e.channels {
		f := &e.frame[c]
		if !e.transient {
			e.long.forward(f.samples[:], f.bins[:], 1)
			continue
		}
		for b := range blocks {
			e.short.forward(f.samples[b*overlap:b*overlap+2*overlap], f.bins[b:], blocks)
		}
	}
}

// write writes the frame in the order of RFC 6716 Table 56.
func (e *Encoder) write() {
	r := &e.coder
	budget := 8 * len(r.buf)
	r.flag(false, 15)      // no silence
	r.flag(false, 1)       // no pitch filter
	r.flag(e.transient, 3) // short blocks
	e.coarse(budget)
	e.resolution(budget)
	if r.bits()+4 <= budget {
		e.spreading()
		r.choice(e.spread, spreadTable)
	} else {
		e.spread = spreadNormal
	}
	total := budget << unit
	for b := range bands {
		if r.eighths()+6<<unit < total && e.most(b) > 0 {
			r.flag(false, 6) // no boost
		}
	}
	if r.eighths()+6<<unit <= total {
		r.choice(trim, trimTable)
	}
	bits := total - r.eighths() - 1
	repair := 0 // the bit that says whether collapsed blocks get noise
	if e.transient && bits >= (scale+2)<<unit {
		repair = 1 << unit
	}
	e.soundest()
	a := e.allocate(bits - repair)
	e.coded = a.coded
	e.fine(a)
	e.shapes(a, total-repair)
	if repair > 0 {
		r.raw(1, 1)
	}
	e.finest(a, budget-r.bits())
	r.finish()
}

// most returns the most eighths of bits that a band can use.
func (e *Encoder) most(band int) int {
	return (int(caps[e.channels-1][band]) + 64) * e.channels * (width(band) << scale) >> 2
}

// resolution writes that bands keep the resolution of their blocks (RFC 6716 §4.3.4.5):
// for short blocks that is a change of what is usual.
func (e *Encoder) resolution(budget int) {
	log, next := 4, 5
	if e.transient {
		log, next = 2, 4
	}
	spare := 0 // for the choice of a table, which only short blocks need
	if e.coder.bits()+log+1 <= budget {
		spare = 1
	}
	changed := false
	for range bands {
		if e.coder.bits()+log <= budget-spare {
			e.coder.flag(e.transient != changed, log)
			changed = e.transient
		}
		log = next
	}
	if spare == 1 && e.transient && changed {
		e.coder.flag(false, 1)
	}
}

// apart tells whether the channels cost less than their mid and side: their sums of
// amplitudes say it.
func (e *Encoder) apart() bool {
	const last, thetas = 13, 13
	channels, sums := float32(1e-15), float32(1e-15)
	n := edges[last] << scale
	x, y := e.frame[0].bins[:n], e.frame[1].bins[:n]
	for i, l := range x {
		r := y[i]
		channels += abs(l) + abs(r)
		sums += abs(l+r) + abs(l-r)
	}
	bins := float32(edges[last] << (scale + 1))
	return (bins+thetas)*sums*math.Sqrt2/2 > bins*channels
}

func abs(v float32) float32 { return max(v, -v) }

// soundest finds the highest band with sound: no more than 84 dB below the loudest
// band, and 120 dB below full scale.
func (e *Encoder) soundest() {
	least := float32(full * 1e-6)
	for c := range e.channels {
		for _, a := range e.frame[c].amplitude {
			least = max(least, a*6e-5)
		}
	}
	e.highest = 0
	for c := range e.channels {
		for b := bands - 1; b > e.highest; b-- {
			if e.frame[c].amplitude[b] > least {
				e.highest = b
			}
		}
	}
}

// spreading decides how far bins are spread: less, the more tonal the frame is, that is
// the more bins have nearly nothing of their band (RFC 6716 §5.3.6).
func (e *Encoder) spreading() {
	sum, count := 0, 0
	for c := range e.channels {
		for b := range bands {
			bins := e.frame[c].bins[edges[b]<<scale : edges[b+1]<<scale]
			n := len(bins)
			if n <= 8 {
				continue
			}
			var small [3]int
			for _, v := range bins {
				p := v * v * float32(n)
				small[0] += number(p < 0.25)
				small[1] += number(p < 0.0625)
				small[2] += number(p < 0.015625)
			}
			for _, s := range small {
				sum += number(2*s >= n)
			}
			count++
		}
	}
	e.tonal = (sum<<8/count + e.tonal) / 2
	// The last decision is half a step more likely.
	switch now := (3*e.tonal + (3-e.spread)<<7 + 64 + 2) / 4; {
	case now < 80:
		e.spread = spreadAggressive
	case now < 256:
		e.spread = spreadNormal
	case now < 384:
		e.spread = spreadLight
	default:
		e.spread = spreadNone
	}
}
