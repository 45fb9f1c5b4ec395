package rtc

import (
	"slices"
	"strconv"
	"strings"
)

// opus is the only sound that is sent and received. G.711 is known to viewers' sections
// that stay silent.
const opus = "opus"

// feedback is what a section offers for its codec.
type feedback struct{ transportCC, nack, pli, fir, remb bool }

// supported returns the codecs that can be received and stored in fragmented
// MP4, best reach first (specs W31, S36–S41).
func supported() []Codec {
	return []Codec{
		{Name: "H264", ClockRate: 90000},
		{Name: "H265", ClockRate: 90000},
		{Name: "AV1", ClockRate: 90000},
		{Name: "VP9", ClockRate: 90000},
		{Name: "Opus", ClockRate: 48000, Channels: 2},
	}
}

// kind returns the kind of section that carries the codec.
func (c Codec) kind() Kind {
	switch strings.ToLower(c.Name) {
	case opus, "pcmu", "pcma":
		return Audio
	}
	return Video
}

// mime returns the codec's media type.
func (c Codec) mime() string {
	if c.kind() == Audio {
		return "audio/" + strings.ToLower(c.Name)
	}
	return "video/" + c.Name
}

// param returns one format parameter of an fmtp line, or otherwise if it is absent.
func param(fmtp, name, otherwise string) string {
	for field := range strings.SplitSeq(fmtp, ";") {
		key, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		if strings.EqualFold(key, name) {
			return strings.TrimSpace(value)
		}
	}
	return otherwise
}

// setParams returns fmtp with the given parameters set, the others kept in
// their order, and those of an empty value removed.
func setParams(fmtp string, set [][2]string) string {
	var fields []string
	for field := range strings.SplitSeq(fmtp, ";") {
		field = strings.TrimSpace(field)
		key, _, _ := strings.Cut(field, "=")
		if field != "" && !slices.ContainsFunc(set, func(p [2]string) bool { return strings.EqualFold(p[0], key) }) {
			fields = append(fields, field)
		}
	}
	for _, p := range set {
		if p[1] != "" {
			fields = append(fields, p[0]+"="+p[1])
		}
	}
	return strings.Join(fields, ";")
}

// choose returns the index in offered of the codec that fits one of wanted
// best, or -1: the first of wanted that is offered at all; of that codec the
// best variant; of equally good ones the one that is offered first.
func choose(offered, wanted []Codec) int {
	for _, w := range wanted {
		best, at := 0, -1
		for i, o := range offered {
			if s := fit(o, w); s > best {
				best, at = s, i
			}
		}
		if at >= 0 {
			return at
		}
	}
	return -1
}

// fit says how well what is offered fits what is wanted: 0 not at all. When
// wanted has format parameters, media of exactly that kind will be sent.
func fit(offered, wanted Codec) int {
	if !strings.EqualFold(offered.Name, wanted.Name) || offered.ClockRate != wanted.ClockRate {
		return 0
	}
	switch strings.ToUpper(wanted.Name) {
	case "H264":
		return fitH264(offered.Fmtp, wanted.Fmtp)
	case "H265":
		return fitProfile(offered.Fmtp, wanted.Fmtp, "profile-id", "1")
	case "AV1":
		return fitProfile(offered.Fmtp, wanted.Fmtp, "profile", "0")
	case "VP9":
		return fitProfile(offered.Fmtp, wanted.Fmtp, "profile-id", "0")
	case "OPUS":
		if offered.Channels != 2 { // RFC 7587 §7: always 2; multi-channel Opus has another mapping
			return 0
		}
	}
	return 1
}

// fitH264 prefers packetization-mode 1 and, when media of a known profile will
// be sent, that profile (specs R15, R16). Interleaved mode 2 never fits. Who says
// nothing of the mode takes what comes: RFC 6184 §8.1 reads that as mode 0, but
// viewers made of GStreamer leave it out and take all, and those of mode 0 say so.
func fitH264(offered, wanted string) int {
	mode := param(offered, "packetization-mode", "")
	if mode != "" && mode != "0" && mode != "1" {
		return 0
	}
	if param(wanted, "packetization-mode", "0") == "1" && mode == "0" {
		return 0
	}
	score := 1
	if mode == "1" {
		score += 4
	}
	profile := func(fmtp string) string {
		id := param(fmtp, "profile-level-id", "")
		return strings.ToLower(id[:min(2, len(id))])
	}
	switch want, have := profile(wanted), profile(offered); { // OBS claims baseline whatever it sends (specs L84)
	case want == "":
	case want == have:
		score += 2
	case want < have: // 42 baseline, 4d main, 64 high
		score++
	}
	return score
}

