package au

import (
	"slices"

	mcopus "github.com/bluenviron/mediacommon/v2/pkg/codecs/opus"
)

// maxOpus is the longest Opus packet: 120 ms at 48 kHz (RFC 6716 §3.4, R5).
const maxOpus = 5760

// formatOpus is RFC 7587: one packet is one unit. Redundant audio (RFC 2198) is
// not Opus and must not be negotiated.
type formatOpus struct {
	params *Params
}

func newOpus() *formatOpus {
	// Packets may change between mono and stereo; two channels hold both (specs R46).
	return &formatOpus{params: &Params{Codec: "Opus", SampleRate: 48000, Channels: 2}}
}

func (o *formatOpus) push(f *frame, payload []byte) verdict {
	if d := mcopus.PacketDuration2(payload); d <= 0 || d > maxOpus {
		return malformed
	}
	f.add(chunk{bytes: payload, first: true})
	return taken
}

// inspect reads the duration from the packet, not from timestamps (specs R45).
func (o *formatOpus) inspect(f *frame, _ situation) picture {
	return picture{
		coded: true, whole: true, key: true, usable: true, params: o.params,
		duration: mcopus.PacketDuration2(f.chunks[0].bytes),
	}
}

// build returns the payload itself: nobody changes it.
func (o *formatOpus) build(f *frame) []byte {
	return slices.Clip(f.chunks[0].bytes)
}
