package rtc

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/pion/sdp/v3"
	"go.uber.org/goleak"

	"github.com/whipcast/whipcast/internal/problem"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func readOffer(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile("testdata/offers/" + name + ".sdp")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// statusOf returns the HTTP status of a Problem, 0 without.
func statusOf(err error) int {
	if p, ok := errors.AsType[problem.Problem](err); ok {
		return p.Status
	}
	return 0
}

// TestCheckOfferViewers: E7, E8, E19 what players offer.
func TestCheckOfferViewers(t *testing.T) {
	live := []Codec{
		{Name: "H264", ClockRate: 90000, Fmtp: "profile-level-id=64001f;packetization-mode=1;level-asymmetry-allowed=1"},
		{Name: "Opus", ClockRate: 48000, Channels: 2},
	}
	for _, tt := range []struct {
		name, profile string
	}{
		{"whep-chromium", "f4001f"}, // 64 is not there: the next higher one
		{"whep-firefox", "42e01f"},  // the only one: sent all the same
		{"whep-gst", "42e01f"},
		{"whep-gst-plain", ""}, // neither packetization nor profile, and no number of channels
	} {
		t.Run(tt.name, func(t *testing.T) {
			offer := readOffer(t, tt.name)
			if tt.name == "whep-firefox" && !strings.Contains(offer, "H264") {
				offer = strings.ReplaceAll(strings.ReplaceAll(offer, "VP8/90000", "H264/90000"), "a=fmtp:120 max-fs=12288;max-fr=60", "a=fmtp:120 profile-level-id=42e01f;packetization-mode=1")
			}
			o, err := CheckOffer([]byte(offer), Rules{Direction: Send, Codecs: live})
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range o.Sections {
				if s.Kind == Audio {
					if s.Codec.Channels != 2 {
						t.Errorf("chose %+v, want two channels (RFC 7587 §7)", s.Codec)
					}
					continue
				}
				if s.Codec.Name != "H264" || param(s.Codec.Fmtp, "packetization-mode", "0") != "1" || !strings.HasPrefix(param(s.Codec.Fmtp, "profile-level-id", ""), tt.profile[:min(2, len(tt.profile))]) {
					t.Errorf("chose %+v, want profile %s", s.Codec, tt.profile)
				}
			}
		})
	}
	offer := readOffer(t, "whep-chromium")
	g711 := strings.NewReplacer("SAVPF 111", "SAVPF 0", "rtpmap:111 OPUS/48000/2", "rtpmap:0 PCMU/8000", "rtcp-fb:111", "rtcp-fb:0").Replace(readOffer(t, "whep-gst"))
	for _, tt := range []struct {
		name, body string
		codecs     []Codec
		status     int
	}{
		{"E7 sendrecv", strings.ReplaceAll(offer, "a=recvonly", "a=sendrecv"), live, 0},
		{"E7 sendonly", strings.ReplaceAll(offer, "a=recvonly", "a=sendonly"), live, 422},
		{"E7 inactive", strings.ReplaceAll(offer, "a=recvonly", "a=inactive"), live, 422},
		{"E6 stream's codec not offered", offer, []Codec{{Name: "H265", ClockRate: 90000, Fmtp: "profile-id=7"}}, 422},
		{"E9 a kind that is not live stays silent", offer, live[1:], 0},
		{"E9 whepsrc's G.711 where no sound is live", g711, []Codec{live[0], live[1], {Name: "PCMU", ClockRate: 8000}}, 0},
		{"E6 whepsrc's G.711 where Opus is live", g711, live, 422},
	} {
		_, err := CheckOffer([]byte(tt.body), Rules{Direction: Send, Codecs: tt.codecs})
		if statusOf(err) != tt.status {
			t.Errorf("%s: %v, want status %d", tt.name, err, tt.status)
		}
	}
}

// TestOfferKeepsLittle: an Offer lives as long as its Session, and keeps nothing of the
// text that it was read from.
func TestOfferKeepsLittle(t *testing.T) {
	const offers, most = 100, 4 << 10
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for name, direction := range map[string]Direction{"chromium-sim-h264": Receive, "whep-chromium": Send} {
		text := []byte(readOffer(t, name))
		before := heap()
		var kept []*Offer
		for range offers {
			o, err := CheckOffer(text, Rules{Direction: direction})
			if err != nil {
				t.Fatal(err)
			}
			kept = append(kept, o)
		}
		if each := (int64(heap()) - int64(before)) / offers; each > most {
			t.Errorf("%s: an offer of %d bytes keeps %d", name, len(text), each)
		}
		runtime.KeepAlive(kept)
	}
}

func TestChoose(t *testing.T) {
	h264 := func(pt uint8, fmtp string) Codec {
		return Codec{Name: "H264", ClockRate: 90000, Fmtp: fmtp, PayloadType: pt}
	}
	vp9 := func(pt uint8, fmtp string) Codec {
		return Codec{Name: "vp9", ClockRate: 90000, Fmtp: fmtp, PayloadType: pt}
	}
	all := supported()
	for _, tt := range []struct {
		name            string
		offered, wanted []Codec
		want            int
	}{
		{"our preference beats the order", []Codec{vp9(98, ""), h264(102, "packetization-mode=1")}, all, 1},
		{"R16 mode 1 beats mode 0", []Codec{h264(1, "packetization-mode=0;profile-level-id=42001f"), h264(2, "packetization-mode=1;profile-level-id=42001f")}, all, 1},
		{"R16 of equals the first", []Codec{h264(1, "packetization-mode=1;profile-level-id=42001f"), h264(2, "packetization-mode=1;profile-level-id=64001f")}, all, 0},
		{"R15 mode 0 alone", []Codec{h264(1, "profile-level-id=42001f")}, all, 0},
		{"R15 mode 2", []Codec{h264(1, "packetization-mode=2")}, all, -1},
		{"media of mode 1 not to a receiver of mode 0", []Codec{h264(1, "packetization-mode=0")}, []Codec{h264(0, "packetization-mode=1")}, -1},
		{"media of mode 1 to a receiver that says nothing of it", []Codec{h264(1, "packetization-mode=0"), h264(2, "")}, []Codec{h264(0, "packetization-mode=1")}, 1},
		{"who says mode 1 rather than nothing", []Codec{h264(1, "profile-level-id=640c28"), h264(2, "packetization-mode=1;profile-level-id=42e01f")}, []Codec{h264(0, "packetization-mode=1;profile-level-id=640c28")}, 1},
		{"media of mode 0 to a receiver of mode 1", []Codec{h264(1, "packetization-mode=1")}, []Codec{h264(0, "packetization-mode=0")}, 0},
		{"same profile", []Codec{h264(1, "packetization-mode=1;profile-level-id=42e01f"), h264(2, "packetization-mode=1;profile-level-id=640C1F")}, []Codec{h264(0, "packetization-mode=1;profile-level-id=640c28")}, 1},
		{"a higher profile rather than a lower", []Codec{h264(1, "packetization-mode=1;profile-level-id=42e01f"), h264(2, "packetization-mode=1;profile-level-id=640c1f")}, []Codec{h264(0, "packetization-mode=1;profile-level-id=4d0028")}, 1},
		{"VP9 main profile first", []Codec{vp9(100, "profile-id=2"), vp9(98, "profile-id=0")}, all, 1},
		{"VP9 of the live profile only", []Codec{vp9(98, "profile-id=0")}, []Codec{vp9(0, "profile-id=2")}, -1},
		{"clock rate", []Codec{{Name: "H264", ClockRate: 8000}}, all, -1},
		{"R49 Opus of one channel", []Codec{{Name: "opus", ClockRate: 48000, Channels: 1}}, all, -1},
		{"nothing", nil, all, -1},
	} {
		if got := choose(tt.offered, tt.wanted); got != tt.want {
			t.Errorf("%s: got %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestAnswerFmtp(t *testing.T) {
	opus := Codec{Name: "Opus", ClockRate: 48000, Channels: 2, Fmtp: "minptime=10;useinbandfec=1;usedtx=1;sprop-stereo=1"}
	for _, tt := range []struct {
		name string
		c    Codec
		d    Direction
		want string
	}{
		{"R46, R47 received Opus", opus, Receive, "minptime=10;useinbandfec=1;stereo=1"},
		{"sent G.711", Codec{Name: "PCMU", ClockRate: 8000}, Send, ""},
		{"E22 sent Opus", opus, Send, "minptime=10;useinbandfec=1;stereo=1;sprop-stereo=1"},
		{"R59 H.264 level", Codec{Name: "H264", Fmtp: "level-asymmetry-allowed=1;profile-level-id=42e01f"}, Receive, "level-asymmetry-allowed=1;profile-level-id=42e02a"},
		{"R59 without asymmetry", Codec{Name: "H264", Fmtp: "profile-level-id=42e01f"}, Receive, "profile-level-id=42e01f"},
		{"R59 a higher level stays", Codec{Name: "H264", Fmtp: "level-asymmetry-allowed=1;profile-level-id=640033"}, Receive, "level-asymmetry-allowed=1;profile-level-id=640033"},
		{"R59 nonsense stays", Codec{Name: "H264", Fmtp: "level-asymmetry-allowed=1;profile-level-id=zzzzzz"}, Receive, "level-asymmetry-allowed=1;profile-level-id=zzzzzz"},
		{"sent H.264", Codec{Name: "H264", Fmtp: "level-asymmetry-allowed=1;profile-level-id=42e01f"}, Send, "level-asymmetry-allowed=1;profile-level-id=42e01f"},
	} {
		if got := answerFmtp(Section{Kind: tt.c.kind(), Codec: tt.c}, tt.d); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestStartBitrate: R43 a browser with several layers is told to begin with
// enough for all of them; nobody else is told anything.
func TestStartBitrate(t *testing.T) {
	three := []string{"f", "h", "q"}
	for _, tt := range []struct {
		name string
		s    Section
		d    Direction
		want string
	}{
		{"a browser's three layers", Section{RIDs: three, TransportCC: true}, Receive, "x-google-start-bitrate=2500"},
		{"over what it offers", Section{RIDs: three, TransportCC: true, Codec: Codec{Fmtp: "a=1;x-google-start-bitrate=9"}}, Receive, "a=1;x-google-start-bitrate=2500"},
		{"one layer", Section{TransportCC: true}, Receive, ""},
		{"one layer with a name", Section{RIDs: three[:1], TransportCC: true}, Receive, ""},
		{"OBS", Section{RIDs: three}, Receive, ""},
		{"a viewer", Section{RIDs: three, TransportCC: true}, Send, ""},
	} {
		tt.s.Kind, tt.s.Codec.Name = Video, "VP9"
		if got := answerFmtp(tt.s, tt.d); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestSimulcast: W78–W81.
func TestSimulcast(t *testing.T) {
	offer := readOffer(t, "obs-sim")
	for _, tt := range []struct {
		name     string
		edit     []string
		best     []string
		sent     string // a=simulcast as Pion is told
		refusing string
	}{
		{name: "W79 OBS", best: []string{"0", "1", "2"}, sent: "0;1;2"},
		{name: "W81 paused", edit: []string{"send 0;1;2", "send 0;~1;2"}, best: []string{"0", "1", "2"}, sent: "0;1;2"},
		{name: "W81 alternatives", edit: []string{"send 0;1;2", "send 0,1;~2,1"}, best: []string{"0", "2"}, sent: "0;2"},
		{name: "RFC 8853 recv before send", edit: []string{"a=simulcast:send 0;1;2", "a=simulcast:recv 7 send 0;1"}, best: []string{"0", "1"}, sent: "0;1"},
		{name: "RFC 8853 recv only is none", edit: []string{"a=simulcast:send", "a=simulcast:recv"}},
		{name: "one layer", edit: []string{"send 0;1;2", "send 1"}, best: []string{"1"}, sent: "1"},
		{name: "unknown rid", edit: []string{"send 0;1;2", "send 0;9"}, refusing: "a=rid"},
		{name: "twice", edit: []string{"send 0;1;2", "send 0;0"}, refusing: "a=rid"},
		{name: "empty", edit: []string{"send 0;1;2", "send 0;;1"}, refusing: "a=rid"},
		{name: "W80 no rtp-stream-id", edit: []string{"rtp-stream-id", "x"}, refusing: "header extensions"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o, err := CheckOffer([]byte(strings.NewReplacer(tt.edit...).Replace(offer)), Rules{Direction: Receive})
			if tt.refusing != "" {
				if statusOf(err) != http.StatusUnprocessableEntity || !strings.Contains(err.Error(), tt.refusing) {
					t.Errorf("got %v, want a 422 about %s", err, tt.refusing)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := o.Sections[1].RIDs; !slices.Equal(got, tt.best) {
				t.Errorf("best first: %q, want %q", got, tt.best)
			}
			described := o.describe(o.credentials, o.candidates)
			if has := strings.Contains(described, "a=simulcast:send "+tt.sent+"\r\n"); has != (tt.sent != "") {
				t.Errorf("described:\n%s", described)
			}
		})
	}
	for _, tt := range []struct{ rids, want []string }{
		{[]string{"q", "h", "f"}, []string{"f", "h", "q"}},
		{[]string{"low", "mid", "high"}, []string{"high", "mid", "low"}},
		{[]string{"low", "med", "high"}, []string{"high", "med", "low"}},
		{[]string{"L", "M", "H"}, []string{"H", "M", "L"}},
		{[]string{"h", "m", "l"}, []string{"h", "m", "l"}},
		{[]string{"q", "h"}, []string{"h", "q"}},
		{[]string{"h", "f"}, []string{"f", "h"}},
		{[]string{"q", "h", "l"}, []string{"q", "h", "l"}}, // of two orders
		{[]string{"0", "1", "2"}, []string{"0", "1", "2"}}, // OBS
		{[]string{"x"}, []string{"x"}},
		{[]string{"a", "h", "f"}, []string{"a", "h", "f"}}, // not all known: the sender's order
		{[]string{"2", "1", "0"}, []string{"2", "1", "0"}},
	} {
		if got := bestFirst(tt.rids); !slices.Equal(got, tt.want) {
			t.Errorf("bestFirst(%q) = %q, want %q", tt.rids, got, tt.want)
		}
	}
}

// TestRepairOfLayers: R26 RTX is accepted of who names it by extension alone.
func TestRepairOfLayers(t *testing.T) {
	chromium := readOffer(t, "chromium-sim-h264")
	groups := strings.Replace(chromium, "a=simulcast:", "a=ssrc-group:FID 1641666998 1562833073\r\na=simulcast:", 1)
	for offer, want := range map[string]bool{chromium: true, groups: false, readOffer(t, "obs-sim"): false} {
		o, err := CheckOffer([]byte(offer), Rules{Direction: Receive})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(o.describe(o.credentials, o.candidates), " rtx/90000\r\n"); got != want {
			t.Errorf("RTX is accepted: %v, want %v, of\n%s", got, want, offer)
		}
	}
}

// TestOfferCandidates: X14, X15, W49 what of an offer's candidates is used.
func TestOfferCandidates(t *testing.T) {
	o, err := CheckOffer([]byte(readOffer(t, "chromium")), Rules{Direction: Receive})
	if err != nil {
		t.Fatal(err)
	}
	if len(o.candidates) == 0 {
		t.Fatal("no candidates")
	}
	for _, c := range o.candidates {
		if f := strings.Fields(c); !strings.EqualFold(f[2], "udp") || f[1] != "1" || len(f) != 8 {
			t.Errorf("candidate %q", c)
		}
	}
	many := strings.Replace(readOffer(t, "obs"), "a=mid:0", "a=mid:0"+strings.Repeat("\r\na=candidate:1 1 udp 1 10.0.0.1 5 typ host", 900), 1)
	if o, err = CheckOffer([]byte(many), Rules{Direction: Receive}); err != nil || len(o.candidates) != maxCandidates {
		t.Errorf("900 candidates: %v, want %d kept", err, maxCandidates)
	}
	for _, tt := range []struct {
		candidate string
		want      string
	}{
		{"1 1 udp 2122194687 192.0.2.2 59239 typ host generation 0 ufrag CuX2", "1 1 udp 2122194687 192.0.2.2 59239 typ host"},
		{"1 1 UDP 1 192.0.2.2 5 typ srflx raddr 10.0.0.1 rport 9 generation 0", "1 1 UDP 1 192.0.2.2 5 typ srflx raddr 10.0.0.1 rport 9"},
		{"1 2 udp 1 192.0.2.2 5 typ host", ""},
		{"1 1 tcp 1 192.0.2.2 9 typ host tcptype active", ""},
		{"1 1 udp 1 0a1b2c.local 9 typ host", ""},
		{"1 1 udp 1 example.com 9 typ host", ""},
		{"1 1 udp 1 fe80::1%eth0 9 typ host", ""},
		{"1 1 udp 1 192.0.2.2 9 typ wild", ""},
		{"1 1 udp 1 192.0.2.2 9 typ", ""},
		{"", ""},
	} {
		if got, ok := usable(tt.candidate); got != tt.want || ok != (tt.want != "") {
			t.Errorf("usable(%q) = %q, %v", tt.candidate, got, ok)
		}
	}
}

// TestFinishAnswer is the pure half of specs A3; ingest/whip replays clients.
func TestFinishAnswer(t *testing.T) {
	o, err := CheckOffer([]byte(readOffer(t, "obs")), Rules{Direction: Receive})
	if err != nil {
		t.Fatal(err)
	}
	answer := strings.Join([]string{
		"v=0", "o=- 1 1 IN IP4 0.0.0.0", "s=-", "t=0 0", "a=group:BUNDLE 0 1",
		"m=audio 9 UDP/TLS/RTP/SAVPF 111", "c=IN IP4 0.0.0.0", "a=mid:0", "a=rtcp-mux", "a=rtpmap:111 opus/48000/2", "a=fmtp:111 x=1", "a=recvonly",
		"a=candidate:1 1 tcp 1 203.0.113.9 8100 typ host tcptype passive ufrag abcd",
		"a=candidate:2 1 udp 1 2001:db8::1 8100 typ host ufrag abcd",
		"a=candidate:3 1 udp 1 10.0.0.1 8100 typ host ufrag abcd",
		"a=candidate:4 1 udp 1 203.0.113.9 8100 typ host ufrag abcd",
		"a=candidate:4 2 udp 1 203.0.113.9 8100 typ host ufrag abcd",
		"m=video 9 UDP/TLS/RTP/SAVPF 96", "c=IN IP4 0.0.0.0", "a=mid:1", "a=rtcp-mux", "a=rtpmap:96 H264/90000", "a=recvonly", "",
	}, "\r\n")
	got, err := finishAnswer(answer, o)
	if err != nil {
		t.Fatal(err)
	}
	var candidates []string
	for line := range strings.SplitSeq(got, "\r\n") {
		if strings.HasPrefix(line, "a=candidate:") {
			candidates = append(candidates, line)
		}
	}
	want := []string{ // W32; without the second component and libnice's stumbling block
		"a=candidate:4 1 udp 1 203.0.113.9 8100 typ host",
		"a=candidate:3 1 udp 1 10.0.0.1 8100 typ host",
		"a=candidate:2 1 udp 1 2001:db8::1 8100 typ host",
		"a=candidate:1 1 tcp 1 203.0.113.9 8100 typ host tcptype passive",
	}
	if !slices.Equal(candidates, want) {
		t.Errorf("candidates %q, want %q", candidates, want)
	}
	for _, want := range []string{"a=rtcp-mux\r\na=rtcp-mux-only\r\n", "a=ice-options:trickle\r\n", "stereo=1\r\n", "a=end-of-candidates\r\nm=video"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	for _, bad := range []string{
		"hello",
		strings.Replace(answer, "m=video 9", "m=video 0", 1), // W27
		strings.Replace(answer, "a=mid:1", "a=mid:2", 1),
		answer[:strings.Index(answer, "m=video")],
	} {
		if _, err := finishAnswer(bad, o); err == nil {
			t.Errorf("accepted the answer\n%s", bad)
		}
	}
}

func TestRestartFragment(t *testing.T) {
	got, err := restartFragment("v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\na=ice-options:trickle\r\n" +
		"m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\na=rtcp-mux\r\n" +
		"a=candidate:1 1 udp 1 203.0.113.9 8100 typ host\r\na=end-of-candidates\r\n")
	want := "a=group:BUNDLE 0\r\na=ice-options:trickle\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n" +
		"a=candidate:1 1 udp 1 203.0.113.9 8100 typ host\r\na=end-of-candidates\r\n"
	if err != nil || got != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if f, err := parseFragment([]byte(got)); err != nil || !f.end || len(f.candidates) != 1 || f.candidates[0].mid != "0" || f.creds.ufrag != "abcd" {
		t.Errorf("our own fragment parses as %+v, %v", f, err)
	}
}

// TestFragment: W46, RFC 8840 §9; rtctest.Resource has the refusals.
func TestFragment(t *testing.T) {
	for _, tt := range []struct {
		file       string
		ufrag, mid string
		candidates int
		end        bool
	}{
		{"gst", "sf++b9kwFZWH/gVswIObjBjCSMTRRIBL", "video0", 9, false},
		{"medooze", "CuX2", "0", 2, false},
		{"end", "AxUJ", "", 0, true},
	} {
		body, err := os.ReadFile("testdata/fragments/" + tt.file + ".sdpfrag")
		if err != nil {
			t.Fatal(err)
		}
		f, err := parseFragment(body)
		if err != nil || f.creds.ufrag != tt.ufrag || len(f.candidates) != tt.candidates || f.end != tt.end {
			t.Errorf("%s: got %+v, %v", tt.file, f, err)
		}
		for _, c := range f.candidates {
			if c.mid != tt.mid {
				t.Errorf("%s: candidate of section %q, want %q", tt.file, c.mid, tt.mid)
			}
		}
	}
	f, err := parseFragment([]byte("a=candidate:1 1 udp 1 192.0.2.2 9 typ host\nm=audio 9 RTP/AVP 0\na=candidate:2 1 udp 1 192.0.2.2 9 typ host\na=mid:7\n"))
	if err != nil || len(f.candidates) != 2 || f.candidates[0].mid != "" || f.candidates[1].mid != "7" {
		t.Errorf("W46 before any section, and mid after the candidate: %+v, %v", f, err)
	}
	many := strings.Repeat("a=candidate:1 1 udp 1 192.0.2.2 9 typ host\r\n", 100_000)
	if _, err := parseFragment([]byte(many)); statusOf(err) != http.StatusBadRequest {
		t.Errorf("100,000 candidates: %v", err)
	}
}

// FuzzCheckOffer: whatever comes, the verdict is an Offer that Pion's parser and
// ours read again, or a Problem of status 400 or 422.
func FuzzCheckOffer(f *testing.F) {
	files, err := filepath.Glob("testdata/offers/*.sdp")
	if err != nil || len(files) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text, strings.HasPrefix(filepath.Base(file), "whep-"))
	}
	f.Add([]byte("v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 1 0\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\na=fingerprint:sha-256 AA\r\na=setup:actpass\r\n"+
		"m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:1\r\na=sctp-port:5000\r\n"+
		"m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=sendonly\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\n"), false)
	f.Fuzz(func(t *testing.T, body []byte, watch bool) {
		rules := Rules{Direction: Receive}
		if watch {
			rules.Direction = Send
		}
		o, err := CheckOffer(body, rules)
		if err != nil {
			if s := statusOf(err); s != http.StatusBadRequest && s != http.StatusUnprocessableEntity {
				t.Fatalf("error %v", err)
			}
			return
		}
		if len(o.Sections) == 0 || len(o.Sections) > 3 || len(o.candidates) > maxCandidates {
			t.Fatalf("accepted %+v", o)
		}
		described := o.describe(o.credentials, o.candidates)
		var desc sdp.SessionDescription
		if err := desc.UnmarshalString(described); err != nil || len(desc.MediaDescriptions) != len(o.Sections) {
			t.Fatalf("described as\n%s\n%v", described, err)
		}
		again, err := CheckOffer([]byte(described), rules)
		if err != nil {
			t.Fatalf("described as\n%q\nwhich is %v", described, err)
		}
		if twice := again.describe(again.credentials, again.candidates); twice != described {
			t.Fatalf("described as\n%q\nthen as\n%q", described, twice)
		}
		if _, err := mediaEngine(o); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzFragment: no panic, and bounded.
func FuzzFragment(f *testing.F) {
	files, err := filepath.Glob("testdata/fragments/*")
	if err != nil || len(files) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		fragment, err := parseFragment(body)
		if err != nil {
			if s := statusOf(err); s != http.StatusBadRequest && s != http.StatusUnprocessableEntity {
				t.Fatalf("error %v", err)
			}
			return
		}
		if len(fragment.candidates) > maxCandidates {
			t.Fatalf("%d candidates", len(fragment.candidates))
		}
		for _, c := range fragment.candidates {
			if line, ok := usable(c.line); ok && strings.ContainsAny(line, "\r\n") {
				t.Fatalf("candidate %q", line)
			}
		}
	})
}
