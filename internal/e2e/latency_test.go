package e2e

import (
	"encoding/json"
	"net/http"
	"testing"
)

// hop is how long one hop of a stream's media takes, as the API tells it.
type hop struct {
	P50, P95 float64 // seconds
	Samples  int
}

// glassToGlass checks that the gateway knows each hop from the camera to the
// screen of a stream that a browser has just watched, and that they fit together:
// what the player reports holds what comes before it.
func glassToGlass(t *testing.T, g *gateway, stream string) {
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
	var shown struct{ Latency map[string]hop }
	if err := json.NewDecoder(response.Body).Decode(&shown); err != nil {
		t.Fatal(err)
	}
	hops := shown.Latency
	t.Logf("hops: %+v", hops)
	for _, name := range []string{"capture", "package", "first_fetch", "fetch", "player"} {
		if hops[name].Samples == 0 {
			t.Errorf("nothing is known of the hop %s", name)
		}
	}
	// Publisher and gateway have the same clock here.
	if h := hops["capture"]; h.P50 > 1 {
		t.Errorf("from capture to reception: %v", h)
	}
	if h := hops["player"]; h.Samples < 2 || h.P50 < hops["package"].P50 {
		t.Errorf("player %v, though a part takes %v until it is listed", h, hops["package"])
	}
}
