package whep

import (
	"net/http"
	"strings"

	"github.com/whipcast/whipcast/internal/problem"
	"github.com/whipcast/whipcast/internal/rtc"
	"github.com/whipcast/whipcast/stream"
)

// wanted lists the codecs that an offer may be answered with: of each kind what
// the publisher sends (E8), and anything of a kind that is not published: that
// section stays silent (E9).
func wanted(sources []*stream.Source) []rtc.Codec {
	var codecs []rtc.Codec
	for _, kind := range []stream.Kind{stream.Video, stream.Audio} {
		if s := first(sources, kind); s != nil && realTime(s) {
			c := s.Layer.Codec
			codecs = append(codecs, rtc.Codec{Name: c.Name, ClockRate: c.ClockRate, Channels: c.Channels, Fmtp: c.Fmtp})
			continue
		}
		codecs = append(codecs, silent(kind)...)
	}
	return codecs
}

// realTime reports whether WebRTC has a source's codec at all.
func realTime(s *stream.Source) bool { return !strings.EqualFold(s.Layer.Codec.Name, "AAC") }

// unsuited says why what is published cannot be watched in real time; nil if it
// can. AAC beside video is left out. Viewers that are there when the first B-frames
// come get them as they are, and a warning (specs E23).
func unsuited(sources []*stream.Source) error {
	video, audio := first(sources, stream.Video), first(sources, stream.Audio)
	refuse := func(w warning) error {
		return problem.Problem{Status: http.StatusUnprocessableEntity, Code: w.Code, Title: "Stream cannot be watched in real time", Detail: w.Detail}
	}
	switch {
	case video != nil && video.Reordered():
		return refuse(bFrames())
	case video == nil && audio != nil && !realTime(audio):
		return refuse(aacSound())
	default:
		return nil
	}
}

// silent lists the codecs of a kind that is not published now.
func silent(kind stream.Kind) []rtc.Codec {
	if kind == stream.Audio {
		return []rtc.Codec{
			{Name: "Opus", ClockRate: 48000, Channels: 2},
			// GStreamer's whepsrc must offer some sound, and is told to offer this if there is none.
			{Name: "PCMU", ClockRate: 8000},
			{Name: "PCMA", ClockRate: 8000},
		}
	}
	return []rtc.Codec{
		{Name: "H264", ClockRate: 90000, Fmtp: "packetization-mode=1;profile-level-id=42e01f"},
		{Name: "H265", ClockRate: 90000},
		{Name: "AV1", ClockRate: 90000},
		{Name: "VP9", ClockRate: 90000},
	}
}

// first returns the best source of a kind, nil if there is none.
func first(sources []*stream.Source, kind stream.Kind) *stream.Source {
	for _, s := range sources {
		if s.Layer.ID.Kind == kind {
			return s
		}
	}
	return nil
}

// plays reports whether a viewer that negotiated a codec can be sent a source:
// the same codec, in a packetization and profile that the codec's decoders tell
// apart (E15). The H.264 profile is not compared: encoders do not send what
// their offer says (specs R58), and decoders read it from the parameter sets.
func plays(negotiated rtc.Codec, source stream.Codec) bool {
	if !strings.EqualFold(negotiated.Name, source.Name) || negotiated.ClockRate != source.ClockRate {
		return false
	}
	same := func(key, missing string) bool {
		return parameter(negotiated.Fmtp, key, missing) == parameter(source.Fmtp, key, missing)
	}
	switch strings.ToUpper(source.Name) {
	case "H264": // RFC 6184 §8.1: a receiver of mode 1 takes mode 0, too
		return same("packetization-mode", "0") || parameter(source.Fmtp, "packetization-mode", "0") == "0"
	case "H265": // RFC 7798 §7.1
		return same("profile-id", "1")
	case "AV1":
		return same("profile", "0")
	case "VP9": // RFC 9628 §7
		return same("profile-id", "0")
	default:
		return true
	}
}

// parameter returns one of the format parameters of a codec.
func parameter(fmtp, key, missing string) string {
	for field := range strings.SplitSeq(fmtp, ";") {
		if k, v, ok := strings.Cut(strings.TrimSpace(field), "="); ok && strings.EqualFold(k, key) {
			return strings.TrimSpace(v)
		}
	}
	return missing
}
