package hls

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
)

// ErrEmpty says that there is nothing to play.
var ErrEmpty = errors.New("no segment has media")

// Replay says how a playlist over segments that exist already begins.
type Replay struct {
	Target time.Duration // EXT-X-TARGETDURATION
	First  uint64        // media sequence number of the first segment
	Folder string        // what stands before each name: "" or "../../m1/video/"
	// Start is where players begin, from the first segment on; 0: at its begin.
	Start time.Duration
}

// Media returns the media playlist of these segments, which are all: it has
// EXT-X-PLAYLIST-TYPE:VOD and EXT-X-ENDLIST (rfc8216bis §4.4.3.5). The first
// EXT-X-MAP is that of the first segment with media; a segment without Init
// goes on with the last one, and must be a gap.
func (r Replay) Media(segments []Listed) ([]byte, error) {
	first := slices.IndexFunc(segments, func(s Listed) bool { return !s.Gap && s.Init != "" })
	if first < 0 {
		return nil, ErrEmpty
	}
	seconds := max(int64((r.Target+time.Second-1)/time.Second), 1)
	b := make([]byte, 0, 256+len(segments)*(100+len(r.Folder)))
	b = append(b, "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:"...)
	b = strconv.AppendInt(b, seconds, 10)
	b = append(b, "\n#EXT-X-PLAYLIST-TYPE:VOD\n"...)
	b = appendStart(b, r.Start)
	b = append(b, "#EXT-X-MEDIA-SEQUENCE:"...)
	b = strconv.AppendUint(b, r.First, 10)
	b = append(b, "\n#EXT-X-DISCONTINUITY-SEQUENCE:0\n"...)
	init := segments[first].Init
	b = appendMap(b, r.Folder+init)
	for i := range segments {
		s := &segments[i]
		if err := r.check(s, seconds); err != nil {
			return nil, fmt.Errorf("list segment %s: %w", s.URI, err)
		}
		if i > 0 && s.Discontinuity {
			b = append(b, "#EXT-X-DISCONTINUITY\n"...)
		}
		if i > 0 && (s.Discontinuity || s.Init != init) && s.Init != "" && !s.Gap {
			init = s.Init
			b = appendMap(b, r.Folder+init)
		}
		if !s.Time.IsZero() {
			b = appendTime(b, s.Time)
		}
		if s.Gap {
			b = append(b, Gap...)
		}
		b = append(b, "#EXTINF:"...)
		b = appendSeconds(b, grains(s.Duration))
		b = append(b, ",\n"...)
		b = append(append(b, r.Folder...), s.URI...)
		b = append(b, '\n')
	}
	return append(b, "#EXT-X-ENDLIST\n"...), nil
}

// check says whether a segment may stand in the playlist.
func (r Replay) check(s *Listed, target int64) error {
	const half = int64(time.Second / grain / 2)
	if d := grains(s.Duration); d <= 0 || (d+half)/(2*half) > target {
		return fmt.Errorf("%v: %w", s.Duration, ErrDuration)
	}
	if !s.Gap && s.Init == "" {
		return ErrNoInit
	}
	err := errors.Join(checkURI(r.Folder+s.URI), checkTime(s.Time))
	if s.Init != "" {
		err = errors.Join(err, checkURI(r.Folder+s.Init))
	}
	return err
}

// appendStart appends EXT-X-START (§4.4.2.2) if there is something to skip.
func appendStart(b []byte, at time.Duration) []byte {
	if at <= 0 {
		return b
	}
	b = append(b, "#EXT-X-START:TIME-OFFSET="...)
	b = appendShort(b, grains(at))
	return append(b, ",PRECISE=YES\n"...)
}

// Stored is a rendition that is there as a whole, as Multivariant offers it.
type Stored struct {
	Description
	URI           string
	Peak, Average float64 // bit/s, measured over all its segments
}

// Measure adds a segment to what Peak and Average are made of.
type Measure struct {
	bytes  int64
	length time.Duration
	peak   float64
}

// Add takes a segment that is not a gap.
func (m *Measure) Add(size int64, length time.Duration) {
	m.bytes += size
	m.length += length
	if length >= time.Second/4 { // what is shorter says nothing
		m.peak = max(m.peak, float64(size)*8/length.Seconds())
	}
}

// Rates returns the highest and the mean bit rate.
func (m *Measure) Rates() (peak, average float64) {
	if m.length > 0 {
		average = float64(m.bytes) * 8 / m.length.Seconds()
	}
	return max(m.peak, average), average
}

// Multivariant returns the multivariant playlist of renditions that are there as
// a whole. BANDWIDTH is the sum of the highest rates of what is played together,
// which were measured (specs L74).
func (r Replay) Multivariant(all []Stored) ([]byte, error) {
	var video, audio []Stored
	for _, s := range all {
		if s.Channels > 0 {
			audio = append(audio, s)
		} else {
			video = append(video, s)
		}
	}
	slices.SortStableFunc(video, func(a, b Stored) int { return b.Width*b.Height - a.Width*a.Height })
	slices.SortStableFunc(audio, func(a, b Stored) int { return bytes.Compare([]byte(a.Rendition), []byte(b.Rendition)) }) // aac before Opus
	variants, groups := r.offer(video, audio)
	text, err := Multivariant(variants, groups)
	if err != nil {
		return nil, err
	}
	if r.Start <= 0 {
		return text, nil
	}
	end := bytes.IndexByte(text, '\n') + 1
	return slices.Concat(text[:end], appendStart(nil, r.Start), text[end:]), nil
}

// offer makes the rows: each picture with each sound, or what there is alone.
func (r Replay) offer(video, audio []Stored) (variants []Variant, groups []Rendition) {
	if len(video) == 0 || len(audio) == 0 {
		for i, s := range append(slices.Clone(video), audio...) {
			variants = append(variants, row(s, score(video, i)))
		}
		return variants, nil
	}
	for _, sound := range audio {
		groups = append(groups, Rendition{
			Group: sound.Rendition, Name: "Audio", URI: sound.URI, Channels: sound.Channels, Default: true, Autoselect: true,
		})
		for i, picture := range video {
			v := row(picture, score(video, i))
			v.Codecs += "," + sound.Codecs
			v.Audio = sound.Rendition
			v.Bandwidth = up(picture.Peak + sound.Peak)
			v.AverageBandwidth = up(picture.Average + sound.Average)
			variants = append(variants, v)
		}
	}
	return variants, groups
}

// score tells the better of several pictures apart (specs L76).
func score(video []Stored, i int) float64 {
	if len(video) < 2 {
		return 0
	}
	return float64(len(video) - i)
}

func row(s Stored, score float64) Variant {
	return Variant{
		URI: s.URI, Codecs: s.Codecs, Bandwidth: up(s.Peak), AverageBandwidth: up(s.Average),
		Width: s.Width, Height: s.Height, FrameRate: s.FrameRate, VideoRange: s.VideoRange, Score: score,
	}
}

// up rounds a bit rate up.
func up(rate float64) int { return int(math.Ceil(max(rate, 1))) }
