package configs_test

import (
	"encoding/json"
	"strings"
	"testing"

	. "github.com/whipcast/whipcast/configs"
)

// TestShown: all keys are shown, and no secret.
func TestShown(t *testing.T) {
	hash := "sha256:" + strings.Repeat("5e", 32)
	c, err := Load("", []string{
		"WHIPCAST_AUTH_PUBLISH_TOKEN=SECRET-publish-token",
		`WHIPCAST_AUTH_KEYS=[{name: studio, hash: "` + hash + `", actions: [publish], streams: ["a*"]}]`,
		`WHIPCAST_AUTH_WEBHOOK={url: "https://hook.example.org/x?key=SECRET", secret: "SECRET-of-the-webhook"}`,
		`WHIPCAST_MEDIA_TURN_SERVERS=[{url: "turn:turn.example.org", secret: SECRET-of-turn}, {url: "turns:other.example.org", username: u, credential: SECRET}]`,
		`WHIPCAST_STORAGE=[{type: s3, bucket: b, access_key: SECRET1, secret_key: SECRET2, endpoint: "https://s3.example.org"},` +
			`{type: httpput, url: "https://SECRET:SECRET@put.example.org/live?sig=SECRET", headers: {X-Key: SECRET}}]`,
	})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(c.Shown())
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"SECRET", hash} {
		if strings.Contains(string(text), secret) {
			t.Errorf("%s is shown: %s", secret, text)
		}
	}
	for _, want := range []string{"studio", "hook.example.org", "put.example.org/live", "turn:turn.example.org", `"bucket":"b"`, `"Key":"hls.segment"`, Hidden} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s is not shown: %s", want, text)
		}
	}
	if got, want := len(c.Shown()), len(Keys()); got != want {
		t.Errorf("%d keys, want %d", got, want)
	}
	for _, s := range Default().Shown() {
		if s.Value == Hidden {
			t.Errorf("%s has no value, and is said to be a secret", s.Key)
		}
	}
}
