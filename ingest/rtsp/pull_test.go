package rtsp

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	egress "github.com/whipcast/whipcast/egress/rtsp"
	"github.com/whipcast/whipcast/internal/problem"
	"github.com/whipcast/whipcast/internal/rtsp"
	"github.com/whipcast/whipcast/internal/watch"
	"github.com/whipcast/whipcast/stream"
)

// server is an RTSP server with one stream, "door".
type server struct {
	port int
	stop func()
}

// serve plays H264 and AAC, 50 times a second, at a port; 0: any.
func serve(t *testing.T, port int) *server {
	t.Helper()
	hub := stream.NewHub(stream.Config{})
	only := func(r *http.Request, _ string) (rtsp.Caller, error) {
		if r.Header.Get("Authorization") == "Bearer s3cret" {
			return rtsp.Caller{Principal: "viewer"}, nil
		}
		return rtsp.Caller{}, problem.Problem{Status: http.StatusUnauthorized, Title: "token needed", Detail: "send one"}
	}
	s, err := rtsp.New(t.Context(), rtsp.Config{Address: fmt.Sprintf("127.0.0.1:%d", port), Watch: only, Passwords: []string{"s3cret"}},
		New(Config{}, hub), egress.New(egress.Config{}, hub))
	if err != nil {
		t.Fatal(err)
	}
	source, err := hub.Stream("door")
	if err != nil {
		t.Fatal(err)
	}
	video, audio := stream.LayerID{Kind: stream.Video}, stream.LayerID{Kind: stream.Audio}
	x, err := source.Publish(stream.Offer{Layers: []stream.Layer{
		{ID: video, Codec: stream.Codec{Name: "H264", ClockRate: 90000, Fmtp: "packetization-mode=1"}},
		{ID: audio, Codec: stream.Codec{Name: "AAC", ClockRate: 44100, Channels: 2, Fmtp: "config=1210;sizelength=13;indexlength=3;indexdeltalength=3"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	all.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			p := stream.Packet{Arrival: time.Now(), Sequence: uint16(n), Timestamp: uint32(n * 1800), Marker: true, Payload: []byte{0x65, byte(n)}}
			x.Write(video, p)
			p.Timestamp, p.Payload = uint32(n*1024), []byte{0, 16, 0, 8, byte(n)}
			x.Write(audio, p)
			time.Sleep(20 * time.Millisecond)
		}
	})
	stop := sync.OnceFunc(func() {
		cancel()
		all.Wait()
	})
	t.Cleanup(stop)
	return &server{port: s.Port(), stop: stop}
}

// wish is a Demand that the test decides on.
type wish struct{ is watch.Value[bool] }

func (w *wish) Await(ctx context.Context, _ string) error {
	_, err := w.is.Wait(ctx, func(is bool) bool { return is })
	return err
}

func (w *wish) Wanted(string) bool { return w.is.Get() }

// fetch runs a Puller of one Source until the test's end.
func fetch(t *testing.T, s Source, d Demand) (*Puller, *stream.Hub) {
	t.Helper()
	hub := stream.NewHub(stream.Config{})
	s.Stream, s.Trusted = "copy", true
	p, err := NewPuller([]Source{s}, hub, d, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = p.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return p, hub
}

// until waits for a state of the source, and for so many publishers of its stream.
func until(t *testing.T, p *Puller, hub *stream.Hub, state State, publishers int) Status {
	t.Helper()
	var now Status
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		now = p.Status()[0]
		s, ok := hub.Lookup("copy")
		live := 0
		if ok && s.State().Live {
			live = 1
		}
		if now.State == state && live == publishers {
			return now
		}
	}
	t.Fatalf("not within 30 s: %s, %d publishers; it is %+v", state, publishers, now)
	return now
}

// TestPull: a source is fetched over each transport, its packets arrive, and when
// its server is gone for a while it is tried until it is back.
func TestPull(t *testing.T) {
	for _, transport := range []string{"tcp", "udp", "auto"} {
		t.Run(transport, func(t *testing.T) {
			first := serve(t, 0)
			p, hub := fetch(t, Source{URL: fmt.Sprintf("rtsp://any:s3cret@127.0.0.1:%d/door", first.port), Transport: transport}, nil)
			until(t, p, hub, Fetching, 1)
			s, _ := hub.Lookup("copy")
			sub, err := s.Subscribe(stream.LayerID{Kind: stream.Audio})
			if err != nil {
				t.Fatal(err)
			}
			defer sub.Close()
			packets := make([]stream.Packet, 1)
			for range 5 {
				if _, err := sub.Read(t.Context(), packets); err != nil || len(packets[0].Payload) != 5 {
					t.Fatalf("%v %+v", err, packets[0])
				}
			}
			if transport != "tcp" {
				return // a server of UDP that is gone is noticed after 10 s
			}
			first.stop()
			if now := until(t, p, hub, Failing, 0); now.Failed == 0 || now.Error == "" || strings.Contains(now.Error, "s3cret") {
				t.Errorf("a server that is gone: %+v", now)
			}
			again := serve(t, first.port)
			if now := until(t, p, hub, Fetching, 1); now.Error != "" {
				t.Errorf("a server that is back: %+v", now)
			}
			if s.State().Epoch < 2 {
				t.Error("the return is no new Epoch")
			}
			again.stop()
		})
	}
}

// TestPullOnDemand: a source is fetched while it is wanted only.
func TestPullOnDemand(t *testing.T) {
	s := serve(t, 0)
	var w wish
	p, hub := fetch(t, Source{URL: fmt.Sprintf("rtsp://127.0.0.1:%d/door?token=s3cret", s.port), Transport: "tcp", OnDemand: true}, &w)
	for range 2 {
		until(t, p, hub, Waiting, 0)
		w.is.Set(true)
		until(t, p, hub, Fetching, 1)
		w.is.Set(false)
	}
	until(t, p, hub, Waiting, 0)
}

// TestPullFails: why a source cannot be fetched is told, and it does not take a
// stream from its publisher.
func TestPullFails(t *testing.T) {
	s := serve(t, 0)
	for path, want := range map[string]string{"nowhere?token=s3cret": "404", "door?token=wr0ng": "401"} {
		p, hub := fetch(t, Source{URL: fmt.Sprintf("rtsp://127.0.0.1:%d/%s", s.port, path), Transport: "tcp"}, nil)
		if now := until(t, p, hub, Failing, 0); !strings.Contains(now.Error, want) || strings.Contains(now.Error, "wr0ng") {
			t.Errorf("%s: %+v", path, now)
		}
	}
	var w wish
	p, hub := fetch(t, Source{URL: fmt.Sprintf("rtsp://127.0.0.1:%d/door?token=s3cret", s.port), Transport: "tcp", OnDemand: true}, &w)
	other, err := hub.Stream("copy")
	if err != nil {
		t.Fatal(err)
	}
	x, err := other.Publish(stream.Offer{Principal: "owner", Layers: []stream.Layer{{ID: stream.LayerID{Kind: stream.Video}, Codec: stream.Codec{Name: "H264", ClockRate: 90000}}}})
	if err != nil {
		t.Fatal(err)
	}
	w.is.Set(true)
	if now := until(t, p, hub, Failing, 1); !strings.Contains(now.Error, "another publisher") || x.Err() != nil {
		t.Errorf("a stream that is published: %+v, %v", now, x.Err())
	}
}

// TestSetAndRemove: sources come and go while others are fetched.
func TestSetAndRemove(t *testing.T) {
	first, second := serve(t, 0), serve(t, 0)
	at := func(s *server) Source {
		return Source{Stream: "copy", Trusted: true, Transport: "tcp", URL: fmt.Sprintf("rtsp://any:s3cret@127.0.0.1:%d/door", s.port)}
	}
	p, hub := fetch(t, at(first), nil)
	until(t, p, hub, Fetching, 1)
	s, _ := hub.Lookup("copy")
	epoch := s.State().Epoch
	if err := p.Set(at(second)); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); s.State().Epoch == epoch && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
	}
	until(t, p, hub, Fetching, 1)
	if len(p.Status()) != 1 || s.State().Epoch == epoch {
		t.Errorf("the other server is not asked: %+v", p.Status())
	}
	first.stop() // is nobody's any more
	other := at(second)
	other.Stream, other.URL = "other", "rtsp://any:s3cret@127.0.0.1:1/door"
	if err := p.Set(other); err != nil {
		t.Fatal(err)
	}
	if p.Remove("nobody") || !p.Remove("copy") || p.Remove("copy") {
		t.Error("Remove does not say what there was")
	}
	for deadline := time.Now().Add(30 * time.Second); s.State().Live && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
	}
	if s.State().Live || len(p.Status()) != 1 || p.Status()[0].Stream != "other" {
		t.Errorf("after the removal: live %t, %+v", s.State().Live, p.Status())
	}
	for _, url := range []string{"", "http://camera/x", "rtsp://", "rtsp://me:s3cret@/x", "camera", "rtsp://[::1"} {
		if err := p.Set(Source{Stream: "copy", URL: url}); err == nil || strings.Contains(err.Error(), "s3cret") || CheckURL(url) == nil {
			t.Errorf("%q: %v", url, err)
		}
	}
}
