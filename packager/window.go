package packager

import "time"

// shelf remembers which objects are to be deleted, and when: what left a
// playlist stays available for a while (specs L40, L49). It is pure.
type shelf struct {
	items []shelved
}

type shelved struct {
	key string
	at  time.Time
}

// put says that the object of this key may go at that time.
func (s *shelf) put(key string, at time.Time) {
	s.items = append(s.items, shelved{key: key, at: at})
}

// keep takes back what put said: the object is needed again.
func (s *shelf) keep(key string) {
	for i := range s.items {
		if s.items[i].key == key {
			s.items = append(s.items[:i], s.items[i+1:]...)
			return
		}
	}
}

// due removes and returns the keys whose time has come.
func (s *shelf) due(now time.Time) []string {
	var keys []string
	rest := s.items[:0]
	for _, item := range s.items {
		if item.at.After(now) {
			rest = append(rest, item)
			continue
		}
		keys = append(keys, item.key)
	}
	clear(s.items[len(rest):])
	s.items = rest
	return keys
}

// available returns when a segment need not be available any more (specs L40): it
// was listed first at a time, and the longest playlist that held it has a length.
// Two target durations are added for requests under way.
func available(since time.Time, duration, playlist, target time.Duration) time.Time {
	return since.Add(duration + playlist + 2*target)
}
