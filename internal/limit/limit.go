// Package limit bounds how often somebody may ask for something (specs X23).
package limit

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// maxBuckets bounds the memory of the rate limit.
const maxBuckets = 10_000

// Keyed limit how often each of many may ask for something. All methods may be called
// from any goroutine.
type Keyed[K comparable] struct {
	rate  rate.Limit
	burst int

	mu sync.Mutex
	of map[K]*rate.Limiter // below mu
}

// Buckets limit the requests of each address.
type Buckets = Keyed[netip.Addr]

// NewBuckets allows each address so many requests a second, and burst at once.
func NewBuckets(perSecond float64, burst int) *Buckets { return NewKeyed[netip.Addr](perSecond, burst) }

// NewKeyed allows each so many requests a second, and burst at once.
func NewKeyed[K comparable](perSecond float64, burst int) *Keyed[K] {
	return &Keyed[K]{rate: rate.Limit(perSecond), burst: burst, of: make(map[K]*rate.Limiter)}
}

// Allow takes one token of who asks, or returns false.
func (b *Keyed[K]) Allow(who K, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	l, ok := b.of[who]
	if !ok {
		if len(b.of) >= maxBuckets {
			b.clean(now)
		}
		l = rate.NewLimiter(b.rate, b.burst)
		b.of[who] = l
	}
	return l.AllowN(now, 1)
}

// clean forgets those whose bucket is full again, or all if that does not help.
func (b *Keyed[K]) clean(now time.Time) {
	for who, l := range b.of {
		if l.TokensAt(now) >= float64(b.burst) {
			delete(b.of, who)
		}
	}
	if len(b.of) >= maxBuckets {
		clear(b.of)
	}
}
