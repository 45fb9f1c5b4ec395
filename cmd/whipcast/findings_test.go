package main

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/whipcast/whipcast/internal/rtc"
	"github.com/whipcast/whipcast/packager/doctor"
	"github.com/whipcast/whipcast/stream"
)

// TestFindings: what the packager found, as the API shows it; a measure only
// where there is one.
func TestFindings(t *testing.T) {
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	asked := stream.LayerID{Kind: stream.Video, RID: "h"}
	show := findings(func(name string, layer stream.LayerID) []doctor.Finding {
		if name != "show" || layer != asked {
			return nil
		}
		return []doctor.Finding{
			{Code: doctor.NoKeyframe, Severity: doctor.Problem, Words: "none for 11 s", Remedy: "set it", Since: since, Value: 11, Unit: "s"},
			{Code: doctor.BFrames, Severity: doctor.Warning, Words: "stutter", Remedy: "set them to 0", Since: since},
		}
	})
	body, err := json.Marshal(show("show", asked))
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"code":"no-keyframe","severity":"problem","words":"none for 11 s","remedy":"set it",` +
		`"since":"2026-01-02T03:04:05Z","measure":{"value":11,"unit":"s"}},` +
		`{"code":"b-frames","severity":"warning","words":"stutter","remedy":"set them to 0","since":"2026-01-02T03:04:05Z"}]`
	if string(body) != want {
		t.Errorf("got  %s\nwant %s", body, want)
	}
	if others := show("show", stream.LayerID{Kind: stream.Audio}); len(others) != 0 {
		t.Errorf("of another layer: %v", others)
	}
	byTCP := detours(func(name string) (rtc.Report, time.Time, bool) {
		return rtc.Report{Words: "connected by TCP", Remedy: "open UDP"}, since, name == "show"
	}, show)
	if all := byTCP("show", asked); len(all) != 3 || all[2].Code != "media-detour" || all[2].Severity != "note" || all[2].Words != "the publisher is connected by TCP" {
		t.Errorf("%+v", all)
	}
	if all := byTCP("other", asked); len(all) != 0 {
		t.Errorf("of another stream: %+v", all)
	}
}
