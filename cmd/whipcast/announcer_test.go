package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/whipcast/whipcast/api/webhook"
	"github.com/whipcast/whipcast/configs"
	"github.com/whipcast/whipcast/packager/doctor"
	"github.com/whipcast/whipcast/replay"
	"github.com/whipcast/whipcast/storage"
)

// TestWebhookEvents: what can be configured is what there is.
func TestWebhookEvents(t *testing.T) {
	if !slices.Equal(configs.HookEvents(), webhook.Types()) {
		t.Errorf("configs has %v, webhook %v", configs.HookEvents(), webhook.Types())
	}
}

// TestAnnouncer is a script of looks at one stream, a second apart: "-" is no stream,
// "idle" one without publisher ever, "live2" one with its second publisher, "off2" one
// whose second publisher has left; "!a,b" adds what is wrong. "restart" begins anew with
// what was told, and 3 s of patience. Behind ":" is what is told.
func TestAnnouncer(t *testing.T) {
	for _, tt := range []struct{ name, script string }{
		{"from begin to end", "-: idle: live1:started live1: off1:stopped off1: -:ended -:"},
		{"the publisher comes back", "live1:started off1:stopped live2:started live2: -:stopped,ended"},
		{"another publisher between two looks", "live1:started live2:stopped,started off4:stopped,started,stopped -:ended"},
		{"came and left between two looks", "idle: off1:started,stopped -:ended"},
		{"viewers only", "idle: idle: -:"},
		{"ended while viewers wait for the next", "live1:started off1:stopped idle:ended idle: live1:started"},
		{"a restart, and the publisher comes back in time", "live3:started restart idle: idle: live1: live1: off1:stopped -:ended"},
		{"a restart, and it comes back in time twice", "live1:started restart idle: live2: off2:stopped"},
		{"a restart, and it was there and left", "live1:started restart idle: off2:stopped,started,stopped -:ended"},
		{"a restart, and nobody comes", "live1:started restart idle: idle: idle:stopped,ended -:"},
		{"a restart without memory of the stream", "live1:started restart -: -: -:stopped,ended -:"},
		{"a restart while nobody publishes", "live1:started off1:stopped restart idle: live1:started off1:stopped -:ended"},
		{"a restart while nobody publishes, and nobody comes", "live1:started off1:stopped restart idle: idle: -:ended"},
		{"two restarts", "live1:started restart idle: restart idle: live1: -:stopped,ended"},
		{"problems", "live1:started live1!a:degraded live1!a: live1!a,b:degraded live1!b: live1:recovered live1!a:degraded"},
		{"problems while nobody is there", "live1:started live1!a:degraded off1:stopped live2!a:started off2:stopped -:ended live1:started"},
		{"problems over a restart", "live1:started live1!a:degraded restart idle: live1:recovered live1!a:degraded restart live1!a: -:stopped,ended"},
	} {
		t.Run(tt.name, func(t *testing.T) { announce(t, tt.script) })
	}
}

func announce(t *testing.T, script string) {
	t.Helper()
	at := time.Unix(1000, 0).UTC()
	a := newAnnouncer(announced{}, at)
	for i, word := range strings.Fields(script) {
		at = at.Add(time.Second)
		if word == "restart" {
			a = restarted(t, a, at.Add(3*time.Second))
			continue
		}
		before := fmt.Sprintf("%+v", a.told)
		state, want, _ := strings.Cut(word, ":")
		var got []string
		for _, e := range a.look(situation{at: at, streams: oneStream(t, state)}) {
			got = append(got, strings.TrimPrefix(e.Type, "stream."))
			if e.Stream != "show" || !e.Time.Equal(at) {
				t.Errorf("event %+v", e)
			}
		}
		if strings.Join(got, ",") != want {
			t.Fatalf("%s\nword %d, %s: told %v", script, i+1, word, got)
		}
		if !a.changed && before != fmt.Sprintf("%+v", a.told) {
			t.Fatalf("%s\nword %d, %s: a change is not kept: %s, then %+v", script, i+1, word, before, a.told)
		}
	}
	if last := strings.Fields(script); strings.HasPrefix(last[len(last)-1], "-") && len(a.told.Streams) != 0 {
		t.Errorf("remembered after the end: %+v", a.told.Streams)
	}
}

// restarted is an announcer of the next start.
func restarted(t *testing.T, a *announcer, until time.Time) *announcer {
	t.Helper()
	text, err := json.Marshal(a.told)
	if err != nil {
		t.Fatal(err)
	}
	var told announced
	if err := json.Unmarshal(text, &told); err != nil {
		t.Fatal(err)
	}
	return newAnnouncer(told, until)
}

