package rtsp

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/bluenviron/gortsplib/v5/pkg/description"
	"github.com/bluenviron/gortsplib/v5/pkg/format"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/mpeg4audio"

	"github.com/whipcast/whipcast/stream"
)

// remedy says what can be published.
const remedy = "send H264, H265, AV1 or VP9, and AAC-LC or Opus"

// track is the way of one media into its Layer. Its upper fields are fixed.
type track struct {
	media       *description.Media
	payloadType uint8
	layer       stream.Layer
	source      *stream.Source // nil if another publisher came at once

	// One goroutine writes the packets of a track.
	primer primer
}

// leftover is a media that cannot be taken.
type leftover struct {
	words string
}

// choose lists the medias of a description that a Stream can carry: the first
// video and the first audio. What else there is of them is left over; metadata and
// the like is not counted.
func choose(d *description.Session) (tracks []*track, left []leftover) {
	taken := map[stream.Kind]bool{}
	for _, kind := range []stream.Kind{stream.Video, stream.Audio} {
		for _, m := range d.Medias {
			if m.IsBackChannel || kindOf(m) != kind {
				continue
			}
			t, words := trackOf(m, kind)
			if t != nil && taken[kind] {
				t, words = nil, fmt.Sprintf("there is more than one %s", m.Type)
			}
			if t == nil {
				left = append(left, leftover{words})
				continue
			}
			taken[kind] = true
			tracks = append(tracks, t)
		}
	}
	return tracks, left
}

func kindOf(m *description.Media) stream.Kind {
	switch m.Type {
	case description.MediaTypeVideo:
		return stream.Video
	case description.MediaTypeAudio:
		return stream.Audio
	default:
		return 0
	}
}

// trackOf returns the track of a media's first format that can be taken, or words
// that say why there is none.
func trackOf(m *description.Media, kind stream.Kind) (*track, string) {
	words := fmt.Sprintf("the %s has no format", m.Type)
	for _, f := range m.Formats {
		codec, why := codecOf(f)
		if why != "" {
			words = why
			continue
		}
		return &track{
			media: m, payloadType: f.PayloadType(), primer: newPrimer(f),
			layer: stream.Layer{ID: stream.LayerID{Kind: kind}, Codec: codec},
		}, ""
	}
	return nil, words
}

// codecOf returns how a Stream names a format, or words that say why it cannot
// carry it.
func codecOf(f format.Format) (stream.Codec, string) {
	c := stream.Codec{ClockRate: uint32(f.ClockRate()), Fmtp: parameters(f)} //nolint:gosec // of the SDP, below 2^31
	switch f := f.(type) {
	case *format.H264:
		c.Name = "H264"
	case *format.H265:
		c.Name = "H265"
		if f.MaxDONDiff != 0 {
			return c, "the H265 is interleaved (sprop-max-don-diff)"
		}
	case *format.AV1:
		c.Name = "AV1"
	case *format.VP9:
		c.Name = "VP9"
	case *format.Opus:
		c.Name, c.Channels = "Opus", 2
		if f.ChannelCount > 2 {
			return c, fmt.Sprintf("the Opus has %d channels", f.ChannelCount)
		}
	case *format.MPEG4Audio:
		c.Name, c.Channels = "AAC", int(f.Config.ChannelConfig)
		if why := unfitAAC(f); why != "" {
			return c, why
		}
	default:
		name, _, _ := strings.Cut(f.RTPMap(), "/")
		if name == "" {
			name = fmt.Sprintf("a format of payload type %d", f.PayloadType())
		}
		return c, name + " cannot be taken"
	}
	return c, ""
}

// unfitAAC says why AAC cannot be taken, "" if it can.
func unfitAAC(f *format.MPEG4Audio) string {
	switch config := f.Config; {
	case config.Type != mpeg4audio.ObjectTypeAACLC || config.ExtensionType != 0:
		return "the AAC is not AAC-LC"
	case config.FrameLengthFlag:
		return "the AAC has frames of 960 samples"
	case config.ChannelConfig < 1 || config.ChannelConfig > 7:
		return "the AAC does not say how many channels it has"
	case f.SizeLength != 13 || f.IndexLength != 3 || f.IndexDeltaLength != 3:
		return "the AAC is not in mode AAC-hbr (RFC 3640)"
	}
	return ""
}

// parameters writes the format parameters of an SDP.
func parameters(f format.Format) string {
	all := f.FMTP()
	var fields []string
	for _, key := range slices.Sorted(maps.Keys(all)) {
		fields = append(fields, key+"="+all[key])
	}
	return strings.Join(fields, ";")
}
