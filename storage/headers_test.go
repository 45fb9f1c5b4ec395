package storage_test

import (
	"testing"
	"time"

	"github.com/whipcast/whipcast/storage"
)

// specs S29: the table.
func TestCacheControl(t *testing.T) {
	playlist := func(target time.Duration, ended bool) storage.Object {
		return storage.Object{Kind: storage.Playlist, Position: storage.Position{Target: target, Ended: ended}}
	}
	for _, tt := range []struct {
		name string
		o    storage.Object
		kept time.Duration
		want string
	}{
		{"multivariant", storage.Object{Kind: storage.Multivariant}, 0, "public, max-age=10"},
		{"playlist, 6 s", playlist(6*time.Second, false), 0, "public, max-age=3"},
		{"playlist, 5 s, rounded down", playlist(5*time.Second, false), 0, "public, max-age=2"},
		{"playlist, 1 s, not under 1", playlist(time.Second, false), time.Minute, "public, max-age=1"},
		{"playlist, target unknown", playlist(0, false), 0, "public, max-age=1"},
		{"playlist with ENDLIST", playlist(2*time.Second, true), 0, "public, max-age=3600"},
		{"multivariant of a replay", storage.Object{Kind: storage.Multivariant, Position: storage.Position{Ended: true}}, 0, "public, max-age=3600"},
		{"low-latency playlist", storage.Object{Kind: storage.LowLatency, Position: storage.Position{Target: 4 * time.Second}}, 0, "public, max-age=2"},
		{"init", storage.Object{Kind: storage.Init}, 0, "public, max-age=31536000, immutable"},
		{"segment", storage.Object{Kind: storage.Segment}, 0, "public, max-age=31536000, immutable"},
		{"part", storage.Object{Kind: storage.Part}, 0, "public, max-age=31536000, immutable"},
		{"segment that is deleted", storage.Object{Kind: storage.Segment}, 90 * time.Second, "public, max-age=90, immutable"},
	} {
		if got := storage.CacheControl(tt.o, tt.kept); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
