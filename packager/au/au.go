// Package au turns RTP packets into access units.
//
// It is pure: no goroutine, no clock, no I/O. Time comes in with the packets
// and with Advance. One Assembler serves one Source (one Layer in one Epoch).
//
//	Packet ──▶ reorder, dedupe ──▶ depacketize ──▶ keyframes, parameter sets, DTS ──▶ Unit
package au

import "time"

// Packet is one RTP packet, as far as an Assembler needs it. Its Payload must
// not change afterwards; an empty Payload only consumes a sequence number.
type Packet struct {
	Arrival   time.Time
	Timestamp uint32
	Sequence  uint16
	Marker    bool
	Payload   []byte
}

// Unit is one access unit: all coded data of one presentation time.
type Unit struct {
	PTS      int64     // presentation time: the RTP timestamp, unwrapped to 64 bits
	DTS      int64     // decoding time in the same units; strictly rising; equal to PTS without B-frames
	Duration int64     // audio: exact duration in clock units; video: 0, unknown
	Arrival  time.Time // of its first packet
	Key      bool      // a decoder can start here (always true for audio)
	// Gap says that data was lost before this Unit: the previous one lasts longer.
	Gap bool
	// Restart says that the source's clock jumped (specs R11): what follows is
	// not continuous with what was before.
	Restart bool
	Params  *Params // in force for this Unit; the pointer changes if and only if the bytes change
	Data    []byte  // the sample as it is stored in an MP4 file
}

// Params is what a decoder must know before the first Unit. It is immutable.
type Params struct {
	Codec string // "H264", "H265", "AV1", "VP9", "Opus" or "AAC"

	// H264 and H265: whole NAL units without start code; one each is usual.
	VPS, SPS, PPS [][]byte
	// AV1: the sequence header OBU, with size field, as stored in av1C.
	SequenceHeader []byte
	// VP9, from the frame header; AV1 and H26x fill Profile, Level and Depth too.
	Profile, Level, Depth, Tier int
	Subsampling                 int // VP9 vpcC value: 0, 1 = 4:2:0 vertical or collocated, 2 = 4:2:2, 3 = 4:4:4

	Width, Height int // of the coded picture after cropping; 0 for audio
	// Pixel aspect ratio; 1:1 when unknown.
	SARWidth, SARHeight int
	// Colour as in ISO/IEC 23091-2; 2 is unspecified.
	Primaries, Transfer, Matrix int
	FullRange                   bool

	SampleRate, Channels int // audio
	// AAC: the AudioSpecificConfig (ISO/IEC 14496-3 §1.6.2.1); nil is that of AAC-LC
	// with SampleRate and Channels.
	Config []byte
}
