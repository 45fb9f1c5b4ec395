package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/whipcast/whipcast/storage/memory"
	"github.com/whipcast/whipcast/stream"
)

// TestFetchedOnDemand: one gateway fetches the stream of another by RTSP when
// somebody asks for it, and says how its sources do; no password is ever told.
func TestFetchedOnDemand(t *testing.T) {
	camera := start(t, settings(t, "WHIPCAST_AUTH_PUBLISH_TOKEN="+token, "WHIPCAST_RTSP_ADDRESS=127.0.0.1:0", "WHIPCAST_AUTH_WATCH=token"), "serve")
	base := strings.TrimSuffix(camera.out.waitFor(t, "Home"), "/")
	address := strings.TrimSuffix(strings.TrimPrefix(camera.out.waitFor(t, "RTSP"), "rtsp://"), "/NAME")
	c := client(t, nil)
	eventually(t, c, base+"/readyz", func(r reply) bool { return r.status == http.StatusOK })
	publisher := start(t, nil, "publish", "--url", base+"/whip/door", "--token", token)
	eventually(t, c, base+"/v1/streams/door", func(r reply) bool { return r.status == http.StatusOK && strings.Contains(r.body, `"live":true`) })

	gateway := start(t, settings(t, "WHIPCAST_AUTH_PUBLISH_TOKEN="+token,
		"WHIPCAST_RTSP_PULL=[{stream: door, url: 'rtsp://any:"+token+"@"+address+"/door', on_demand: true, transport: tcp}, {stream: gone, url: 'rtsp://any:hunter2hunter2@127.0.0.1:1/x'}]"), "serve")
	here := strings.TrimSuffix(gateway.out.waitFor(t, "Home"), "/")
	admin := strings.TrimSuffix(gateway.out.waitFor(t, "Metrics"), "/metrics")
	eventually(t, c, here+"/v1/sources", func(r reply) bool {
		return strings.Contains(r.body, `"stream":"door","state":"waiting"`) && strings.Contains(r.body, "connection refused")
	})
	if r := get(t.Context(), c, here+"/v1/streams/door", token); r.status != http.StatusNotFound {
		t.Errorf("the stream is there before anybody asked: %+v", r)
	}
	if r := get(t.Context(), c, here+"/hls/door/index.m3u8", ""); r.status != http.StatusOK || !strings.Contains(r.body, "avc1") {
		t.Errorf("the first viewer gets %+v", r)
	}
	if r := get(t.Context(), c, here+"/v1/sources", token); !strings.Contains(r.body, `"stream":"door","state":"fetching"`) || strings.Contains(r.body, "hunter2") {
		t.Errorf("sources: %s", r.body)
	}
	metrics := get(t.Context(), c, admin+"/metrics", "").body
	for _, want := range []string{`whipcast_rtsp_sources{state="fetching"} 1`, `whipcast_rtsp_sources{state="waiting"} 0`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %s", want)
		}
	}
	if metrics := get(t.Context(), c, strings.TrimSuffix(camera.out.waitFor(t, "Metrics"), "/metrics")+"/metrics", "").body; !strings.Contains(metrics, "whipcast_rtsp_viewers 1") {
		t.Error("the server does not count its viewer")
	}
	// Who plays by RTSP is a session and a viewer, and so is who reads playlists.
	if r := get(t.Context(), c, base+"/v1/sessions?protocol=rtsp", token); !strings.Contains(r.body, `"kind":"watch","protocol":"rtsp","stream":"door","principal":"owner"`) {
		t.Errorf("sessions: %s", r.body)
	}
	if r := get(t.Context(), c, base+"/v1/streams/door", token); !strings.Contains(r.body, `"viewers":{"total":1,"whep":0,"rtsp":1,"hls":0}`) {
		t.Errorf("viewers by RTSP: %s", r.body)
	}
	get(t.Context(), c, playlistURL(t, c, here, "door"), "")
	if r := get(t.Context(), c, here+"/v1/streams/door", token); !strings.Contains(r.body, `"viewers":{"total":1,"whep":0,"rtsp":0,"hls":1}`) {
		t.Errorf("viewers by HLS: %s", r.body)
	}
	for _, e := range []*execution{publisher, gateway, camera} {
		if _, err := e.stop(); err != nil {
			t.Errorf("ended with %v", err)
		}
	}
	if all := gateway.out.String() + gateway.err.String() + camera.err.String(); strings.Contains(all, "hunter2") || strings.Contains(all, "any:") {
		t.Errorf("a password was logged:\n%s", all)
	}
}

