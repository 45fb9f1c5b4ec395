package ingest_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/whipcast/whipcast/ingest"
	"github.com/whipcast/whipcast/internal/problem"
	"github.com/whipcast/whipcast/stream"
)

// TestPublish: who may publish gets the Sources of its Layers; who may not learns why,
// and what to do.
func TestPublish(t *testing.T) {
	hub := stream.NewHub(stream.Config{MaxStreams: 1})
	offer := stream.Offer{Principal: "one", Layers: []stream.Layer{
		{ID: stream.LayerID{Kind: stream.Video}, Codec: stream.Codec{Name: "H264", ClockRate: 90000}},
		{ID: stream.LayerID{Kind: stream.Audio}, Codec: stream.Codec{Name: "opus", ClockRate: 48000}},
	}}
	session, sources, err := ingest.Publish(hub, "show", offer)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close(nil)
	if len(sources) != 2 || sources[0].Layer.ID.Kind != stream.Video || sources[1].Layer.ID.Kind != stream.Audio {
		t.Errorf("sources %+v", sources)
	}
	other := offer
	other.Principal = "two"
	many := stream.Offer{Principal: "one"}
	for range 100 {
		many.Layers = append(many.Layers, offer.Layers...)
	}
	for _, tt := range []struct {
		name   string
		offer  stream.Offer
		is     error
		status int
	}{
		{"show", other, stream.ErrBusy, http.StatusConflict},
		{"more", offer, stream.ErrFull, http.StatusServiceUnavailable},
		{"show", many, stream.ErrLayers, http.StatusUnprocessableEntity},
		{"no name", offer, stream.ErrName, 0},
	} {
		_, _, err := ingest.Publish(hub, tt.name, tt.offer)
		if !errors.Is(err, tt.is) {
			t.Errorf("%s by %s: %v, want %v", tt.name, tt.offer.Principal, err, tt.is)
		}
		told := ingest.Refuse(err)
		p, ok := errors.AsType[problem.Problem](told)
		if p.Status != tt.status || ok != (tt.status > 0) || ok && p.Detail == "" || !ok && !errors.Is(told, tt.is) {
			t.Errorf("%v is told as %v", err, told)
		}
	}
}
