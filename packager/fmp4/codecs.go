package fmp4

import (
	"fmt"
	"math/bits"
	"strings"

	"github.com/whipcast/whipcast/packager/au"
)

// Codecs returns the RFC 6381 string of p for the CODECS attribute, for example
// "avc1.64001f". It is read from the parameter sets, never from what was
// negotiated (specs L84). It is empty if they cannot be read or the codec is
// unknown; Init fails for the same Params.
func Codecs(p *au.Params) string {
	switch p.Codec {
	case "H264":
		return avcCodecs(p)
	case "H265":
		return hevcCodecs(p)
	case "AV1":
		return av1Codecs(p)
	case "VP9":
		return fmt.Sprintf("vp09.%02d.%02d.%02d", p.Profile, vp9Level(p), vp9Depth(p)) // specs L87
	case "Opus":
		return "Opus" // as registered; Safari accepts no other spelling (specs L89)
	case "AAC":
		return "mp4a.40.2" // AAC-LC is all that there is
	default:
		return ""
	}
}

// avcCodecs writes profile, constraint flags and level (specs L84).
func avcCodecs(p *au.Params) string {
	if len(p.SPS) == 0 || len(p.SPS[0]) < 4 {
		return ""
	}
	return fmt.Sprintf("avc1.%x", p.SPS[0][1:4])
}

// hevcCodecs writes the profile_tier_level of the SPS as ISO/IEC 14496-15
// Annex E says (specs L85).
func hevcCodecs(p *au.Params) string {
	if len(p.SPS) == 0 {
		return ""
	}
	// NAL header (2 bytes); vps id, sub-layers, nesting (1); then: profile space,
	// tier, profile (1); compatibility flags (4); constraint flags (6); level (1).
	const start, end = 3, 3 + 12
	sps := withoutEmulation(p.SPS[0], end)
	if len(sps) < end {
		return ""
	}
	general := sps[start:end]
	compatibility := uint32(general[1])<<24 | uint32(general[2])<<16 | uint32(general[3])<<8 | uint32(general[4])
	tier := "L"
	if general[0]&0x20 != 0 {
		tier = "H"
	}
	var b strings.Builder
	b.WriteString("hvc1.")
	if space := general[0] >> 6; space > 0 {
		b.WriteByte('A' + space - 1)
	}
	fmt.Fprintf(&b, "%d.%X.%s%d", general[0]&0x1f, bits.Reverse32(compatibility), tier, general[11])
	constraints := general[5:11]
	for len(constraints) > 1 && constraints[len(constraints)-1] == 0 {
		constraints = constraints[:len(constraints)-1]
	}
	for _, c := range constraints {
		fmt.Fprintf(&b, ".%X", c)
	}
	return b.String()
}

// withoutEmulation returns the first n bytes of nal with emulation prevention
// bytes taken out, or fewer if it ends before.
func withoutEmulation(nal []byte, n int) []byte {
	out := make([]byte, 0, n)
	zeros := 0
	for _, c := range nal {
		if len(out) == n {
			break
		}
		if zeros >= 2 && c == 3 {
			zeros = 0
			continue
		}
		if c == 0 {
			zeros++
		} else {
			zeros = 0
		}
		out = append(out, c)
	}
	return out
}

// av1Codecs writes the four mandatory fields; the colour fields after them are
// all or nothing and no player asks for them (specs L86).
func av1Codecs(p *au.Params) string {
	header, err := sequenceHeader(p)
	if err != nil {
		return ""
	}
	tier := "M"
	if header.SeqTier0 == 1 {
		tier = "H"
	}
	return fmt.Sprintf("av01.%d.%02d%s.%02d", header.SeqProfile, header.SeqLevelIdx0, tier, header.BitDepth)
}

// vp9Level returns the level of p. VP9 frames do not carry one: where p has
// none it is the least that allows the picture size.
func vp9Level(p *au.Params) int {
	if p.Level > 0 {
		return p.Level
	}
	size := p.Width * p.Height
	for _, l := range []struct{ level, luma int }{
		{10, 36864},
		{11, 73728},
		{20, 122880},
		{21, 245760},
		{30, 552960},
		{31, 983040},
		{41, 2228224}, // 4.0 has the same picture size, but not 60 frames a second
		{51, 8912896},
	} {
		if size <= l.luma {
			return l.level
		}
	}
	return 61
}

// vp9Depth returns the bit depth of p, 8 where it is unknown.
func vp9Depth(p *au.Params) int {
	if p.Depth == 0 {
		return 8
	}
	return p.Depth
}
