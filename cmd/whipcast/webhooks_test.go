package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/whipcast/whipcast/api/event"
	"github.com/whipcast/whipcast/api/webhook"
	"github.com/whipcast/whipcast/internal/outbound"
	"github.com/whipcast/whipcast/packager/doctor"
)

const hookSecret = "hook-secret-0123456789"

// receiver is a server that is told. It checks signatures by itself, as the
// specification of Standard Webhooks says it.
type receiver struct {
	t  *testing.T
	at *httptest.Server

	mu     sync.Mutex
	closed bool     // it refuses, below mu
	asked  []string // IDs, below mu
	ids    []string // of what was taken, below mu
	taken  []string // types, below mu
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{t: t}
	r.at = httptest.NewServer(r)
	t.Cleanup(r.at.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	id, at := q.Header.Get("webhook-id"), q.Header.Get("webhook-timestamp")
	mac := hmac.New(sha256.New, []byte(hookSecret))
	_, _ = io.WriteString(mac, id+"."+at+"."+string(body))
	var said struct{ Type, Stream, Timestamp string }
	if err == nil {
		err = json.Unmarshal(body, &said)
	}
	if err != nil || q.Header.Get("webhook-signature") != "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)) || said.Stream != "test" {
		r.t.Errorf("%v with %s: %v", q.Header, body, err)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, id)
	if r.closed {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	r.taken, r.ids = append(r.taken, said.Type), append(r.ids, id)
}

func (r *receiver) set(closed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = closed
}

func (r *receiver) calls() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.asked)
}

func (r *receiver) list() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.taken, " ")
}

func (r *receiver) waitFor(want string) {
	r.t.Helper()
	waitUntil(r.t, func() bool { return r.list() == want }, func() string { return "took " + r.list() + ", want " + want })
}

func waitUntil(t *testing.T, ok func() bool, words func() string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in 30 s: %s", words())
		}
	}
}

// TestWebhooks: a real publisher's stream is told of, in order and signed, over a
// restart of the gateway and while the receiver was away.
func TestWebhooks(t *testing.T) {
	r := newReceiver(t)
	r.set(true)
	environ := settings(t, "WHIPCAST_AUTH_PUBLISH_TOKEN="+token, "WHIPCAST_HLS_GRACE=1s", "WHIPCAST_HLS_SEGMENT=1s", "WHIPCAST_HLS_PART=200ms", "WHIPCAST_HLS_WINDOW=3s",
		`WHIPCAST_WEBHOOKS=[{url: "`+r.at.URL+`/in?key=hunter2", secret: `+hookSecret+`, events: [stream.started, stream.stopped, stream.ended]}]`)
	first := start(t, environ, "serve")
	base := strings.TrimSuffix(first.out.waitFor(t, "Home"), "/")
	admin := strings.TrimSuffix(first.out.waitFor(t, "Metrics"), "/metrics")
	publisher := start(t, nil, "publish", "--url", base+"/whip/test", "--token", token)
	waitUntil(t, func() bool { return r.calls() > 0 }, func() string { return "nothing is told" })
	c := client(t, nil)
	eventually(t, c, admin+"/readyz", func(r reply) bool {
		return strings.Contains(r.body, "webhook-1: failing, 1 events wait") && strings.Contains(r.body, "status 503, where 2xx is an answer")
	})
	eventually(t, c, admin+"/metrics", func(r reply) bool {
		return strings.Contains(r.body, `whipcast_webhook_up{webhook="webhook-1"} 0`) && strings.Contains(r.body, `whipcast_webhook_waiting_events{webhook="webhook-1"} 1`)
	})
	if _, err := first.stop(); err != nil {
		t.Error(err)
	}
	if _, err := publisher.stop(); err != nil {
		t.Error(err)
	}

	r.set(false)
	second := start(t, environ, "serve")
	base = strings.TrimSuffix(second.out.waitFor(t, "Home"), "/")
	r.waitFor("stream.started stream.stopped stream.ended")
	if r.asked[0] != r.ids[0] {
		t.Errorf("sent as %s, then as %s", r.asked[0], r.ids[0])
	}
	publisher = start(t, nil, "publish", "--url", base+"/whip/test", "--token", token)
	r.waitFor("stream.started stream.stopped stream.ended stream.started")
	if _, err := publisher.stop(); err != nil {
		t.Error(err)
	}
	r.waitFor("stream.started stream.stopped stream.ended stream.started stream.stopped stream.ended")
	if took, err := second.stop(); err != nil || took > 5*time.Second {
		t.Errorf("stopped with %v after %v", err, took)
	}
	for _, each := range []*execution{first, second} {
		if text := each.err.String() + each.out.String(); strings.Contains(text, "hunter2") || strings.Contains(text, hookSecret) {
			t.Errorf("a secret was written (X4):\n%s", text)
		}
	}
}

