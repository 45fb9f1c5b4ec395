package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/whipcast/whipcast/internal/testsource"
)

// arrived returns how many packets of each video layer have arrived, and the
// layers' RIDs in the API's order. Both are empty while there is no such stream.
func (g *gateway) arrived(t *testing.T, stream string) (packets map[string]uint64, rids []string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.url("/v1/streams/"+stream), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var state struct {
		Layers []struct {
			Kind, RID string
			Packets   uint64
		}
	}
	if err := json.NewDecoder(response.Body).Decode(&state); err != nil {
		t.Fatal(err)
	}
	packets = map[string]uint64{}
	for _, layer := range state.Layers {
		if layer.Kind == "video" {
			packets[layer.RID] = layer.Packets
			rids = append(rids, layer.RID)
		}
	}
	return packets, rids
}

// TestSimulcastProgram: what whipcast publish --simulcast sends arrives in full,
// the best layer first.
func TestSimulcastProgram(t *testing.T) {
	g := serve(t)
	launch(t, nil, plainBinary, "publish", "--url", g.url("/whip/three"), "--token", token, "--simulcast")
	want := []string{"0", "1", "2"}
	until(t, 20*time.Second, "three layers that go on", func() bool {
		packets, rids := g.arrived(t, "three")
		return slices.Equal(rids, want) && packets["0"] > packets["1"] && packets["1"] > packets["2"] && packets["2"] > 60
	})
}

// TestSimulcastLayersComeAndGo: R43, W82 a layer that begins late and one that
// vanishes and comes back disturb neither the session nor the other layers.
func TestSimulcastLayersComeAndGo(t *testing.T) {
	g := serve(t)
	var silent [3]atomic.Bool // of f, h and q
	silent[0].Store(true)
	ctx, cancel := context.WithCancel(t.Context())
	var source sync.WaitGroup
	source.Go(func() {
		err := testsource.Run(ctx, testsource.Config{
			URL: g.url("/whip/three"), Token: token,
			Simulcast: &testsource.Simulcast{
				Style:  testsource.Browser,
				Silent: func(layer int, _ time.Duration) bool { return silent[layer].Load() },
			},
		})
		if err != nil {
			t.Error(err)
		}
	})
	defer source.Wait()
	defer cancel()

	// go on waits until a second and more of the layers have arrived, and returns
	// the totals.
	goOn := func(what string, moving ...string) map[string]uint64 {
		t.Helper()
		before, _ := g.arrived(t, "three")
		var now map[string]uint64
		until(t, 20*time.Second, what, func() bool {
			now, _ = g.arrived(t, "three")
			return !slices.ContainsFunc(moving, func(rid string) bool { return now[rid] < before[rid]+40 })
		})
		return now
	}
	if at := goOn("two layers", "h", "q"); at["f"] != 0 {
		t.Errorf("layer f has %d packets before it begins", at["f"])
	}
	silent[0].Store(false)
	goOn("three layers", "f", "h", "q")
	silent[1].Store(true)
	before := goOn("two layers after the third is silent", "f", "q")
	if after := goOn("two layers beside a silent one", "f", "q"); after["h"] != before["h"] {
		t.Errorf("layer h has %d packets, then %d while it is silent", before["h"], after["h"])
	}
	silent[1].Store(false)
	goOn("three layers again", "f", "h", "q")
	if _, rids := g.arrived(t, "three"); !slices.Equal(rids, []string{"f", "h", "q"}) {
		t.Errorf("layers %q, want the best one first", rids)
	}
}
