// Package recent remembers the newest few of what there is without end, such as why
// sessions ended. It knows nothing of what it remembers.
package recent

import "sync"

// Texts are the newest texts, by their keys. All methods may be called from any
// goroutine.
type Texts struct {
	mu    sync.Mutex
	texts map[string]string // below mu
	keys  []string          // below mu: a ring, oldest at next
	next  int               // below mu
}

// New returns Texts that remember so many; at least one.
func New(most int) *Texts {
	most = max(most, 1)
	return &Texts{texts: make(map[string]string, most), keys: make([]string, most)}
}

// Put remembers the text of a key that had none; the oldest one is forgotten for it.
func (t *Texts) Put(key, text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.texts[key]; ok || key == "" {
		return
	}
	delete(t.texts, t.keys[t.next])
	t.keys[t.next] = key
	t.next = (t.next + 1) % len(t.keys)
	t.texts[key] = text
}

// Get returns the text of a key; "" for one that is forgotten.
func (t *Texts) Get(key string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.texts[key]
}
