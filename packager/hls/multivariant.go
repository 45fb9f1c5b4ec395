package hls

import (
	"fmt"
	"strconv"
)

// Variant is one row of the multivariant playlist. Zero values are left out,
// but URI, Bandwidth and Codecs are required.
type Variant struct {
	URI string
	// Bandwidth is the peak of all that is played together, audio included, in
	// bit/s; AverageBandwidth the mean (specs L74).
	Bandwidth, AverageBandwidth int
	Codecs                      string // of all renditions together, comma separated (specs L75)
	Width, Height               int
	FrameRate                   float64
	VideoRange                  string  // SDR, HLG or PQ
	Audio                       string  // group of audio Renditions
	Score                       float64 // on all Variants or on none (specs L76)
}

// Rendition is one audio rendition (EXT-X-MEDIA, specs L78).
type Rendition struct {
	Group, Name string
	Language    string // RFC 5646; "" if unknown
	URI         string
	Channels    int
	Default     bool // at most one in a group
	Autoselect  bool // implied by Default
}

// Multivariant returns the multivariant playlist. In an audio-only presentation
// the audio playlist is the only Variant and there are no Renditions.
//
// EXT-X-INDEPENDENT-SEGMENTS stands here and therefore not in the media
// playlists (specs L6).
func Multivariant(variants []Variant, audio []Rendition) ([]byte, error) {
	b := []byte("#EXTM3U\n")
	if len(audio) > 0 {
		// §8: nothing here needs a version above 1, but 4 is advised with EXT-X-MEDIA.
		b = append(b, "#EXT-X-VERSION:4\n"...)
	}
	b = append(b, "#EXT-X-INDEPENDENT-SEGMENTS\n"...)
	var err error
	for i := range audio {
		if b, err = appendRendition(b, &audio[i]); err != nil {
			return nil, fmt.Errorf("write rendition %s: %w", audio[i].Name, err)
		}
	}
	for i := range variants {
		if b, err = appendVariant(b, &variants[i]); err != nil {
			return nil, fmt.Errorf("write variant %s: %w", variants[i].URI, err)
		}
	}
	return b, nil
}

func appendRendition(b []byte, r *Rendition) ([]byte, error) {
	for _, f := range [][2]string{{"group", r.Group}, {"name", r.Name}, {"language", r.Language}} {
		if err := checkQuoted(f[0], f[1]); err != nil {
			return nil, err
		}
	}
	if err := checkURI(r.URI); err != nil {
		return nil, err
	}
	b = append(b, "#EXT-X-MEDIA:TYPE=AUDIO"...)
	b = appendQuoted(b, "GROUP-ID", r.Group)
	b = appendQuoted(b, "NAME", r.Name)
	if r.Language != "" {
		b = appendQuoted(b, "LANGUAGE", r.Language)
	}
	if r.Default {
		b = append(b, ",DEFAULT=YES"...)
	}
	if r.Default || r.Autoselect {
		b = append(b, ",AUTOSELECT=YES"...)
	}
	if r.Channels > 0 {
		b = appendQuoted(b, "CHANNELS", strconv.Itoa(r.Channels))
	}
	b = appendQuoted(b, "URI", r.URI)
	return append(b, '\n'), nil
}

func appendVariant(b []byte, v *Variant) ([]byte, error) {
	if v.Bandwidth <= 0 || v.Codecs == "" {
		return nil, fmt.Errorf("bandwidth %d and codecs %q are required", v.Bandwidth, v.Codecs)
	}
	for _, f := range [][2]string{{"codecs", v.Codecs}, {"audio group", v.Audio}} {
		if err := checkQuoted(f[0], f[1]); err != nil {
			return nil, err
		}
	}
	if err := checkURI(v.URI); err != nil {
		return nil, err
	}
	b = append(b, "#EXT-X-STREAM-INF:BANDWIDTH="...)
	b = strconv.AppendInt(b, int64(v.Bandwidth), 10)
	if v.AverageBandwidth > 0 {
		b = append(b, ",AVERAGE-BANDWIDTH="...)
		b = strconv.AppendInt(b, int64(v.AverageBandwidth), 10)
	}
	b = appendQuoted(b, "CODECS", v.Codecs)
	if v.Width > 0 && v.Height > 0 {
		b = append(b, ",RESOLUTION="...)
		b = strconv.AppendInt(b, int64(v.Width), 10)
		b = append(b, 'x')
		b = strconv.AppendInt(b, int64(v.Height), 10)
	}
	if v.FrameRate > 0 {
		b = append(b, ",FRAME-RATE="...)
		b = strconv.AppendFloat(b, v.FrameRate, 'f', 3, 64)
	}
	switch v.VideoRange {
	case "":
	case "SDR", "HLG", "PQ":
		b = append(b, ",VIDEO-RANGE="...)
		b = append(b, v.VideoRange...)
	default:
		return nil, fmt.Errorf("video range %q is none of SDR, HLG, PQ", v.VideoRange)
	}
	if v.Audio != "" {
		b = appendQuoted(b, "AUDIO", v.Audio)
	}
	if v.Score > 0 {
		b = append(b, ",SCORE="...)
		b = strconv.AppendFloat(b, v.Score, 'f', -1, 64)
	}
	b = append(b, '\n')
	b = append(b, v.URI...)
	return append(b, '\n'), nil
}
