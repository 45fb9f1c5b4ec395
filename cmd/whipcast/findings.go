package main

import (
	"github.com/whipcast/whipcast/api"
	"github.com/whipcast/whipcast/packager/doctor"
	"github.com/whipcast/whipcast/stream"
)

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
