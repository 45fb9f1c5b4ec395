package whep

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/whipcast/whipcast/internal/problem"
	"github.com/whipcast/whipcast/internal/rtc"
	"github.com/whipcast/whipcast/stream"
)

func code(err error) int {
	if err == nil {
		return http.StatusOK
	}
	p, ok := errors.AsType[problem.Problem](err)
	if !ok {
		return -1
	}
	return p.Status
}

// TestChoice: E36, E37 what can be done is 200, what cannot be done 4xx, and what is not
// known is ignored.
func TestChoice(t *testing.T) {
	sections := []rtc.Section{{MID: "a", Kind: rtc.Audio}, {MID: "v", Kind: rtc.Video}}
	layers := []Layer{{RID: "f"}, {RID: "h"}, {RID: "q"}}
	for _, tt := range []struct {
		body string
		want int
		is   Choice
	}{
		{`{}`, 200, Choice{}},
		{`{"mediaId":"1","rid":"h"}`, 200, Choice{MediaID: "1", RID: "h"}},
		{`{"mediaId":1,"rid":"h"}`, 200, Choice{MediaID: "1", RID: "h"}},
		{`{"mediaId":"v","encodingId":"q"}`, 200, Choice{MediaID: "v", RID: "q"}},
		{`{"rid":null,"maxWidth":640,"maxHeight":360,"maxSpatialLayerId":0,"maxTemporalLayerId":3}`, 200, Choice{MaxWidth: 640, MaxHeight: 360}},
		{`{"spatialLayerId":0,"temporalLayerId":0,"new":[1,{}]}`, 200, Choice{}},
		{`{"rid":"x"}`, 404, Choice{RID: "x"}},
		{`{"spatialLayerId":1}`, 404, Choice{}},
		{`{"temporalLayerId":2}`, 404, Choice{}},
		{`{"mediaId":"2"}`, 404, Choice{MediaID: "2"}},
		{`{"mediaId":"x"}`, 404, Choice{MediaID: "x"}},
		{`{"mediaId":"0"}`, 422, Choice{MediaID: "0"}},
		{`{"maxWidth":0}`, 422, Choice{}},
		{`{"maxHeight":-1}`, 422, Choice{}},
		{`{"maxWidth":70000}`, 422, Choice{}},
		{`{"spatialLayerId":-1}`, 422, Choice{}},
		{`{"maxTemporalLayerId":-1}`, 422, Choice{}},
		{`{"maxWidth":1.5}`, 400, Choice{}},
		{`{"rid":7}`, 400, Choice{}},
		{`["h"]`, 400, Choice{}},
		{`null`, 400, Choice{}},
		{`h`, 400, Choice{}},
		{``, 400, Choice{}},
	} {
		c, err := ParseChoice([]byte(tt.body))
		if err == nil {
			err = c.check(sections, layers)
		}
		if code(err) != tt.want {
			t.Errorf("%s: %v, want %d", tt.body, err, tt.want)
		}
		c.spatial, c.temporal = 0, 0
		if tt.want != 400 && tt.want != 422 && c != tt.is {
			t.Errorf("%s is read as %+v, want %+v", tt.body, c, tt.is)
		}
	}
	if err := (Choice{}).check(sections[:1], layers); code(err) != http.StatusNotFound {
		t.Errorf("a choice of layers of a session without video: %v", err)
	}
}

func TestChoiceAllows(t *testing.T) {
	layers := []Layer{{RID: "f", Width: 1280, Height: 720}, {RID: "h", Width: 640, Height: 360}, {RID: "q", Width: 320, Height: 180}}
	upright := []Layer{{RID: "f", Width: 720, Height: 1280}, {RID: "h"}}
	for _, tt := range []struct {
		choice Choice
		of     []Layer
		want   string
	}{
		{Choice{}, layers, "fhq"},
		{Choice{RID: "h"}, layers, "h"},
		{Choice{RID: "q", MaxWidth: 1}, layers, "q"},
		{Choice{RID: "gone"}, layers, "fhq"},
		{Choice{RID: "gone", MaxWidth: 640}, layers, "hq"},
		{Choice{MaxWidth: 1279}, layers, "hq"},
		{Choice{MaxWidth: 1280, MaxHeight: 359}, layers, "q"},
		{Choice{MaxHeight: 1}, layers, "q"},
		{Choice{MaxHeight: 720}, upright, "h"}, // what is not known may be within
		{Choice{RID: "h"}, nil, ""},
		{Choice{}, nil, ""},
	} {
		got := ""
		for _, l := range tt.choice.Allows(tt.of) {
			got += l.RID
		}
		if got != tt.want {
			t.Errorf("%+v of %v allows %q, want %q", tt.choice, tt.of, got, tt.want)
		}
	}
}

