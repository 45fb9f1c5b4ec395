package main

import (
	"time"

	"github.com/whipcast/whipcast/api"
	"github.com/whipcast/whipcast/internal/rtc"
	"github.com/whipcast/whipcast/packager/doctor"
	"github.com/whipcast/whipcast/stream"
)

// detours adds to the findings of a stream that its publisher's media does not come by
// the best way.
func detours(of func(name string) (rtc.Report, time.Time, bool), rest func(string, stream.LayerID) []api.Finding) func(string, stream.LayerID) []api.Finding {
	return func(name string, layer stream.LayerID) []api.Finding {
		all := rest(name, layer)
		if r, since, ok := of(name); ok {
			f := api.Finding{Code: "media-detour", Severity: doctor.Note.String(), Words: "the publisher is " + r.Words, Remedy: r.Remedy, Since: since}
			if f.Remedy == "" {
				f.Remedy = "nothing, if its network has no other way: each packet takes a little longer"
			}
			all = append(all, f)
		}
		return all
	}
}

// findings makes what the packager found what the API shows.
func findings(of func(name string, layer stream.LayerID) []doctor.Finding) func(string, stream.LayerID) []api.Finding {
	return func(name string, layer stream.LayerID) []api.Finding {
		found := of(name, layer)
		shown := make([]api.Finding, len(found))
		for i, f := range found {
			shown[i] = api.Finding{
				Code: string(f.Code), Severity: f.Severity.String(), Words: f.Words, Remedy: f.Remedy, Since: f.Since,
			}
			if f.Unit != "" {
				shown[i].Measure = &api.Measure{Value: f.Value, Unit: f.Unit}
			}
		}
		return shown
	}
}
