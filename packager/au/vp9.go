package au

import mcvp9 "github.com/bluenviron/mediacommon/v2/pkg/codecs/vp9"

// vp9Head is more than the part of a frame header up to the picture size.
const vp9Head = 24

// formatVP9 is RFC 9628 with one spatial layer.
type formatVP9 struct {
	stats  *Stats
	params *Params
	look   vp9Look
}

// vp9Look is what a decoder must know before it begins.
type vp9Look struct {
	profile, depth, subsampling, space uint8
	full                               bool
	width, height                      int
}

func (v *formatVP9) push(f *frame, payload []byte) verdict {
	const begins, ends = 0x08, 0x04
	n, spatial := vp9Descriptor(payload)
	if n == 0 || n >= len(payload) {
		return malformed
	}
	if spatial > 0 { // a layer that nobody asked for
		return taken
	}
	first := payload[0]&begins != 0
	if first == f.open {
		return torn
	}
	if first && len(f.chunks) > 0 { // one picture is one frame
		return malformed
	}
	f.open = payload[0]&ends == 0
	f.add(chunk{bytes: payload[n:], first: first})
	return taken
}

// vp9Descriptor returns the length of a payload descriptor, 0 if it is cut off,
// and the spatial layer (RFC 9628 §4.2).
func vp9Descriptor(b []byte) (n int, spatial byte) {
	const (
		pictureID = 0x80
		inter     = 0x40
		layers    = 0x20
		flexible  = 0x10
		structure = 0x02
	)
	r := byteReader{buf: b}
	head := r.next()
	if head&pictureID != 0 && r.next()&0x80 != 0 {
		r.next()
	}
	if head&layers != 0 {
		spatial = r.next() >> 1 & 7
		if head&flexible == 0 {
			r.next() // TL0PICIDX
		}
	}
	if head&flexible != 0 && head&inter != 0 {
		for range 3 {
			if r.next()&1 == 0 {
				break
			}
		}
	}
	if head&structure != 0 {
		r.scalability()
	}
	if r.short {
		return 0, 0
	}
	return r.pos, spatial
}

// byteReader reads the descriptor. After the end it gives zeros and sets short.
type byteReader struct {
	buf   []byte
	pos   int
	short bool
}

func (r *byteReader) next() byte {
	if r.pos >= len(r.buf) {
		r.short = true
		return 0
	}
	r.pos++
	return r.buf[r.pos-1]
}

// scalability skips a scalability structure (RFC 9628 §4.2.1).
func (r *byteReader) scalability() {
	head := r.next()
	if head&0x10 != 0 { // sizes
		for range int(head>>5) + 1 {
			for range 4 {
				r.next()
			}
		}
	}
	if head&0x08 != 0 { // pictures of the group
		for range r.next() {
			for range r.next() >> 2 & 3 {
				r.next()
			}
		}
	}
}

func (v *formatVP9) inspect(f *frame, _ situation) picture {
	pic := picture{order: order{ordered: true}}
	if len(f.chunks) == 0 {
		return pic // nothing but other layers
	}
	pic.coded = true
	var buf [vp9Head]byte
	e := element(f.chunks)
	var header mcvp9.Header
	if header.Unmarshal(buf[:e.peek(buf[:])]) != nil {
		return pic
	}
	pic.whole = true
	pic.key = !header.ShowExistingFrame && !header.NonKeyFrame
	if pic.key && !v.enact(&header) {
		return pic
	}
	pic.params = v.params
	pic.usable = v.params != nil
	return pic
}

// enact takes the parameters from the header of a keyframe.
func (v *formatVP9) enact(h *mcvp9.Header) bool {
	c := h.ColorConfig
	look := vp9Look{
		profile: h.Profile, depth: c.BitDepth, subsampling: h.ChromaSubsampling(), space: c.ColorSpace,
		full: c.ColorRange, width: h.Width(), height: h.Height(),
	}
	if v.params != nil && look == v.look {
		return true
	}
	if !sane(look.width, look.height) {
		v.stats.BadParams++
		return false
	}
	v.look = look
	v.params = &Params{
		Codec: "VP9", Profile: int(look.profile), Level: vp9Level(look.width * look.height), Depth: int(look.depth),
		Subsampling: int(look.subsampling), Width: look.width, Height: look.height, SARWidth: 1, SARHeight: 1,
		FullRange: look.full,
	}
	v.params.Primaries, v.params.Transfer, v.params.Matrix = vp9Colour(look.space)
	return true
}

// vp9Level returns the level that has room for pictures of this size at 60 per
// second; the stream does not say it.
func vp9Level(pixels int) int {
	for _, l := range [...]struct{ pixels, level int }{
		{36864, 11},
		{73728, 20},
		{122880, 21},
		{245760, 30},
		{552960, 31},
		{983040, 40},
		{2228224, 41},
		{8912896, 51},
	} {
		if pixels <= l.pixels {
			return l.level
		}
	}
	return 61
}

// vp9Colour translates a color_space of VP9 to ISO/IEC 23091-2.
func vp9Colour(space uint8) (primaries, transfer, matrix int) {
	switch space {
	case 1, 3: // BT.601, SMPTE 170
		return 6, 6, 6
	case 2: // BT.709
		return 1, 1, 1
	case 4: // SMPTE 240
		return 7, 7, 7
	case 5: // BT.2020
		return 9, 14, 9
	case 7: // sRGB
		return 1, 13, 0
	default:
		return 2, 2, 2
	}
}

// build returns the frame as it came, with the frames that are hidden in it.
func (v *formatVP9) build(f *frame) []byte {
	e := element(f.chunks)
	size := e.size()
	return e.append(make([]byte, 0, size), 0, size)
}