// TestChoiceBoundsTheLadder: E36 what is too large is not sent, whatever the network
// carries; a rid is sent alone, as long as it comes.
func TestChoiceBoundsTheLadder(t *testing.T) {
	s := newStream(t)
	var layers []stream.Layer
	for _, rid := range []string{"f", "h", "q"} {
		layers = append(layers, stream.Layer{ID: stream.LayerID{Kind: stream.Video, RID: rid}, Codec: stream.Codec{Name: "H264", ClockRate: 90000}})
	}
	if _, err := s.Publish(stream.Offer{Layers: layers}); err != nil {
		t.Fatal(err)
	}
	l := ladder{size: func(rid string) (int, int) {
		width := map[string]int{"f": 1280, "h": 640, "q": 320}[rid]
		return width, width * 9 / 16
	}}
	l.follow(s.State().Sources, time.Now(), time.Now())
	for _, tt := range []struct {
		choice Choice
		want   string
	}{
		{Choice{}, "fhq"},
		{Choice{MaxWidth: 640}, "hq"},
		{Choice{MaxHeight: 200}, "q"},
		{Choice{MaxWidth: 1}, "q"},
		{Choice{RID: "h"}, "h"},
		{Choice{RID: "x"}, "fhq"},
		{Choice{RID: "f", MaxWidth: 320}, "f"},
	} {
		var w wish
		w.set(tt.choice)
		got := ""
		for i, r := range l.rates(&w) {
			if r.usable {
				got += l.id(i).RID
			}
		}
		if got != tt.want {
			t.Errorf("%+v leaves %s, want %s", tt.choice, got, tt.want)
		}
	}
}

// The version rises by each Choice, whoever makes it, and reading costs nothing.
func TestWish(t *testing.T) {
	var w wish
	if c, version := w.get(); c != (Choice{}) || version != 0 || !c.Automatic() {
		t.Errorf("before: %+v, version %d", c, version)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 100 {
				w.set(Choice{RID: fmt.Sprint(i)})
			}
		})
	}
	wg.Wait()
	if c, version := w.get(); version != 800 || c.Automatic() {
		t.Errorf("after 800: %+v, version %d", c, version)
	}
	if n := testing.AllocsPerRun(100, func() { w.get() }); n != 0 {
		t.Errorf("get allocates %v times", n)
	}
}

// FuzzChoice: whatever the body is, it is refused with 4xx or gives a Choice within
// its bounds that leaves at least one layer.
func FuzzChoice(f *testing.F) {
	for _, seed := range []string{`{}`, `{"mediaId":1,"rid":"h","maxWidth":640}`, `{"spatialLayerId":0,"maxHeight":1}`, `[]`, `{"rid":`, `{"mediaId":{}}`} {
		f.Add([]byte(seed))
	}
	layers := []Layer{{RID: "h", Width: 640, Height: 360}, {RID: "q"}}
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := ParseChoice(body)
		if err != nil {
			if s := code(err); s != 400 && s != 422 {
				t.Fatalf("%v", err)
			}
			return
		}
		if !json.Valid(body) || c.MaxWidth < 0 || c.MaxWidth > maxSide || c.MaxHeight < 0 || c.MaxHeight > maxSide {
			t.Fatalf("%q is read as %+v", body, c)
		}
		if err := c.check([]rtc.Section{{MID: "0", Kind: rtc.Video}}, layers); err != nil && code(err) != 404 && code(err) != 422 {
			t.Fatalf("%v", err)
		}
		allowed := c.Allows(layers)
		if len(allowed) == 0 || slices.ContainsFunc(allowed, func(l Layer) bool { return !slices.Contains(layers, l) }) {
			t.Fatalf("%+v allows %v", c, allowed)
		}
	})
}
