package main

import (
	"bufio"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/whipcast/whipcast/internal/rtc/rtctest"
)

// TestGuestsAreTold: a viewer of a real gateway learns by events what is live and how
// big it is, gets what the API says by its data channel, and is sent elsewhere when the
// gateway drains and the publisher has left it.
func TestGuestsAreTold(t *testing.T) {
	gateway := start(t, settings(t, "WHIPCAST_AUTH_PUBLISH_TOKEN="+token), "serve")
	base := strings.TrimSuffix(gateway.out.waitFor(t, "Home"), "/")
	c := client(t, nil)
	publisher := start(t, nil, "publish", "--url", base+"/whip/test", "--token", token)
	playlistURL(t, c, base, "test")

	said := make(chan string, 16)
	opened := make(chan struct{})
	guest := rtctest.New(t, rtctest.Options{}, func(pc *webrtc.PeerConnection) error {
		channel, err := pc.CreateDataChannel("score", nil)
		if err != nil {
			return err
		}
		channel.OnOpen(func() { close(opened) })
		channel.OnMessage(func(m webrtc.DataChannelMessage) { said <- string(m.Data) })
		_, err = pc.AddTransceiverFromKind(webrtc.RTPCodecTypeVideo, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly})
		return err
	})
	guest.Connect(t, base+"/whep/test")
	rtctest.Wait(t, opened, "data channel")

	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, guest.URL+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/event-stream")
	events, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer events.Body.Close()
	var text string
	size := regexp.MustCompile(`"bitrate":[1-9][0-9]+,"width":[1-9][0-9]+,"height":[1-9]`)
	lines := bufio.NewScanner(events.Body)
	until := func(there func() bool) {
		t.Helper()
		for !there() {
			if !lines.Scan() {
				t.Fatalf("the events end: %v\n%s", lines.Err(), text)
			}
			text += lines.Text() + "\n"
		}
	}
	until(func() bool { return size.MatchString(text) })
	if !strings.Contains(text, "event: active\ndata: {}\n\n") {
		t.Errorf("events:\n%s", text)
	}

	tell := func(path, body string) {
		t.Helper()
		post, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		post.Header.Set("Authorization", "Bearer "+token)
		post.Header.Set("Content-Type", "application/json")
		answer, err := c.Do(post)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode >= 300 {
			t.Fatalf("POST %s: %s", path, answer.Status)
		}
	}
	deadline := time.After(20 * time.Second)
	for heard := false; !heard; { // the channel is open here before it is there
		tell("/v1/streams/test/messages", `{"label":"score","text":"{\"home\": 1}"}`)
		select {
		case m := <-said:
			if heard = true; m != `{"home": 1}` {
				t.Errorf("the guest hears %q", m)
			}
		case <-time.After(500 * time.Millisecond):
		case <-deadline:
			t.Fatal("the guest hears nothing")
		}
	}

	tell("/v1/drain", `{"to":"https://b.example.org","deadline":60}`)
	if _, err := publisher.stop(); err != nil {
		t.Fatal(err)
	}
	until(func() bool {
		return strings.Contains(text, "event: inactive\ndata: {}\n\nevent: reconnect\ndata: {\"url\":\"https://b.example.org/whep/test\"}\n\n")
	})
	for lines.Scan() { // until the gateway has ended, and with it the events
	}
}
