package rtc

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/pion/sdp/v3"
)

// finishAnswer turns Pion's answer into ours. It is pure. Pion writes neither
// rtcp-mux-only (RFC 8858 §3, specs W25) nor stereo (R46), its candidates carry
// an extension that libnice does not take, and FFmpeg reads only the first one
// (W32).
func finishAnswer(answer string, o *Offer) (string, error) {
	var desc sdp.SessionDescription
	if err := desc.UnmarshalString(answer); err != nil {
		return "", fmt.Errorf("read answer: %w", err)
	}
	if len(desc.MediaDescriptions) != len(o.Sections) {
		return "", errors.New("answer has other sections than the offer")
	}
	desc.Attributes = slices.DeleteFunc(desc.Attributes, func(a sdp.Attribute) bool {
		return a.Key == "ice-options" || a.Key == sdp.AttrKeyGroup && !o.bundled
	})
	// W35: trickle by PATCH works, and all candidates are here already.
	desc.Attributes = append(desc.Attributes, sdp.Attribute{Key: "ice-options", Value: "trickle"})
	for i, media := range desc.MediaDescriptions {
		s := o.Sections[i]
		if mid, _ := media.Attribute(sdp.AttrKeyMID); media.MediaName.Port.Value == 0 || mid != s.MID {
			return "", fmt.Errorf("answer refuses the %s section", s.Kind) // W27: never in part
		}
		finishSection(media, s, o.direction)
		if i == 0 {
			finishCandidates(media)
		}
	}
	text, err := desc.Marshal()
	if err != nil {
		return "", fmt.Errorf("write answer: %w", err)
	}
	return string(text), nil
}

func finishSection(media *sdp.MediaDescription, s Section, d Direction) {
	var out []sdp.Attribute
	for _, a := range media.Attributes {
		if pt, _, _ := strings.Cut(a.Value, " "); a.Key == "fmtp" && pt == fmt.Sprint(s.Codec.PayloadType) {
			continue
		}
		out = append(out, a)
		pt, _, _ := strings.Cut(a.Value, " ")
		switch {
		case a.Key == sdp.AttrKeyRTCPMux:
			out = append(out, sdp.Attribute{Key: "rtcp-mux-only"})
		case a.Key == "rtpmap" && pt == fmt.Sprint(s.Codec.PayloadType):
			if fmtp := answerFmtp(s, d); fmtp != "" {
				out = append(out, sdp.Attribute{Key: "fmtp", Value: pt + " " + fmtp})
			}
		}
	}
	media.Attributes = out
}

// finishCandidates moves the candidates to the end of the section, the best to
// reach first, and ends their list (RFC 8840 §4.4).
func finishCandidates(media *sdp.MediaDescription) {
	var lines []string
	media.Attributes = slices.DeleteFunc(media.Attributes, func(a sdp.Attribute) bool {
		if a.Key == sdp.AttrKeyCandidate {
			lines = append(lines, a.Value)
		}
		return a.Key == sdp.AttrKeyCandidate || a.Key == sdp.AttrKeyEndOfCandidates
	})
	for _, line := range sortCandidates(lines) {
		media.Attributes = append(media.Attributes, sdp.Attribute{Key: sdp.AttrKeyCandidate, Value: line})
	}
	media.Attributes = append(media.Attributes, sdp.Attribute{Key: sdp.AttrKeyEndOfCandidates})
}

// sortCandidates orders our own candidates and drops those of the second
// component (RTCP is multiplexed), and Pion's extension " ufrag X".
func sortCandidates(lines []string) []string {
	rank := func(line string) int {
		f := strings.Fields(line)
		addr, err := netip.ParseAddr(f[4])
		score := 0
		if strings.EqualFold(f[2], "udp") {
			score += 4
		}
		if err == nil && addr.Is4() {
			score += 2
		}
		if err == nil && !addr.IsPrivate() && !addr.IsLoopback() && !addr.IsLinkLocalUnicast() {
			score++
		}
		return score
	}
	var kept []string
	for _, line := range lines {
		f := strings.Fields(line)
		if len(f) < 8 || f[1] != "1" {
			continue
		}
		for i := 8; i+1 < len(f); i += 2 {
			if f[i] == "ufrag" {
				f = slices.Delete(f, i, i+2)
				break
			}
		}
		kept = append(kept, strings.Join(f, " "))
	}
	slices.SortStableFunc(kept, func(a, b string) int { return rank(b) - rank(a) })
	return kept
}

// restartFragment returns the answer to an ICE restart: our new credentials and
// candidates, taken from a finished answer (RFC 9725 §4.3.3).
func restartFragment(answer string) (string, error) {
	var desc sdp.SessionDescription
	if err := desc.UnmarshalString(answer); err != nil || len(desc.MediaDescriptions) == 0 {
		return "", errors.New("read answer: no session description")
	}
	var b strings.Builder
	for _, a := range desc.Attributes {
		switch a.Key {
		case "ice-options", sdp.AttrKeyICELite, "ice-pacing", sdp.AttrKeyGroup:
			b.WriteString("a=" + attribute(a) + "\r\n")
		}
	}
	media := desc.MediaDescriptions[0] // the tagged one
	b.WriteString("m=" + media.MediaName.String() + "\r\n")
	for _, a := range media.Attributes {
		switch a.Key {
		case sdp.AttrKeyMID, "ice-ufrag", "ice-pwd", sdp.AttrKeyCandidate, sdp.AttrKeyEndOfCandidates:
			b.WriteString("a=" + attribute(a) + "\r\n")
		}
	}
	return b.String(), nil
}

func attribute(a sdp.Attribute) string {
	if a.Value == "" {
		return a.Key
	}
	return a.Key + ":" + a.Value
}
