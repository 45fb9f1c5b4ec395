package fmp4

import (
	"encoding/binary"
	"slices"
)

// trackID is the only track's: one track a file (specs L8).
const trackID = 1

// Sample is one access unit as it is written to a fragment.
type Sample struct {
	// Duration in timescale units: the next sample's decoding time minus this
	// one's (specs R14).
	Duration uint32
	// Composition is presentation time minus decoding time; it may be negative
	// (specs R13).
	Composition int32
	// Key says that decoding can start here. Audio samples are always Key.
	Key bool
	// Data is length-prefixed NAL units, OBUs with sizes, or one audio frame.
	Data []byte
}

// Fragment is one moof with its mdat, and the events in front of it: a part of a
// segment, or all of it.
type Fragment struct {
	Sequence uint32 // rises with each fragment of the rendition
	Decode   uint64 // decoding time of the first sample, never reset (specs L5)
	Samples  []Sample
	Events   []Event // in front of the moof; usually none
}

// Sizes of the boxes that do not depend on the samples, in bytes.
const (
	boxHeader = 8
	mfhdSize  = 16
	tfhdSize  = 16 // without default values, four bytes each
	tfdtSize  = 20
	trunSize  = 20 // without first-sample-flags and without rows
	fieldSize = 4
)

// Flags of tfhd and trun (ISO/IEC 14496-12 §8.8.7 and §8.8.8).
const (
	tfhdDefaultDuration   = 0x000008
	tfhdDefaultFlags      = 0x000020
	tfhdDefaultBaseIsMoof = 0x020000

	trunDataOffset  = 0x000001
	trunFirstFlags  = 0x000004
	trunDuration    = 0x000100
	trunSampleSize  = 0x000200
	trunFlags       = 0x000400
	trunComposition = 0x000800
	trunVersion1    = 1 << 24 // signed composition offsets
)

// Flags of a sample (ISO/IEC 14496-12 §8.8.3.1).
const (
	flagsSync    = 0x02000000 // depends on no other
	flagsNonSync = 0x01010000 // depends on others, is no sync sample
)

// layout says which values stand once for all samples and which have a column
// in trun. A stored column is 4 bytes a sample, which matters for audio.
type layout struct {
	tfhd, trun    uint32 // their flags
	duration      uint32 // default, if tfhd has one
	flags, first  uint32 // default flags, and those of the first sample
	row           int    // bytes a sample in trun
	tfhdLen       int
	trunLen       int
	moofLen, data int
}

func (s *Sample) flags() uint32 {
	if s.Key {
		return flagsSync
	}
	return flagsNonSync
}

// newLayout chooses the smallest form that says the same.
func newLayout(samples []Sample) layout {
	l := layout{
		tfhd: tfhdDefaultBaseIsMoof | tfhdDefaultDuration | tfhdDefaultFlags,
		trun: trunVersion1 | trunDataOffset | trunSampleSize,
	}
	if len(samples) > 0 {
		l.duration = samples[0].Duration
		l.first = samples[0].flags()
		l.flags = samples[min(1, len(samples)-1)].flags()
	}
	for i := range samples {
		s := &samples[i]
		l.data += len(s.Data)
		if s.Duration != l.duration {
			l.trun |= trunDuration
			l.tfhd &^= tfhdDefaultDuration
		}
		if s.Composition != 0 {
			l.trun |= trunComposition
		}
		if i > 0 && s.flags() != l.flags {
			l.trun |= trunFlags
			l.tfhd &^= tfhdDefaultFlags
		}
	}
	if l.trun&trunFlags == 0 && l.first != l.flags {
		l.trun |= trunFirstFlags
	}
	l.measure(len(samples))
	return l
}