// packetized returns the format parameters of a viewer's H.264: where its offer says
// nothing of the packetization mode, that of the media which it will be sent.
func packetized(offered, sent string) string {
	mode := param(sent, "packetization-mode", "")
	if mode == "" || param(offered, "packetization-mode", "") != "" {
		return offered
	}
	return setParams(offered, [][2]string{{"packetization-mode", mode}})
}

// fitProfile wants the same profile when media of a known one will be sent,
// and prefers the codec's main profile otherwise.
func fitProfile(offered, wanted, name, main string) int {
	profile := param(offered, name, main)
	if wanted != "" && profile != param(wanted, name, main) {
		return 0
	}
	if profile == main {
		return 2
	}
	return 1
}

// startBitrate in kb/s is enough for the smaller two layers of 1080p in full, and
// the biggest one at its least.
const startBitrate = "2500"

// answerFmtp returns the format parameters that our answer states. They are
// the wishes of a receiver (Receive) or what we send (Send).
func answerFmtp(s Section, d Direction) string {
	fmtp := s.Codec.Fmtp
	switch {
	case s.Kind == Audio && !strings.EqualFold(s.Codec.Name, opus):
		return fmtp
	case s.Kind == Audio && d == Receive:
		// Without stereo=1 Chromium sends mono; usedtx would make holes (specs R46, R47).
		return setParams(fmtp, [][2]string{{"usedtx", ""}, {"sprop-stereo", ""}, {"stereo", "1"}})
	case s.Kind == Audio:
		return setParams(fmtp, [][2]string{{"usedtx", ""}, {"stereo", "1"}, {"sprop-stereo", "1"}})
	case d == Send:
		return fmtp
	}
	if s.Codec.Name == "H264" {
		fmtp = raiseLevel(fmtp)
	}
	if len(s.RIDs) > 1 && s.TransportCC {
		// Browsers begin at 300 kb/s, too little for more than the smallest layer.
		// They look for more at once, but on a busy machine they miss what they find,
		// and look again 5 s later (specs R43). Others do not know the parameter.
		fmtp = setParams(fmtp, [][2]string{{"x-google-start-bitrate", startBitrate}})
	}
	return fmtp
}

// raiseLevel lets an H.264 sender go up to level 4.2 where levels may differ
// (RFC 6184 §8.2.2): a browser that offers level 3.1 may then send 1080p.
func raiseLevel(fmtp string) string {
	const level42 = 0x2a
	id := param(fmtp, "profile-level-id", "")
	if param(fmtp, "level-asymmetry-allowed", "0") != "1" || len(id) != 6 {
		return fmtp
	}
	if level, err := strconv.ParseUint(id[4:], 16, 8); err != nil || level >= level42 {
		return fmtp
	}
	return setParams(fmtp, [][2]string{{"profile-level-id", id[:4] + "2a"}})
}

// bestFirst orders RIDs by quality. The list of a=simulcast stands in the
// sender's order of preference (RFC 8853 §5.2), which OBS heeds. Pages in
// browsers list the smallest first as often, but then under names that tell: h is
// the half beside f and q, but the highest beside m and l.
func bestFirst(rids []string) []string {
	for _, names := range [][]string{
		{"f", "h", "q"},
		{"full", "half", "quarter"},
		{"h", "m", "l"},
		{"hi", "mid", "med", "lo"},
		{"high", "medium", "mid", "med", "low"},
	} {
		rank := func(rid string) int { return slices.Index(names, strings.ToLower(rid)) }
		if !slices.ContainsFunc(rids, func(rid string) bool { return rank(rid) < 0 }) {
			sorted := slices.Clone(rids)
			slices.SortStableFunc(sorted, func(a, b string) int { return rank(a) - rank(b) })
			return sorted
		}
	}
	return slices.Clone(rids)
}
