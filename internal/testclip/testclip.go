// Package testclip holds the test source's clip and plays it in an endless loop.
//
// The clip is 10 s of H.264 and Opus, made by make.sh beside this file. It is
// there to be looked at and to be measured: a running clock, the frame's number
// in nine boxes, and a white box that flashes at the very instant a beep begins.
// The package is pure: no clock, no goroutine, no network.
//
//	clip.mp4 ──▶ Load ──▶ Clip ──▶ Loop.Next ──▶ Unit, Unit, … for ever
package testclip

import (
	"bytes"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/Eyevinn/mp4ff/mp4"
)

// What the clip is.
const (
	Period       = 10 * time.Second // of the loop: whole frames, whole Opus packets
	FrameRate    = 30               // pictures per second
	FramesPerGOP = 30               // a keyframe begins each second
	Width        = 1280
	Height       = 720
	VideoClock   = 90000 // ticks per second of a picture's time
	AudioClock   = 48000 // ticks per second of an Opus packet's time
	PacketTicks  = 960   // of an Opus packet: 20 ms
	VideoFrames  = 300   // in the loop
	AudioPackets = 500   // in the loop
)

// Where to look and listen. Flash and beep begin together at each whole second
// of media time, and last equally long.
const (
	MarkEvery  = time.Second            // from one flash and beep to the next; the first is at 0
	MarkLength = 100 * time.Millisecond // of the flash (3 frames) and of the beep
	BeepHz     = 1000

	// The flash fills this box with white; between flashes it is dark.
	FlashX      = 960
	FlashY      = 0
	FlashWidth  = 320
	FlashHeight = 240

	// The frame's number in the loop, 0 to 299, stands in boxes of CodeSize
	// pixels, CodeStep pixels apart; bit 0 is the rightmost, white means 1.
	CodeX    = 360
	CodeY    = 560
	CodeSize = 48
	CodeStep = 64
	CodeBits = 9
)

//go:embed clip.mp4
var file []byte

// Unit is one picture or one Opus packet. Data is shared: never change it.
type Unit struct {
	Video bool
	Key   bool   // a decoder can start here
	Ticks int64  // media time since the first loop began, in VideoClock or AudioClock units
	Data  []byte // H.264: Annex B, parameter sets before each keyframe; Opus: one packet
}

// Time returns the media time, rounded to a nanosecond.
func (u Unit) Time() time.Duration {
	clock := int64(AudioClock)
	if u.Video {
		clock = VideoClock
	}
	return time.Duration(u.Ticks/clock)*time.Second + time.Duration(u.Ticks%clock)*time.Second/time.Duration(clock)
}

// Clip is the clip, read into memory. It is immutable: any number of Loops may
// play it at once.
type Clip struct {
	units []Unit // one loop, in order of time; the picture first when equal
}

// Load reads the clip that is built into the program.
func Load() (*Clip, error) {
	parsed, err := mp4.DecodeFile(bytes.NewReader(file))
	if err != nil {
		return nil, fmt.Errorf("read test clip: %w", err)
	}
	if parsed.Moov == nil || len(parsed.Moov.Traks) != 2 {
		return nil, errors.New("read test clip: not a file of two tracks")
	}
	video, err := readVideo(parsed.Moov.Traks[0])
	if err != nil {
		return nil, fmt.Errorf("read test clip's video: %w", err)
	}
	audio, err := readAudio(parsed.Moov.Traks[1])
	if err != nil {
		return nil, fmt.Errorf("read test clip's audio: %w", err)
	}
	return &Clip{units: interleave(video, audio)}, nil
}

func readVideo(track *mp4.TrakBox) ([]Unit, error) {
	entry := track.Mdia.Minf.Stbl.Stsd.AvcX
	if entry == nil || entry.AvcC == nil {
		return nil, errors.New("not H.264")
	}
	var sets []byte
	for _, set := range append(entry.AvcC.SPSnalus, entry.AvcC.PPSnalus...) {
		sets = appendNAL(sets, set)
	}
	samples, err := readSamples(track)
	if err != nil {
		return nil, err
	}
	if len(samples) != VideoFrames {
		return nil, fmt.Errorf("%d pictures, not %d", len(samples), VideoFrames)
	}
	units := make([]Unit, 0, len(samples))
	for i, sample := range samples {
		u := Unit{Video: true, Key: i%FramesPerGOP == 0, Ticks: int64(i) * (VideoClock / FrameRate)}
		if u.Key {
			u.Data = append(u.Data, sets...)
		}
		if u.Data, err = appendAnnexB(u.Data, sample); err != nil {
			return nil, fmt.Errorf("picture %d: %w", i, err)
		}
		units = append(units, u)
	}
	return units, nil
}