// measure fills in the sizes that follow from the flags.
func (l *layout) measure(samples int) {
	count := func(flags, mask uint32) (n int) {
		for m := flags & mask; m != 0; m &= m - 1 {
			n += fieldSize
		}
		return n
	}
	l.tfhdLen = tfhdSize + count(l.tfhd, tfhdDefaultDuration|tfhdDefaultFlags)
	l.row = count(l.trun, trunDuration|trunSampleSize|trunFlags|trunComposition)
	l.trunLen = trunSize + count(l.trun, trunFirstFlags) + samples*l.row
	l.moofLen = boxHeader + mfhdSize + boxHeader + l.tfhdLen + tfdtSize + l.trunLen
}

// FragmentSize returns how many bytes AppendFragment adds for f.
func FragmentSize(f Fragment) int {
	l := newLayout(f.Samples)
	return eventsSize(f.Events) + l.moofLen + boxHeader + l.data
}

// AppendFragment appends emsg, moof and mdat of f to dst and returns the extended
// slice. It allocates only if dst lacks the capacity, and then once.
//
// All addressing is relative to the moof (specs L2), so fragments may be
// concatenated freely: a segment is its parts, byte for byte (specs L3).
func AppendFragment(dst []byte, f Fragment) []byte {
	l := newLayout(f.Samples)
	dst = slices.Grow(dst, eventsSize(f.Events)+l.moofLen+boxHeader+l.data)
	dst = l.appendHeader(dst, f)
	for i := range f.Samples {
		dst = append(dst, f.Samples[i].Data...)
	}
	return dst
}

// AppendHeader appends what precedes the sample data: emsg, moof and the header of
// mdat. The data of all samples, in order, must follow. It is for those who
// pass sample data on by reference.
func AppendHeader(dst []byte, f Fragment) []byte {
	l := newLayout(f.Samples)
	return l.appendHeader(slices.Grow(dst, eventsSize(f.Events)+l.moofLen+boxHeader), f)
}

func (l *layout) appendHeader(b []byte, f Fragment) []byte {
	u32 := binary.BigEndian.AppendUint32
	for i := range f.Events {
		b = appendEvent(b, &f.Events[i])
	}

	b = appendBox(b, l.moofLen, "moof")
	b = appendBox(b, mfhdSize, "mfhd")
	b = u32(u32(b, 0), f.Sequence)

	b = appendBox(b, boxHeader+l.tfhdLen+tfdtSize+l.trunLen, "traf")
	b = appendBox(b, l.tfhdLen, "tfhd")
	b = u32(u32(b, l.tfhd), trackID)
	if l.tfhd&tfhdDefaultDuration != 0 {
		b = u32(b, l.duration)
	}
	if l.tfhd&tfhdDefaultFlags != 0 {
		b = u32(b, l.flags)
	}
	b = appendBox(b, tfdtSize, "tfdt")
	b = u32(b, 1<<24) // version 1: 64 bits
	b = binary.BigEndian.AppendUint64(b, f.Decode)

	b = appendBox(b, l.trunLen, "trun")
	b = u32(u32(b, l.trun), uint32(len(f.Samples)))
	b = u32(b, uint32(l.moofLen+boxHeader)) // the data begins right after mdat's header
	if l.trun&trunFirstFlags != 0 {
		b = u32(b, l.first)
	}
	for i := range f.Samples {
		b = l.appendRow(b, &f.Samples[i])
	}
	return appendBox(b, boxHeader+l.data, "mdat")
}

func (l *layout) appendRow(b []byte, s *Sample) []byte {
	u32 := binary.BigEndian.AppendUint32
	if l.trun&trunDuration != 0 {
		b = u32(b, s.Duration)
	}
	b = u32(b, uint32(len(s.Data)))
	if l.trun&trunFlags != 0 {
		b = u32(b, s.flags())
	}
	if l.trun&trunComposition != 0 {
		b = u32(b, uint32(s.Composition))
	}
	return b
}

// appendBox appends the header of a box of size bytes.
func appendBox(b []byte, size int, name string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(size)), name...)
}
