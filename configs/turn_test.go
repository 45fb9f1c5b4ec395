package configs_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	. "github.com/whipcast/whipcast/configs"
)

func TestTURN(t *testing.T) {
	got, err := Load("", []string{
		"WHIPCAST_HTTP_TLS_CERTIFICATE=c.pem", "WHIPCAST_HTTP_TLS_KEY=k.pem",
		"WHIPCAST_MEDIA_TURN_ADDRESS=:3478", "WHIPCAST_MEDIA_TURN_TLS_ADDRESS=turn.example.org:443",
		`WHIPCAST_MEDIA_TURN_SERVERS=[{url: "stun:stun.example.org"}, {url: "turn:t.example.org:3478?transport=tcp", secret: "a,b;c"}, {url: "turns:[2001:db8::1]", username: u, credential: p}]`,
	})
	if err != nil {
		t.Fatal(err)
	}
	want := TURN{Address: ":3478", TLSAddress: "turn.example.org:443", Servers: []ICEServer{
		{URL: "stun:stun.example.org"}, {URL: "turn:t.example.org:3478?transport=tcp", Secret: "a,b;c"}, {URL: "turns:[2001:db8::1]", Username: "u", Credential: "p"},
	}}
	if diff := cmp.Diff(want, got.Media.TURN); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for _, c := range []struct {
		setting, cause string
	}{
		{"SERVERS=[{url: 'http://x', secret: SECRET}]", "url: not one of a STUN or TURN server"},
		{"SERVERS=[{url: 'turn:x', secret: SECRET}, {url: 'turn:x', secret: SECRET}]", "another entry has it"},
		{"SERVERS=[{url: 'turn:x>,<y', secret: SECRET}]", "url: not one of a STUN or TURN server"},
		{"SERVERS=[{url: 'turn:x'}]", "without credentials"},
		{"SERVERS=[{url: 'turn:x', username: u}]", "without credentials"},
		{"SERVERS=[{url: 'turn:x', username: u, credential: SECRET, secret: SECRET}]", "both secret and"},
		{"SERVERS=[{url: 'stun:x', secret: SECRET}]", "STUN server with credentials"},
		{"SERVERS=[{url: 'turn:x', username: 'a;b', credential: SECRET}]", "that encoders cannot take"}, // specs W72
		{"SERVERS=[{url: 'turn:x', username: u, credential: 'SECRET,'}]", "that encoders cannot take"},
		{"SERVERS=[{url: 'turn:x', password: SECRET}]", `unknown key "password"`},
		{"ADDRESS=:8100", "media.address has the same port"},
		{"ADDRESS=3478", "not an address"},
		{"TLS_ADDRESS=:443", "http.tls.certificate is not set"},
	} {
		_, err := Load("", []string{"WHIPCAST_MEDIA_TURN_" + c.setting})
		if err == nil || !strings.Contains(err.Error(), c.cause) || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: %v, want one with %q and no secret", c.setting, err, c.cause)
		}
	}
	if _, err := Load("", []string{"WHIPCAST_RTSP_ADDRESS=:8554", "WHIPCAST_MEDIA_TURN_ADDRESS=:8555"}); err == nil || !strings.Contains(err.Error(), "media.turn.address") {
		t.Errorf("a UDP port of RTSP: %v", err)
	}
}