func oneStream(t *testing.T, state string) map[string]streamNow {
	t.Helper()
	state, wrong, _ := strings.Cut(state, "!")
	var is streamNow
	switch state {
	case "-":
		return nil
	case "idle":
	default:
		if _, err := fmt.Sscanf(strings.TrimLeft(state, "liveof"), "%d", &is.epoch); err != nil {
			t.Fatal(state, err)
		}
		is.live = strings.HasPrefix(state, "live")
	}
	for code := range strings.SplitSeq(wrong, ",") {
		if code != "" {
			is.findings = append(is.findings, layerFinding{Layer: "video", Code: doctor.Code(code)})
		}
	}
	return map[string]streamNow{"show": is}
}

// TestAnnounceStorage: a place that fails for a moment is nothing; one that fails is
// told once, and once that it works, when something has really got through.
func TestAnnounceStorage(t *testing.T) {
	at := time.Unix(1000, 0)
	a := newAnnouncer(announced{}, at)
	down := func(d time.Duration) placeNow {
		return placeNow{storage.Health{State: storage.Down, Failing: d, Error: "gone"}, true}
	}
	for i, step := range []struct {
		restart bool
		is      placeNow
		want    string
	}{
		{false, placeNow{storage.Health{State: storage.Working}, false}, ""},
		{false, down(time.Second), ""},
		{false, placeNow{storage.Health{State: storage.Working}, true}, ""},
		{false, down(9 * time.Second), ""},
		{false, down(10 * time.Second), "storage.failing down gone"},
		{false, down(time.Hour), ""},
		{false, placeNow{storage.Health{State: storage.Behind}, true}, "storage.recovered behind "},
		{false, placeNow{storage.Health{State: storage.Refused, Error: "key"}, true}, "storage.failing refused key"},
		{true, placeNow{storage.Health{State: storage.Working}, false}, ""},
		{false, down(time.Minute), ""},
		{false, placeNow{storage.Health{State: storage.Working}, true}, "storage.recovered working "},
		{false, down(time.Minute), "storage.failing down gone"},
	} {
		if step.restart {
			a = restarted(t, a, at)
		}
		got := ""
		for _, e := range a.look(situation{at: at, storage: map[string]placeNow{"s3-1": step.is}}) {
			news := e.Data.(storageNews)
			got += e.Type + " " + news.State + " " + news.Error
			if news.Storage != "s3-1" || e.Stream != "" {
				t.Errorf("step %d: %+v", i, e)
			}
		}
		if got != step.want {
			t.Errorf("step %d: told %q, want %q", i, got, step.want)
		}
	}
	if a.look(situation{at: at}); len(a.told.Storage) != 0 || !a.changed {
		t.Error("a place that is not configured any more is remembered")
	}
}

// TestAnnounceReplays: each replay of a stream that has ended is told once for each
// place, also when it is ready long after, or after a restart; old ones are not.
func TestAnnounceReplays(t *testing.T) {
	at := time.Unix(100_000, 0).UTC()
	var ready []replay.Replay
	looked := 0
	look := func(a *announcer, streams map[string]streamNow) string {
		at = at.Add(time.Minute)
		var got []string
		for _, e := range a.look(situation{at: at, streams: streams, replays: func(string) []replay.Replay { looked++; return ready }}) {
			if news, ok := e.Data.(replayNews); ok {
				got = append(got, news.Presentation+"@"+news.Storage)
			}
		}
		return strings.Join(got, " ")
	}
	a := newAnnouncer(announced{}, at)
	old := replay.Replay{Presentation: "old", Place: "s3-1", End: at.Add(-time.Hour)}
	ready = []replay.Replay{old}
	look(a, oneStream(t, "live1"))
	look(a, oneStream(t, "off1"))
	if got := look(a, nil); got != "" || looked != 1 {
		t.Errorf("told %q after %d looks", got, looked)
	}
	first := replay.Replay{Presentation: "new", Place: "s3-1", End: at}
	ready = append(ready, first)
	if got := look(a, nil) + look(a, nil); got != "new@s3-1" {
		t.Errorf("told %q", got)
	}
	a = restarted(t, a, at)
	second := first
	second.Place = "directory-2"
	ready = append(ready, second)
	if got := look(a, nil) + look(a, nil); got != "new@directory-2" {
		t.Errorf("told %q", got)
	}
	at = at.Add(replayWithin)
	if look(a, nil); len(a.told.Awaited) != 0 {
		t.Errorf("still looked for: %+v", a.told.Awaited)
	}
}
