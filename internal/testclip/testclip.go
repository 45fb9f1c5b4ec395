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
	"slices"
	"time"

	"github.com/Eyevinn/mp4ff/mp4"
)

// What the clip is; Width and Height are the best layer's.
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

//go:embed half.mp4
var half []byte

//go:embed quarter.mp4
var quarter []byte

// Layer is one encoding of the clip's pictures.
type Layer struct {
	Width, Height int
	Bitrate       int // of the pictures of a Clip by LoadLadder, bits per second
}

// Ladder returns the layers of LoadLadder's Clip, the best one first.
func Ladder() []Layer {
	return []Layer{
		{Width, Height, 2_000_000},
		{Width / 2, Height / 2, 600_000},
		{Width / 4, Height / 4, 200_000},
	}
}

// Unit is one picture or one Opus packet. Data is shared: never change it.
type Unit struct {
	Video bool
	Layer int    // of a picture: its index in Ladder; 0 of an Opus packet
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

// Load reads the clip that is built into the program: the best layer alone, at
// the bitrate that its calm pictures need, some 250 kb/s.
func Load() (*Clip, error) {
	video, audio, err := readClip()
	if err != nil {
		return nil, err
	}
	return &Clip{units: interleave([][]Unit{video}, audio)}, nil
}

// LoadLadder reads the clip in all layers of Ladder. Pictures of one time have
// the same number, are keyframes together and come the best layer first. Filler
// brings each second of a layer to its Bitrate.
func LoadLadder() (*Clip, error) {
	best, audio, err := readClip()
	if err != nil {
		return nil, err
	}
	videos := [][]Unit{best}
	for _, small := range [][]byte{half, quarter} {
		tracks, err := readTracks(small, 1)
		if err != nil {
			return nil, fmt.Errorf("read test clip's small pictures: %w", err)
		}
		video, err := readVideo(small, tracks[0])
		if err != nil {
			return nil, fmt.Errorf("read test clip's small pictures: %w", err)
		}
		videos = append(videos, video)
	}
	for i, layer := range Ladder() {
		for j := range videos[i] {
			videos[i][j].Layer = i
		}
		fill(videos[i], layer.Bitrate)
	}
	return &Clip{units: interleave(videos, audio)}, nil
}

// readClip returns the best layer's pictures, and the sound.
func readClip() (video, audio []Unit, err error) {
	tracks, err := readTracks(file, 2)
	if err != nil {
		return nil, nil, fmt.Errorf("read test clip: %w", err)
	}
	if video, err = readVideo(file, tracks[0]); err != nil {
		return nil, nil, fmt.Errorf("read test clip's video: %w", err)
	}
	if audio, err = readAudio(tracks[1]); err != nil {
		return nil, nil, fmt.Errorf("read test clip's audio: %w", err)
	}
	return video, audio, nil
}

func readTracks(from []byte, want int) ([]*mp4.TrakBox, error) {
	parsed, err := mp4.DecodeFile(bytes.NewReader(from))
	if err != nil {
		return nil, err
	}
	if parsed.Moov == nil || len(parsed.Moov.Traks) != want {
		return nil, fmt.Errorf("not a file of %d tracks", want)
	}
	return parsed.Moov.Traks, nil
}

func readVideo(from []byte, track *mp4.TrakBox) ([]Unit, error) {
	entry := track.Mdia.Minf.Stbl.Stsd.AvcX
	if entry == nil || entry.AvcC == nil {
		return nil, errors.New("not H.264")
	}
	var sets []byte
	for _, set := range append(entry.AvcC.SPSnalus, entry.AvcC.PPSnalus...) {
		sets = appendNAL(sets, set)
	}
	samples, err := readSamples(from, track)
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

// fill brings each GOP to bitrate: what it lacks is spread over its pictures but
// the keyframe, which is the biggest anyway.
func fill(video []Unit, bitrate int) {
	const pictures = FramesPerGOP - 1
	for len(video) > 0 {
		gop := video[:FramesPerGOP]
		video = video[FramesPerGOP:]
		missing := bitrate / 8 * FramesPerGOP / FrameRate
		for _, u := range gop {
			missing -= len(u.Data)
		}
		for i := range gop[1:] {
			gop[1+i].Data = append(slices.Clip(gop[1+i].Data), filler(missing/pictures)...)
		}
	}
}

// filler returns words of zeros to follow a picture's slice, of size bytes in all or
// a little less: what H.264 calls cabac_zero_words (7.3.2.10, 7.4.2.10) and decoders
// of any entropy coding pass over. They are part of the slice. An SEI message would
// be a NAL unit of its own before it: browsers that lose a piece of one take the
// slice for the whole picture, and get stuck once the piece is repaired. And filler
// NAL units are left out on the way.
func filler(size int) []byte { return bytes.Repeat([]byte{0, 0, 3}, max(size, 0)/3) }

func readAudio(track *mp4.TrakBox) ([]Unit, error) {
	samples, err := readSamples(file, track)
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
func readSamples(from []byte, track *mp4.TrakBox) ([][]byte, error) {
	samples := make([][]byte, 0, track.GetNrSamples())
	for nr := uint32(1); nr <= track.GetNrSamples(); nr++ {
		ranges, err := track.GetRangesForSampleInterval(nr, nr)
		if err != nil {
			return nil, fmt.Errorf("locate sample %d: %w", nr, err)
		}
		at, size := ranges[0].Offset, ranges[0].Size
		if at+size > uint64(len(from)) {
			return nil, fmt.Errorf("sample %d lies outside the file", nr)
		}
		samples = append(samples, from[at:at+size:at+size])
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

// interleave orders by time: of equal ones the pictures first, the best first.
func interleave(videos [][]Unit, audio []Unit) []Unit {
	all := make([]Unit, 0, len(videos)*VideoFrames+len(audio))
	for i := range videos[0] {
		for len(audio) > 0 && audio[0].Time() < videos[0][i].Time() {
			all, audio = append(all, audio[0]), audio[1:]
		}
		for _, video := range videos {
			all = append(all, video[i])
		}
	}
	return append(all, audio...)
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
