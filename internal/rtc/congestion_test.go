package rtc

import (
	"strings"
	"testing"
)

// TestViewersFeedback: a viewer's video is numbered for transport-wide feedback
// where that is offered, else REMB is taken; the sound never is.
func TestViewersFeedback(t *testing.T) {
	const head = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n"
	section := func(kind, mid, codec string, more ...string) string {
		lines := []string{
			"m=" + kind + " 9 UDP/TLS/RTP/SAVPF 96", "c=IN IP4 0.0.0.0", "a=mid:" + mid, "a=recvonly", "a=rtcp-mux",
			"a=ice-ufrag:abcd", "a=ice-pwd:0123456789012345678901", "a=setup:actpass",
			"a=fingerprint:sha-256 " + strings.TrimSuffix(strings.Repeat("AA:", 32), ":"), "a=rtpmap:96 " + codec,
		}
		return strings.Join(append(lines, more...), "\r\n") + "\r\n"
	}
	const extension, number = "a=extmap:5/recvonly " + TransportCC, "a=rtcp-fb:96 transport-cc"
	const remb = "a=rtcp-fb:96 goog-remb"
	for _, tt := range []struct {
		name              string
		lines             []string
		transportCC, remb bool
	}{
		{"both are offered", []string{extension, number, remb}, true, false},
		{"the highest ID of the short form", []string{"a=extmap:14 " + TransportCC, number, remb}, true, false},
		{"an ID that only the long form has", []string{"a=extmap:16 " + TransportCC, number, remb}, false, true},
		{"no extension", []string{number, remb}, false, true},
		{"no feedback", []string{extension, remb}, false, true},
		{"nothing", nil, false, false},
		{"another extension", []string{"a=extmap:3 urn:ietf:params:rtp-hdrext:sdes:mid", number}, false, false},
	} {
		offer := head + section("audio", "0", "opus/48000/2", tt.lines...) + section("video", "1", "H264/90000", append(tt.lines, "a=fmtp:96 packetization-mode=1")...)
		o, err := CheckOffer([]byte(offer), Rules{Direction: Send})
		if err != nil {
			t.Fatal(err)
		}
		video := o.Sections[1]
		if video.TransportCC != tt.transportCC || video.REMB != tt.remb {
			t.Errorf("%s: transport-cc %v, REMB %v", tt.name, video.TransportCC, video.REMB)
		}
		if audio := o.Sections[0]; audio.TransportCC || audio.REMB {
			t.Errorf("%s: the sound has feedback of congestion", tt.name)
		}
		text := o.describe(credentials{"abcd", "0123456789012345678901"}, nil)
		if n := strings.Count(text, TransportCC); (n == 1) != tt.transportCC || n > 1 {
			t.Errorf("%s: the extension is named %d times", tt.name, n)
		}
		if strings.Contains(text, "goog-remb") != tt.remb || strings.Contains(text, "transport-cc") != tt.transportCC {
			t.Errorf("%s: description\n%s", tt.name, text)
		}
		if _, err := mediaEngine(o); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
