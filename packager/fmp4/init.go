package fmp4

import (
	"bytes"
	"errors"
	"fmt"
	"math"

	"github.com/Eyevinn/mp4ff/aac"
	"github.com/Eyevinn/mp4ff/av1"
	"github.com/Eyevinn/mp4ff/avc"
	"github.com/Eyevinn/mp4ff/hevc"
	"github.com/Eyevinn/mp4ff/mp4"

	"github.com/whipcast/whipcast/packager/au"
)

// ErrCodec says that no sample entry is known for a codec.
var ErrCodec = errors.New("codec has no MP4 mapping")

// opusPreSkip is what libopus needs to converge, in samples at 48 kHz. Players
// that join live are not affected by it (specs R50).
const opusPreSkip = 312

// Init returns the initialization segment for p: ftyp and a moov without
// samples (specs L1). The parameter sets are in it, so that samples need not
// repeat them (specs L7). The bytes depend on p and timescale alone: equal
// Params give equal bytes, and a name made of their hash is stable (specs L22).
//
// timescale is 90000 for video, the sample rate for audio (specs R9).
func Init(p *au.Params, timescale uint32) ([]byte, error) {
	if timescale == 0 {
		return nil, errors.New("make init segment: timescale is 0")
	}
	media, entry, err := sampleEntry(p)
	if err != nil {
		return nil, fmt.Errorf("make init segment for %s: %w", p.Codec, err)
	}
	file := mp4.NewMP4Init()
	file.AddChild(mp4.NewFtyp("cmf2", 0, []string{"iso6", "cmfc", "cmf2"}))
	moov := mp4.NewMoovBox()
	file.AddChild(moov)
	mvhd := mp4.CreateMvhd()
	mvhd.Timescale = timescale
	moov.AddChild(mvhd)

	trak := mp4.CreateEmptyTrak(trackID, timescale, media, "und")
	trak.Mdia.Hdlr.Name = "" // only for people who inspect files
	if media == "video" {
		trak.Tkhd.Width, trak.Tkhd.Height = presentationSize(p)
	}
	trak.Mdia.Minf.Stbl.Stsd.AddChild(entry)
	moov.AddChild(trak)

	mvex := mp4.NewMvexBox()
	mvex.AddChild(mp4.CreateTrex(trackID))
	moov.AddChild(mvex)

	var out bytes.Buffer
	out.Grow(int(file.Size()))
	if err := file.Encode(&out); err != nil {
		return nil, fmt.Errorf("encode init segment for %s: %w", p.Codec, err)
	}
	return out.Bytes(), nil
}

// sampleEntry returns the media type and the sample entry for p.
func sampleEntry(p *au.Params) (media string, entry mp4.Box, err error) {
	var name string
	var config mp4.Box
	switch p.Codec {
	case "H264":
		name = "avc1"
		config, err = avcConfig(p)
	case "H265":
		name = "hvc1"
		config, err = hevcConfig(p)
	case "AV1":
		name = "av01"
		config, err = av1Config(p)
	case "VP9":
		name = "vp09"
		config = vpConfig(p)
	case "Opus", "AAC":
		entry, err = audioEntry(p)
		return "audio", entry, err
	default:
		return "", nil, ErrCodec
	}
	if err != nil {
		return "", nil, err
	}
	entry, err = videoEntry(name, p, config)
	return "video", entry, err
}

// videoEntry wraps a codec configuration, with pixel shape and colour where
// they are known (specs R24).
func videoEntry(name string, p *au.Params, config mp4.Box) (mp4.Box, error) {
	if p.Width <= 0 || p.Width > math.MaxUint16 || p.Height <= 0 || p.Height > math.MaxUint16 {
		return nil, fmt.Errorf("picture size %dx%d is out of range", p.Width, p.Height)
	}
	entry := mp4.CreateVisualSampleEntryBox(name, uint16(p.Width), uint16(p.Height), config)
	entry.CompressorName = ""
	if p.SARWidth > 0 && p.SARHeight > 0 {
		entry.AddChild(&mp4.PaspBox{HSpacing: uint32(p.SARWidth), VSpacing: uint32(p.SARHeight)})
	}
	if c := colourOf(p); c != unspecified() {
		entry.AddChild(&mp4.ColrBox{
			ColorType:               mp4.ColorTypeOnScreenColors,
			ColorPrimaries:          c.primaries,
			TransferCharacteristics: c.transfer,
			MatrixCoefficients:      c.matrix,
			FullRangeFlag:           p.FullRange,
		})
	}
	return entry, nil
}

// colour is how samples become light: ISO/IEC 23091-2 code points.
type colour struct{ primaries, transfer, matrix uint16 }

func unspecified() colour { return colour{2, 2, 2} }

// colourOf returns the colour of p. Primaries and transfer 0 are reserved, so
// Params that were never filled in mean the same as unspecified.
func colourOf(p *au.Params) colour {
	if p.Primaries == 0 && p.Transfer == 0 {
		return unspecified()
	}
	return colour{uint16(p.Primaries), uint16(p.Transfer), uint16(p.Matrix)}
}

