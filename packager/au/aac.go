package au

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/mpeg4audio"
)

// FrameAAC is how many samples an AAC frame has.
const FrameAAC = 1024

const (
	maxRateAAC = 48000
	// headerBits is the length of an AU header in mode AAC-hbr: 13 bits of size and 3
	// of index (RFC 3640 §3.3.6).
	headerBits = 16
	maxAAC     = 32 // frames of a packet
)

// AAC reads the format parameters of AAC (RFC 3640 §4.1). It takes AAC-LC with
// frames of 1024 samples, of up to 48 kHz and 7.1 channels.
func AAC(fmtp string) (*Params, error) {
	text := ""
	for field := range strings.SplitSeq(fmtp, ";") {
		if key, value, ok := strings.Cut(strings.TrimSpace(field), "="); ok && strings.EqualFold(key, "config") {
			text = value
		}
	}
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) == 0 {
		return nil, errors.New("read AAC: no config in the format parameters")
	}
	var config mpeg4audio.AudioSpecificConfig
	if err := config.Unmarshal(raw); err != nil {
		return nil, fmt.Errorf("read AAC config: %w", err)
	}
	channels := int(config.ChannelConfig)
	if channels == 7 {
		channels = 8
	}
	switch {
	case config.Type != mpeg4audio.ObjectTypeAACLC || config.ExtensionType != 0:
		return nil, errors.New("read AAC config: not AAC-LC")
	case config.FrameLengthFlag:
		return nil, errors.New("read AAC config: frames of 960 samples")
	case channels < 1 || channels > 8:
		return nil, errors.New("read AAC config: channels are not told")
	case config.SampleRate <= 0 || config.SampleRate > maxRateAAC:
		return nil, fmt.Errorf("read AAC config: %d samples a second", config.SampleRate)
	}
	return &Params{Codec: "AAC", SampleRate: config.SampleRate, Channels: channels, Config: raw}, nil
}

// formatAAC is RFC 3640 in mode AAC-hbr: a packet has whole frames, or a part of
// one. Frames that are interleaved are malformed.
type formatAAC struct {
	params   *Params
	rate     int64 // of RTP timestamps
	duration int64
	size     int // of the frame that comes in parts
	at       int // chunk that the next unit begins with
}

func newAAC(cfg Config) (*formatAAC, error) {
	p, err := AAC(cfg.Fmtp)
	if err != nil {
		return nil, err
	}
	if cfg.ClockRate <= 0 {
		cfg.ClockRate = p.SampleRate
	}
	return &formatAAC{params: p, rate: int64(cfg.ClockRate), duration: FrameAAC * int64(cfg.ClockRate) / int64(p.SampleRate)}, nil
}

func (a *formatAAC) push(f *frame, payload []byte) verdict {
	if len(payload) < 4 {
		return malformed
	}
	bits := int(payload[0])<<8 | int(payload[1])
	count := bits / headerBits
	if bits%headerBits != 0 || count == 0 || count > maxAAC || len(payload) <= 2+2*count {
		return malformed
	}
	headers, data := payload[2:2+2*count], payload[2+2*count:]
	size := sizeAAC(headers)
	if f.open {
		return a.rest(f, size, count, data)
	}
	if count == 1 && size > len(data) {
		a.size = size
		f.add(chunk{bytes: data, first: true})
		f.open = !f.damaged
		return taken
	}
	for ; len(headers) > 0; headers = headers[2:] {
		size := sizeAAC(headers)
		if size == 0 || size > len(data) {
			return malformed
		}
		f.add(chunk{bytes: data[:size:size], first: true})
		data = data[size:]
	}
	return taken
}

// rest takes another part of a frame.
func (a *formatAAC) rest(f *frame, size, count int, data []byte) verdict {
	have := element(f.chunks).size()
	if count != 1 || size != a.size || have+len(data) > size {
		return torn
	}
	f.add(chunk{bytes: data})
	f.open = !f.damaged && have+len(data) < size
	return taken
}

// sizeAAC reads the size of a frame; 0 if its index says that it is interleaved.
func sizeAAC(header []byte) int {
	if header[1]&7 != 0 {
		return 0
	}
	return int(header[0])<<5 | int(header[1])>>3
}

func (a *formatAAC) inspect(f *frame, _ situation) picture {
	a.at = 0
	return picture{coded: len(f.chunks) > 0, whole: true, key: true, usable: true, params: a.params, duration: a.duration}
}

// build returns the next frame: the payload itself if it is in one piece.
func (a *formatAAC) build(f *frame) []byte {
	end := a.end(f)
	e := element(f.chunks[a.at:end])
	a.at = end
	if len(e) == 1 {
		return e[0].bytes
	}
	return e.append(make([]byte, 0, e.size()), 0, e.size())
}

// more reports whether there is another frame to build.
func (a *formatAAC) more(f *frame) bool { return a.at < len(f.chunks) }

func (a *formatAAC) end(f *frame) int {
	end := a.at + 1
	for end < len(f.chunks) && !f.chunks[end].first {
		end++
	}
	return end
}
