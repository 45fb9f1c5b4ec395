package storage

import (
	"strconv"
	"time"
)

// forever is how long media is fresh that is never deleted: a year, the most
// that caches heed.
const forever = 365 * 24 * time.Hour

// CacheControl returns the Cache-Control of an Object that a store or a CDN
// serves (specs S29). kept is how long media stays available at least; 0: it is
// never deleted.
//
// Names of media are never used again, so media is immutable. A playlist is
// fresh for half a target duration; after its end for an hour.
func CacheControl(o Object, kept time.Duration) string {
	const brief, ended = 10 * time.Second, time.Hour
	switch {
	case o.Kind == Lease:
		return "no-store"
	case o.Kind == Multivariant && !o.Position.Ended:
		return maxAge(brief)
	case o.Kind&texts != 0 && o.Position.Ended:
		return maxAge(ended)
	case o.Kind&(Playlist|LowLatency) != 0:
		return maxAge(o.Position.Target / 2)
	case kept > 0:
		return maxAge(kept) + ", immutable"
	}
	return maxAge(forever) + ", immutable"
}

func maxAge(d time.Duration) string {
	return "public, max-age=" + strconv.FormatInt(int64(max(d, time.Second)/time.Second), 10)
}
