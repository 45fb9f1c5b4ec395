package main

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/whipcast/whipcast/api"
	"github.com/whipcast/whipcast/api/auth"
	"github.com/whipcast/whipcast/internal/problem"
	"github.com/whipcast/whipcast/stage"
	"github.com/whipcast/whipcast/stream"
)

// openingStages are stages without a gateway around.
func openingStages(t *testing.T) *stages {
	t.Helper()
	folder := t.TempDir()
	s := &stages{hub: stream.NewHub(stream.Config{}), path: filepath.Join(folder, stagesFile), tell: func(stage.News) {}, sweep: func() {}}
	authority, err := auth.New(auth.Config{Token: "abcdefgh12345678", Watch: auth.Open, Stages: s, Folder: auth.Folder(folder)})
	if err != nil {
		t.Fatal(err)
	}
	s.auth = authority
	s.set.Store(stage.New(stage.Config{Mixer: newMixer, Keep: s.save, Tell: s.news}, s.hub, nil))
	return s
}

// TestStageOverLiveStreams: a stream that everybody watches does not become one of a
// seat behind their backs: the stage is refused until it has gone.
func TestStageOverLiveStreams(t *testing.T) {
	s := openingStages(t)
	camera, err := s.hub.Stream("show.cam")
	if err != nil {
		t.Fatal(err)
	}
	for name, code := range map[string]api.Code{"other": "", "sho": "", "show": api.SeatsLive} {
		var refused problem.Problem
		err := s.SetStage(t.Context(), name, api.StageSettings{})
		if errors.As(err, &refused); api.Code(refused.Code) != code || (err == nil) != (code == "") {
			t.Errorf("stage %s: %v", name, err)
		}
	}
	if s.Private("show.cam") {
		t.Error("the stream became private nevertheless")
	}
	if !s.hub.Remove(camera) {
		t.Fatal("the stream cannot be removed")
	}
	if err := s.SetStage(t.Context(), "show", api.StageSettings{}); err != nil {
		t.Error(err)
	}
	// What a seat publishes is no reason to refuse a change of settings.
	if _, err := s.hub.Stream("show.cam"); err != nil {
		t.Fatal(err)
	}
	if err := s.SetStage(t.Context(), "show", api.StageSettings{Hold: 3}); err != nil {
		t.Error(err)
	}
}

// TestInvitationsEnd: a seat that nobody has taken in time cannot be taken any more; who
// has taken one keeps it, over reconnects too, though the invitation is over.
func TestInvitationsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openingStages(t)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = s.run(ctx) })
		defer running.Wait()
		defer cancel()
		if err := s.SetStage(ctx, "show", api.StageSettings{Admit: "auto"}); err != nil {
			t.Fatal(err)
		}
		tokens := map[string]string{}
		for _, name := range []string{"late", "guest"} {
			made, err := s.AddSeat(ctx, "show", api.SeatRequest{Seat: name, Role: "guest", TTL: 3600}, time.Time{})
			if err != nil || !made.Expires.Equal(time.Now().Add(time.Hour).Truncate(time.Second)) {
				t.Fatalf("%v, it expires %v", err, made.Expires)
			}
			tokens[name] = made.Token
		}
		may := func(seat string) bool {
			_, err := s.auth.Decide(ctx, auth.Request{Token: tokens[seat], Action: auth.Publish, Stream: "show." + seat})
			return err == nil
		}
		if !may("late") || !may("guest") {
			t.Fatal("an invitation is good for nothing")
		}
		camera, err := s.hub.Stream("show.guest")
		if err != nil {
			t.Fatal(err)
		}
		sends := func() *stream.Session {
			x, err := camera.Publish(stream.Offer{Principal: "seat:show.guest", Layers: []stream.Layer{
				{ID: stream.LayerID{Kind: stream.Video}, Codec: stream.Codec{Name: "H264", ClockRate: 90000}},
			}})
			if err != nil {
				t.Fatal(err)
			}
			return x
		}
		x := sends()
		defer func() { x.Close(nil) }()
		time.Sleep(time.Hour + time.Minute)
		if may("late") || !may("guest") {
			t.Errorf("an hour later the empty seat may be taken: %v, the other kept: %v; want false, true", may("late"), may("guest"))
		}
		if _, err := s.View("show", "late"); err == nil {
			t.Error("who comes too late still sees the stage")
		}
		x.Close(nil)
		time.Sleep(10 * time.Minute)
		if !may("guest") {
			t.Error("a guest that lost its connection cannot come back")
		}
		x = sends()
		time.Sleep(keepSeat)
		if may("guest") {
			t.Error("an invitation is good for ever")
		}
	})
}

// TestUnreadableStages: a file of stages that cannot be read is put aside, as it is, and
// the log says where; the gateway begins without them.
func TestUnreadableStages(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, stagesFile)
	const broken = `[{"name":"show"`
	if err := os.WriteFile(path, []byte(broken), 0o600); err != nil {
		t.Fatal(err)
	}
	gateway := start(t, settings(t, "WHIPCAST_AUTH_PUBLISH_TOKEN="+token, "WHIPCAST_DATA_DIR="+folder), "serve")
	base := strings.TrimSuffix(gateway.out.waitFor(t, "Home"), "/")
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, base+"/v1/stages/other", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	answer, err := client(t, nil).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Errorf("another stage: %s", answer.Status)
	}
	if kept, err := os.ReadFile(path + ".unreadable"); err != nil || string(kept) != broken {
		t.Errorf("%q is kept, %v", kept, err)
	}
	if log := gateway.err.String(); !strings.Contains(log, "put aside") || !strings.Contains(log, path+".unreadable") {
		t.Errorf("the log does not say where: %s", log)
	}
}