func readAudio(track *mp4.TrakBox) ([]Unit, error) {
	samples, err := readSamples(track)
	if err != nil {
		return nil, err
	}
	if len(samples) != AudioPackets {
		return nil, fmt.Errorf("%d packets, not %d", len(samples), AudioPackets)
	}
	units := make([]Unit, 0, len(samples))
	for i, sample := range samples {
		units = append(units, Unit{Key: true, Ticks: int64(i) * PacketTicks, Data: sample})
	}
	return units, nil
}

// readSamples returns the track's samples as slices of the file.
func readSamples(track *mp4.TrakBox) ([][]byte, error) {
	samples := make([][]byte, 0, track.GetNrSamples())
	for nr := uint32(1); nr <= track.GetNrSamples(); nr++ {
		ranges, err := track.GetRangesForSampleInterval(nr, nr)
		if err != nil {
			return nil, fmt.Errorf("locate sample %d: %w", nr, err)
		}
		at, size := ranges[0].Offset, ranges[0].Size
		if at+size > uint64(len(file)) {
			return nil, fmt.Errorf("sample %d lies outside the file", nr)
		}
		samples = append(samples, file[at:at+size:at+size])
	}
	return samples, nil
}

// appendAnnexB turns length-prefixed NAL units (ISO/IEC 14496-15) into Annex B.
func appendAnnexB(dst, sample []byte) ([]byte, error) {
	for len(sample) > 0 {
		if len(sample) < 4 {
			return nil, errors.New("cut NAL unit length")
		}
		n := int64(binary.BigEndian.Uint32(sample))
		sample = sample[4:]
		if n == 0 || n > int64(len(sample)) {
			return nil, errors.New("cut NAL unit")
		}
		dst = appendNAL(dst, sample[:n])
		sample = sample[n:]
	}
	return dst, nil
}

func appendNAL(dst, nal []byte) []byte {
	return append(append(dst, 0, 0, 0, 1), nal...)
}

func interleave(video, audio []Unit) []Unit {
	all := make([]Unit, 0, len(video)+len(audio))
	for len(video) > 0 && len(audio) > 0 {
		if video[0].Time() <= audio[0].Time() {
			all, video = append(all, video[0]), video[1:]
		} else {
			all, audio = append(all, audio[0]), audio[1:]
		}
	}
	return append(append(all, video...), audio...)
}

// Loop plays a Clip without end. It belongs to one goroutine.
type Loop struct {
	clip  *Clip
	round int64 // loops finished
	next  int   // index in clip.units
}

// Loop returns a new Loop that stands at media time 0.
func (c *Clip) Loop() *Loop { return &Loop{clip: c} }

// Next returns the next Unit. Media time rises from Unit to Unit and goes on
// rising when the clip begins anew.
func (l *Loop) Next() Unit {
	u := l.clip.units[l.next]
	clock := int64(AudioClock)
	if u.Video {
		clock = VideoClock
	}
	u.Ticks += l.round * clock * int64(Period/time.Second)
	l.next++
	if l.next == len(l.clip.units) {
		l.next, l.round = 0, l.round+1
	}
	return u
}

// Skip leaves out all Units before the first keyframe at or after the media
// time t, and stands there. It never goes back.
func (l *Loop) Skip(t time.Duration) {
	second := int64((t + MarkEvery - 1) / MarkEvery)
	rounds := int64(Period / time.Second)
	round, into := second/rounds, time.Duration(second%rounds)*time.Second
	next := 0
	for l.clip.units[next].Time() < into {
		next++
	}
	if round > l.round || round == l.round && next > l.next {
		l.round, l.next = round, next
	}
}
