package hls

import (
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func playerRequest(t *testing.T, address, agent, query string) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/hls/show/m1/video/index.m3u8"+query, http.NoBody)
	r.RemoteAddr = address
	r.Header.Set("User-Agent", agent)
	return r
}

// TestAudience: each player counts once, however often and from whatever port it asks;
// those that are gone count no more.
func TestAudience(t *testing.T) {
	a, now := newAudience(), time.Unix(1_800_000_000, 0)
	for round := range 10 {
		for i := range 50 {
			a.saw(playerRequest(t, fmt.Sprintf("192.0.2.%d:%d", i, 1000+round), "VLC", ""), "show", now)
			a.saw(playerRequest(t, fmt.Sprintf("192.0.2.%d:%d", i, 2000+round), "AppleCoreMedia", ""), "show", now)
			// 50 pages behind one address
			a.saw(playerRequest(t, "198.51.100.1:443", "Chrome", fmt.Sprintf("?_HLS_msn=%d&CMCD=bl%%3D100%%2Csid%%3D%%22page-%d%%22", round, i)), "show", now)
		}
		a.saw(playerRequest(t, "[2001:db8::1]:5", "VLC", ""), "other", now)
		now = now.Add(2 * time.Second)
	}
	if n := a.count("show", now); n < 147 || n > 153 {
		t.Errorf("%d players, want about 150", n)
	}
	if n := a.count("other", now); n != 1 {
		t.Errorf("%d players of another stream, want 1", n)
	}
	if n := a.total(now); n < 148 || n > 154 {
		t.Errorf("%d players in all", n)
	}
	if n := a.count("nothing", now); n != 0 {
		t.Errorf("%d players of nothing", n)
	}
	if n := a.count("show", now.Add(15*time.Second)); n < 147 {
		t.Errorf("%d players: they are gone too soon", n)
	}
	if n := a.count("show", now.Add(30*time.Second)); n != 0 {
		t.Errorf("%d players are left of none", n)
	}
	a.saw(playerRequest(t, "192.0.2.1:1", "VLC", ""), "third", now.Add(time.Minute))
	if len(a.streams) != 1 {
		t.Errorf("%d streams are kept, want 1", len(a.streams))
	}
}

// TestAudienceIsBounded: the estimate is good for many, has an end for more, and so
// have the streams.
func TestAudienceIsBounded(t *testing.T) {
	a, now := newAudience(), time.Unix(1_800_000_000, 0)
	r := playerRequest(t, "192.0.2.1:1", "", "")
	for _, n := range []int{1000, 10_000} {
		for i := range n {
			r.RemoteAddr = fmt.Sprintf("10.%d.%d.%d:1", i>>16, i>>8&255, i&255)
			a.saw(r, "show", now)
		}
		if got := a.count("show", now); math.Abs(float64(got-n)) > 0.08*float64(n) {
			t.Errorf("%d players are counted as %d", n, got)
		}
	}
	for i := range 300_000 {
		a.of("show", now.UnixNano()/int64(audienceEra)).add(uint64(i)*0x9e3779b97f4a7c15, now.UnixNano()/int64(audienceEra))
	}
	if got := a.count("show", now); got > 80_000 {
		t.Errorf("%d players", got)
	}
	for i := range audienceStream + 10 {
		a.saw(r, fmt.Sprint(i), now)
	}
	if len(a.streams) != audienceStream {
		t.Errorf("%d streams are kept", len(a.streams))
	}
	a.saw(r, "0", now)
	if n := testing.AllocsPerRun(100, func() { a.saw(r, "0", now) }); n != 0 {
		t.Errorf("%v allocations a request", n)
	}
}
