package packager

import (
	"slices"
	"time"
)

// shelf remembers which objects are to be deleted, and when: what left a
// playlist stays available for a while (specs L40, L49). It is pure.
type shelf struct {
	items []shelved
	count uint64 // of all that were ever put
}

type shelved struct {
	Key string    `json:"key"`
	At  time.Time `json:"at"`

	number uint64
}

// put says that the object of this key may go at that time.
func (s *shelf) put(key string, at time.Time) {
	s.count++
	s.items = append(s.items, shelved{Key: key, At: at, number: s.count})
}

// since returns what was put after the first so many, and is still there.
func (s *shelf) since(count uint64) []shelved {
	for i := range s.items {
		if s.items[i].number > count {
			return slices.Clone(s.items[i:])
		}
	}
	return nil
}

// restore puts what a memo has. What was long due when it was written is gone.
func (s *shelf) restore(m *memo) {
	const margin = time.Minute
	for _, item := range m.Shelf {
		if len(m.Renditions) > 0 && item.At.Before(m.Zero.Add(m.End-margin)) {
			continue
		}
		s.put(item.Key, item.At)
	}
}

// keepAll takes back what put said of these keys.
func (s *shelf) keepAll(keys map[string]bool) {
	s.items = slices.DeleteFunc(s.items, func(item shelved) bool { return keys[item.Key] })
}

// keep takes back what put said: the object is needed again.
func (s *shelf) keep(key string) {
	for i := range s.items {
		if s.items[i].Key == key {
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
		if item.At.After(now) {
			rest = append(rest, item)
			continue
		}
		keys = append(keys, item.Key)
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
