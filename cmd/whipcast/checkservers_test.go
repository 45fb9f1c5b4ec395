package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// TestCheckServers: check fetches the key set, asks the server that decides, and sends
// an event; what is wrong is said, and no secret is.
func TestCheckServers(t *testing.T) {
	var strange atomic.Bool // servers answer in a wrong way
	var asked, told atomic.Pointer[map[string]any]
	read := func(r *http.Request, to *atomic.Pointer[map[string]any]) {
		var body map[string]any
		text, _ := io.ReadAll(r.Body)
		if json.Unmarshal(text, &body) == nil && r.Header.Get("Webhook-Signature") != "" {
			to.Store(&body)
		}
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/keys" && strange.Load():
			http.NotFound(w, r)
		case r.URL.Path == "/keys":
			_, _ = io.WriteString(w, `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","use":"sig","alg":"EdDSA","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`)
		case r.URL.Path == "/decide":
			read(r, &asked)
			if !strange.Load() {
				w.WriteHeader(http.StatusUnauthorized)
			}
		case r.URL.Path == "/hunter2":
			read(r, &told)
			if strange.Load() {
				w.WriteHeader(http.StatusForbidden)
			}
		}
	}))
	defer server.Close()
	const secret = "whsec_aHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMg=="
	look := func() string {
		return checked(t, settings(t,
			"WHIPCAST_AUTH_JWKS={issuer: '"+server.URL+"', audience: whipcast, url: '"+server.URL+"/keys'}",
			"WHIPCAST_AUTH_WEBHOOK={url: '"+server.URL+"/decide', secret: '"+secret+"'}",
			"WHIPCAST_WEBHOOKS=[{url: '"+server.URL+"/hunter2', secret: '"+secret+"'}]",
		)).out
	}
	host := strings.TrimPrefix(server.URL, "http://")
	good, bad := look(), ""
	strange.Store(true)
	bad = look()
	for _, tt := range []struct{ in, want string }{
		{good, "ok       auth.jwks            1 keys of " + host},
		{good, "ok       auth.webhook         " + host + " refuses a token that nobody has made"},
		{good, "ok       webhook-1            " + host + " takes events"},
		{bad, "failed   auth.jwks            " + host + " has no key set"},
		{bad, "warning  auth.webhook         " + host + " lets a token in"},
		{bad, "failed   webhook-1            " + host + " answers with status 403"},
		{bad, "the same secret"},
	} {
		if !strings.Contains(tt.in, tt.want) {
			t.Errorf("no %q in\n%s", tt.want, tt.in)
		}
	}
	if strings.Contains(good+bad, "hunter2") {
		t.Error("a secret is shown")
	}
	question, event := asked.Load(), told.Load()
	if question == nil || (*question)["action"] != "play" || event == nil || (*event)["type"] != "whipcast.check" {
		t.Errorf("asked %v, told %v", question, event)
	}
}