// presentationSize returns the size to show the picture at, as 16.16 numbers:
// its width is scaled by the pixel aspect ratio.
func presentationSize(p *au.Params) (width, height mp4.Fixed32) {
	w, h := uint64(p.Width), uint64(p.Height)
	if p.SARWidth > 0 && p.SARHeight > 0 {
		scaled := (w << 16) * uint64(p.SARWidth) / uint64(p.SARHeight)
		if scaled <= math.MaxUint32 {
			return mp4.Fixed32(scaled), mp4.Fixed32(h << 16)
		}
	}
	return mp4.Fixed32(w << 16), mp4.Fixed32(h << 16)
}

func avcConfig(p *au.Params) (mp4.Box, error) {
	if len(p.SPS) == 0 || len(p.PPS) == 0 {
		return nil, errors.New("no SPS or no PPS")
	}
	sps, err := avc.ParseSPSNALUnit(p.SPS[0], false)
	if err != nil {
		return nil, fmt.Errorf("parse SPS: %w", err)
	}
	config, err := mp4.CreateAvcC(p.SPS, p.PPS, true)
	if err != nil {
		return nil, fmt.Errorf("make avcC: %w", err)
	}
	config.ChromaFormat = sps.ChromaFormatIDC
	config.BitDepthLumaMinus1 = byte(sps.BitDepthLumaMinus8)
	config.BitDepthChromaMinus1 = byte(sps.BitDepthChromaMinus8)
	return config, nil
}

func hevcConfig(p *au.Params) (mp4.Box, error) {
	if len(p.VPS) == 0 || len(p.SPS) == 0 || len(p.PPS) == 0 {
		return nil, errors.New("no VPS, no SPS or no PPS")
	}
	sps, err := hevc.ParseSPSNALUnit(p.SPS[0])
	if err != nil {
		return nil, fmt.Errorf("parse SPS: %w", err)
	}
	config, err := mp4.CreateHvcC(p.VPS, p.SPS, p.PPS, true, true, true, true)
	if err != nil {
		return nil, fmt.Errorf("make hvcC: %w", err)
	}
	config.NumTemporalLayers = sps.MaxSubLayersMinus1 + 1
	if sps.TemporalIDNestingFlag {
		config.TemporalIDNested = 1
	}
	return config, nil
}

// sequenceHeader finds and reads the sequence header of p.
func sequenceHeader(p *au.Params) (*av1.SequenceHeader, error) {
	record := av1.CodecConfRec{ConfigOBUs: p.SequenceHeader}
	return record.SequenceHeader()
}

func av1Config(p *au.Params) (mp4.Box, error) {
	header, err := sequenceHeader(p)
	if err != nil {
		return nil, fmt.Errorf("read sequence header: %w", err)
	}
	return &mp4.Av1CBox{CodecConfRec: av1.CodecConfRecFromSequenceHeader(header, p.SequenceHeader)}, nil
}

func vpConfig(p *au.Params) mp4.Box {
	c := colourOf(p)
	config := &mp4.VppCBox{
		Version:                 1,
		Profile:                 byte(p.Profile),
		Level:                   byte(vp9Level(p)),
		BitDepth:                byte(vp9Depth(p)),
		ChromaSubsampling:       byte(p.Subsampling),
		ColourPrimaries:         byte(c.primaries),
		TransferCharacteristics: byte(c.transfer),
		MatrixCoefficients:      byte(c.matrix),
	}
	if p.FullRange {
		config.VideoFullRangeFlag = 1
	}
	return config
}

func audioEntry(p *au.Params) (mp4.Box, error) {
	most := 2
	if p.Config != nil { // it says where they are
		most = 8
	}
	if p.Channels < 1 || p.Channels > most {
		return nil, fmt.Errorf("%d channels; only 1 to %d are supported", p.Channels, most)
	}
	if p.SampleRate <= 0 || p.SampleRate > math.MaxUint16 {
		return nil, fmt.Errorf("sample rate %d is out of range", p.SampleRate)
	}
	channels, rate := uint16(p.Channels), uint16(p.SampleRate)
	if p.Codec == "Opus" {
		return mp4.CreateAudioSampleEntryBox("Opus", channels, 16, rate, &mp4.DopsBox{
			OutputChannelCount: byte(channels),
			PreSkip:            opusPreSkip,
			InputSampleRate:    uint32(rate),
		}), nil
	}
	if p.Config != nil {
		return mp4.CreateAudioSampleEntryBox("mp4a", channels, 16, rate, mp4.CreateEsdsBox(p.Config)), nil
	}
	var config bytes.Buffer
	asc := aac.AudioSpecificConfig{
		ObjectType:           aac.AAClc,
		ChannelConfiguration: byte(channels),
		SamplingFrequency:    p.SampleRate,
	}
	if err := asc.Encode(&config); err != nil {
		return nil, fmt.Errorf("encode AudioSpecificConfig: %w", err)
	}
	return mp4.CreateAudioSampleEntryBox("mp4a", channels, 16, rate, mp4.CreateEsdsBox(config.Bytes())), nil
}
