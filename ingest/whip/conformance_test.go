package whip

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtp"

	"github.com/whipcast/whipcast/internal/rtc"
	"github.com/whipcast/whipcast/internal/rtc/rtctest"
	"github.com/whipcast/whipcast/stream"
)

// TestWrongFingerprint: X18 a publisher whose certificate is not the one of its
// offer is refused by DTLS: no packet of it arrives, and its place is free at once.
func TestWrongFingerprint(t *testing.T) {
	g := start(t, rtc.RegistryConfig{}, rtc.Config{})
	x := newSending(t, rtctest.Options{})
	begin := strings.Index(x.Offer, "a=fingerprint:sha-256 ") + len("a=fingerprint:sha-256 ")
	given := x.Offer[begin : begin+95]
	other := "00" + given[2:]
	if other == given {
		other = "01" + given[2:]
	}
	x.Offer = strings.ReplaceAll(x.Offer, given, other)
	if res := x.Post(t, g.endpoint("live")); res.StatusCode != http.StatusCreated {
		t.Fatalf("POST: %s %s", res.Status, x.Answer)
	}
	s, _ := g.hub.Lookup("live")
	for range 100 {
		if all, _ := g.registry.Counts(); all == 0 {
			break
		}
		play1(t, x)
	}
	if all, _ := g.registry.Counts(); all != 0 {
		t.Fatalf("the session lives on\n%s", g.log)
	}
	for _, source := range s.State().Sources {
		if n := source.Counters().Packets; n > 0 {
			t.Errorf("%d packets of %v arrived", n, source.Layer.ID)
		}
	}
	if res, _ := rtctest.Token("secret").Do(t, http.MethodDelete, x.URL, ""); res.StatusCode != http.StatusNotFound {
		t.Errorf("DELETE: %s", res.Status)
	}
}

// TestLogTellsNoSecrets: X2 a session's URL is not in the log in full, X4
// neither are tokens, X16 nor addresses and credentials of the other side.
func TestLogTellsNoSecrets(t *testing.T) {
	g := start(t, rtc.RegistryConfig{}, rtc.Config{})
	x := newSending(t, rtctest.Options{})
	x.Connect(t, g.endpoint("live"))
	g.expectSome(t, x)
	if res := x.Restart(t, "*"); res.StatusCode != http.StatusOK {
		t.Fatalf("restart: %s", res.Status)
	}
	if res, _ := rtctest.Token("secret").Do(t, http.MethodDelete, x.URL, ""); res.StatusCode != http.StatusOK {
		t.Fatalf("DELETE: %s", res.Status)
	}
	offer := strings.Replace(recordedOffer(t, "chromium"), "a=fingerprint:sha-256 ", "a=fingerprint:sha-256 zz", 1)
	rtctest.Token("secret").Do(t, http.MethodPost, g.endpoint("other"), offer, "Content-Type", sdpType)

	log := g.log.String()
	if !strings.Contains(log, "session ended") {
		t.Fatalf("log: %s", log)
	}
	id := x.URL[strings.LastIndex(x.URL, "/")+1:]
	secrets := []string{id, id[len(id)/2:], "secret", "127.0.0.1"}
	for line := range strings.SplitSeq(x.Offer+"\r\n"+x.Answer+"\r\n"+offer, "\r\n") {
		for _, key := range []string{"a=ice-ufrag:", "a=ice-pwd:", "a=fingerprint:", "a=candidate:"} {
			if value, ok := strings.CutPrefix(line, key); ok {
				secrets = append(secrets, value)
			}
		}
	}
	for _, secret := range secrets {
		if strings.Contains(log, secret) {
			t.Errorf("the log tells %q:\n%s", secret, log)
		}
	}
}

// expectSome sends for a moment and waits until some of it has arrived.
func (g *gateway) expectSome(t *testing.T, x sending) {
	t.Helper()
	s, _ := g.hub.Lookup("live")
	for range 100 {
		play1(t, x)
		for _, source := range s.State().Sources {
			if source.Layer.ID.Kind == stream.Audio && source.Counters().Packets > 0 {
				return
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("nothing arrives")
}

// TestOfferSpellings: what clients in the field write otherwise than most.
func TestOfferSpellings(t *testing.T) {
	g := start(t, rtc.RegistryConfig{}, rtc.Config{})
	offer := recordedOffer(t, "obs")
	line := func(key string) string {
		_, rest, _ := strings.Cut(offer, "a="+key+":")
		value, _, _ := strings.Cut(rest, "\r\n")
		return "a=" + key + ":" + value + "\r\n"
	}
	session := line("fingerprint") + line("setup") + line("ice-ufrag") + line("ice-pwd")
	moved := strings.NewReplacer(line("fingerprint"), "", line("setup"), "", line("ice-ufrag"), "", line("ice-pwd"), "").Replace(offer)
	for _, tt := range []struct{ name, offer string }{
		{"OPUS in capitals, as older OBS", strings.Replace(offer, "opus/48000/2", "OPUS/48000/2", 1)},
		{"h264 in small letters", strings.Replace(offer, "H264/90000", "h264/90000", 1)},
		{"ICE and DTLS at session level", strings.Replace(moved, "m=audio", session+"m=audio", 1)},
		{"LF only", strings.ReplaceAll(offer, "\r\n", "\n")},
		{"W24 a BUNDLE member that does not exist", strings.Replace(offer, "BUNDLE 0 1", "BUNDLE 0 1 7", 1)},
		{"W25 rtcp-mux-only offered", strings.ReplaceAll(offer, "a=rtcp-mux\r\n", "a=rtcp-mux\r\na=rtcp-mux-only\r\n")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.offer == offer {
				t.Fatal("the offer is the recorded one")
			}
			res, answer := rtctest.Token("secret").Do(t, http.MethodPost, g.endpoint("live"), tt.offer, "Content-Type", sdpType)
			if res.StatusCode != http.StatusCreated {
				t.Fatalf("%s %s", res.Status, answer)
			}
			checkAnswer(t, offer, answer, []string{""})
			s, _ := g.hub.Lookup("live")
			checkLayers(t, s.State(), "H264", []string{""})
			rtctest.Token("secret").Do(t, http.MethodDelete, g.server.URL+res.Header.Get("Location"), "")
		})
	}
}

// FuzzParse: X26 whatever comes as RTP, the payload lies within the packet, and
// what Pion reads otherwise is not taken.
func FuzzParse(f *testing.F) {
	for _, seed := range []rtp.Packet{
		{Header: rtp.Header{Version: 2, PayloadType: 96}, Payload: []byte{1, 2, 3}},
		{Header: rtp.Header{Version: 2, Padding: true, CSRC: []uint32{1}}, Payload: []byte{1}, PaddingSize: 4},
		{Header: rtp.Header{Version: 2, Extension: true, ExtensionProfile: rtp.ExtensionProfileTwoByte}},
	} {
		data, err := seed.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var header rtp.Header
		got, ok := parse(&header, data)
		if !ok {
			return
		}
		if len(got.Payload) > len(data) || cap(got.Payload) != len(got.Payload) {
			t.Fatalf("payload of %d bytes, capacity %d, in %d", len(got.Payload), cap(got.Payload), len(data))
		}
		var want rtp.Packet
		if err := want.Unmarshal(data); err != nil {
			t.Fatalf("taken although %v", err)
		}
		if string(want.Payload) != string(got.Payload) || want.SequenceNumber != got.Sequence || want.Timestamp != got.Timestamp || want.Marker != got.Marker {
			t.Fatalf("got %+v, Pion reads %+v", got, want)
		}
	})
}