// TestUselessWebhook: what cannot be told of is an error of the configuration.
func TestUselessWebhook(t *testing.T) {
	err := run(t.Context(), []string{"serve"}, stdio{out: io.Discard, err: io.Discard},
		settings(t, `WHIPCAST_WEBHOOKS=[{url: "http://169.254.169.254/latest", secret: `+hookSecret+`}]`))
	if err == nil || !strings.HasPrefix(err.Error(), `webhooks = "(not shown)": open webhook-1: its URL leads to a metadata service`) || strings.Contains(err.Error(), "\n") {
		t.Errorf("error %v", err)
	}
}

// TestToldFile: a file that cannot be read is as none.
func TestToldFile(t *testing.T) {
	w := webhooks{folder: t.TempDir(), log: slog.New(slog.DiscardHandler)}
	want := announced{Streams: map[string]streamAnnounced{"show": {Epoch: 3, Live: true, Problems: []string{"video a"}}}}
	if err := w.save(want); err != nil {
		t.Fatal(err)
	}
	if got := w.load(); got.Streams["show"].Epoch != 3 || !got.Streams["show"].Live {
		t.Errorf("%+v", got)
	}
	if _, err := webhook.New(webhook.Config{Folder: w.folder}); err != nil {
		t.Fatal(err)
	}
	if got := w.load(); len(got.Streams) != 1 {
		t.Errorf("the journals' owner took it: %+v", got)
	}
	if err := os.WriteFile(filepath.Join(w.folder, toldFile), []byte(`{"streams":{"show":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := w.load(); len(got.Streams) != 0 {
		t.Errorf("%+v of a file that was cut off", got)
	}
}

// TestWebhooksDocument: the examples of docs/webhooks.md are what is sent, one of each
// type, and its signature is right.
func TestWebhooksDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/webhooks.md")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 5, 4, 18, 30, 0, 0, time.UTC)
	begin := at.Add(-90 * time.Minute)
	content := map[string]any{
		webhook.StreamStarted: publisherNews{Epoch: 1},
		webhook.StreamStopped: publisherNews{1, "ended by DELETE"},
		webhook.StreamEnded:   endNews{begin},
		webhook.StreamDegraded: degradedNews{[]layerFinding{{
			"video:h", doctor.EncoderSlow, "The encoder is too slow.", "Choose a faster preset.",
		}}},
		webhook.StreamRecovered: nil,
		webhook.ReplayReady: replayNews{
			"01jt3w", "s3-1", "https://s3.example.org/media/live/studio/01jt3w/replay.m3u8", begin, at.Add(-time.Minute), 5340,
		},
		webhook.StorageFailing:   storageNews{"s3-1", "down", "connection refused"},
		webhook.StorageRecovered: storageNews{"s3-1", "working", ""},
		webhook.StageChanged:     event.Stage{Change: "settings"},
		webhook.SeatJoined:       event.Seat{Seat: "guest-1", Label: "Bob", Role: "guest", State: "waiting", Before: "invited"},
		webhook.SeatLeft:         event.Seat{Seat: "guest-1", Label: "Bob", Role: "guest", State: "left", Before: "on_air"},
		webhook.SeatState:        event.Seat{Seat: "guest-1", Label: "Bob", Role: "guest", State: "on_air", Before: "backstage", Muted: true},
		webhook.ProgramCut:       event.Cut{Seat: "guest-1"},
	}
	var examples []string
	for block := range strings.SplitSeq(string(text), "```json\n") {
		if example, _, ok := strings.Cut(block, "\n```"); ok && strings.HasPrefix(example, "{") {
			var compact bytes.Buffer
			if err := json.Compact(&compact, []byte(example)); err != nil {
				t.Errorf("%s: %v", example, err)
			}
			examples = append(examples, compact.String())
		}
	}
	for i, kind := range webhook.Types() {
		e := webhook.Event{Type: kind, Stream: "studio", Time: at, Data: content[kind]}
		if strings.HasPrefix(kind, "storage.") {
			e.Stream = ""
		}
		want, err := e.Body()
		if err != nil {
			t.Fatal(err)
		}
		if i >= len(examples) || examples[i] != string(want) {
			t.Errorf("example %d of the document is not\n%s", i+1, want)
		}
		if !strings.Contains(string(text), "| `"+kind+"` |") {
			t.Errorf("%s is not in the table", kind)
		}
	}
	if len(examples) != len(webhook.Types()) {
		t.Errorf("%d examples of %d types", len(examples), len(webhook.Types()))
	}
	h := http.Header{}
	outbound.Sign(h, outbound.Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", []byte(`{"test": 2432232314}`))
	if !strings.Contains(string(text), "webhook-signature: "+h.Get("webhook-signature")) {
		t.Errorf("the signature is %s", h.Get("webhook-signature"))
	}
}
