// Package recent remembers the newest few of what there is without end, such as why
// sessions ended. It knows nothing of what it remembers.
package recent

import "sync"

// Values are the newest values, by their keys. All methods may be called from any
// goroutine.
type Values[V any] struct {
	mu   sync.Mutex
	all  map[string]V // below mu
	keys []string     // below mu: a ring, oldest at next
	next int          // below mu
}

// New returns Values that remember so many; at least one.
func New[V any](most int) *Values[V] {
	most = max(most, 1)
	return &Values[V]{all: make(map[string]V, most), keys: make([]string, most)}
}

// Put remembers the value of a key that had none; the oldest one is forgotten for it.
func (v *Values[V]) Put(key string, value V) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, ok := v.all[key]; ok || key == "" {
		return
	}
	delete(v.all, v.keys[v.next])
	v.keys[v.next] = key
	v.next = (v.next + 1) % len(v.keys)
	v.all[key] = value
}

// Get returns the value of a key; the zero value for one that is forgotten.
func (v *Values[V]) Get(key string) V {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.all[key]
}
