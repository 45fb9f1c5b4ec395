package rtc

import (
	"fmt"
	"strconv"
	"strings"
)

// describe writes the description that Pion is given: only what was accepted,
// in one form, with the given ICE credentials and candidates. So nothing of a
// strange offer reaches Pion, and its answer holds nothing that we did not
// choose. A restart is the same description with other credentials (specs W61).
func (o *Offer) describe(c credentials, candidates []string) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	line("v=0")
	line("o=- 1 1 IN IP4 0.0.0.0")
	line("s=-")
	line("t=0 0")
	group := []string{"BUNDLE"}
	for _, s := range o.Sections {
		group = append(group, s.MID)
	}
	line("a=group:%s", strings.Join(group, " "))
	line("a=ice-options:trickle")
	if o.mixed {
		line("a=extmap-allow-mixed")
	}
	if o.lite {
		line("a=ice-lite")
	}
	for i, n := range o.normals {
		n.describe(line, o.direction)
		line("a=ice-ufrag:%s", c.ufrag)
		line("a=ice-pwd:%s", c.pwd)
		if i == 0 {
			for _, candidate := range candidates {
				line("a=candidate:%s", candidate)
			}
		}
	}
	return b.String()
}

// describe writes a section up to its ICE lines.
func (n *normal) describe(line func(format string, args ...any), d Direction) {
	s := &n.section
	if s.Kind == Messages {
		line("m=application 9 UDP/DTLS/SCTP webrtc-datachannel")
		line("c=IN IP4 0.0.0.0")
		line("a=mid:%s", s.MID)
		line("a=setup:%s", n.setup)
		line("a=fingerprint:%s", n.print)
		line("a=sctp-port:%s", sctpPort)
		return
	}
	pt := s.Codec.PayloadType
	formats := strconv.Itoa(int(pt))
	if n.rtx != 0 {
		formats += " " + strconv.Itoa(n.rtx)
	}
	line("m=%s 9 UDP/TLS/RTP/SAVPF %s", s.Kind, formats)
	line("c=IN IP4 0.0.0.0")
	line("a=mid:%s", s.MID)
	line("a=setup:%s", n.setup)
	line("a=fingerprint:%s", n.print)
	line("a=rtcp-mux")
	line("a=rtcp-rsize")
	if d == Receive {
		line("a=sendonly")
		// Pion knows simulcast layers only of a track with a name.
		line("a=msid:- %s", s.Kind)
	} else {
		line("a=recvonly")
	}
	for _, e := range n.extensions {
		line("a=%s:%s", e.Key, e.Value)
	}
	c := s.Codec
	if c.Channels > 0 {
		line("a=rtpmap:%d %s/%d/%d", pt, n.spelling, c.ClockRate, c.Channels)
	} else {
		line("a=rtpmap:%d %s/%d", pt, n.spelling, c.ClockRate)
	}
	if c.Fmtp != "" {
		line("a=fmtp:%d %s", pt, c.Fmtp)
	}
	for _, f := range s.feedback() {
		line("a=rtcp-fb:%d %s", pt, strings.TrimSpace(f.Type+" "+f.Parameter))
	}
	if n.rtx != 0 {
		line("a=rtpmap:%d rtx/%d", n.rtx, c.ClockRate)
		line("a=fmtp:%d apt=%d", n.rtx, pt)
	}
	n.describeSources(line)
}

// describeSources writes the layers or the SSRCs.
func (n *normal) describeSources(line func(format string, args ...any)) {
	rids := n.layers
	for _, rid := range rids {
		line("a=rid:%s send", rid)
	}
	if len(rids) > 0 {
		line("a=simulcast:send %s", strings.Join(rids, ";"))
		return
	}
	if len(n.ssrcs) == 2 {
		line("a=ssrc-group:FID %d %d", n.ssrcs[0], n.ssrcs[1])
	}
	for _, ssrc := range n.ssrcs {
		line("a=ssrc:%d cname:-", ssrc)
	}
}