// TestRTSPAddressTaken: the key that is wrong is named.
func TestRTSPAddressTaken(t *testing.T) {
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	r := checked(t, settings(t), "--rtsp.address", other.Listener.Addr().String())
	if !strings.Contains(r.out, "failed   rtsp.address         "+other.Listener.Addr().String()+": another program uses this port") {
		t.Errorf("check says:\n%s", r.out)
	}
	r = checked(t, settings(t), "--rtsp.address", "127.0.0.1:0")
	if !strings.Contains(r.out, "ok       rtsp.address         127.0.0.1:0 is free, and its UDP ports, too") {
		t.Errorf("check says:\n%s", r.out)
	}
	e := start(t, settings(t), "serve", "--rtsp.address", other.Listener.Addr().String())
	err := <-e.done
	e.done <- err
	if err == nil || !strings.Contains(err.Error(), "rtsp.address") {
		t.Errorf("serve: %v", err)
	}
}

// TestDemand: a stream is wanted while somebody asks for it or watches it, and some
// time after; requests wait until it is published, and wake no other.
func TestDemand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := stream.NewHub(stream.Config{})
		watching := 0
		d := newDemand(hub, memory.New(memory.Config{}))
		d.set("door", true)
		d.viewers = append(d.viewers, func(string) int { return watching })
		awaited := make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { awaited <- d.Await(ctx, "door") }()
		synctest.Wait()
		if d.touch("yard") || d.Wanted("door") || len(awaited) > 0 {
			t.Error("wanted before anybody asked")
		}
		woken := make(chan struct{})
		go func() {
			defer close(woken)
			d.wake(ctx, "door")
		}()
		synctest.Wait()
		if err := <-awaited; err != nil || !d.Wanted("door") {
			t.Errorf("not wanted: %v", err)
		}
		s, err := hub.Stream("door")
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		select {
		case <-woken:
			t.Error("a request did not wait for the publisher")
		default:
		}
		x, err := s.Publish(stream.Offer{Layers: []stream.Layer{{ID: stream.LayerID{Kind: stream.Video}, Codec: stream.Codec{Name: "H264", ClockRate: 90000}}}})
		if err != nil {
			t.Fatal(err)
		}
		<-woken
		d.wake(ctx, "door") // at once
		time.Sleep(wantedFor)
		if d.Wanted("door") {
			t.Error("wanted long after the last request")
		}
		watching = 1
		if !d.Wanted("door") {
			t.Error("not wanted by who watches in real time")
		}
		watching = 0
		x.Close(nil)
		go func() { awaited <- d.Await(ctx, "door") }()
		synctest.Wait()
		cancel()
		if err := <-awaited; !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
	})
}

// TestDemandNeedsLeave: who may not watch a stream wakes no source.
func TestDemandNeedsLeave(t *testing.T) {
	d := newDemand(stream.NewHub(stream.Config{}), memory.New(memory.Config{}))
	d.set("door", true)
	passed := 0
	handler := d.before(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { passed++ }), "/hls/",
		func(*http.Request, string) error { return errors.New("no") })
	for _, path := range []string{"/hls/door/index.m3u8", "/hls/door/x/video/index.m3u8", "/hls/yard/index.m3u8", "/hls/~token/door/index.m3u8"} {
		handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody))
	}
	if passed != 4 || d.Wanted("door") {
		t.Errorf("%d requests passed, wanted: %v", passed, d.Wanted("door"))
	}
}
