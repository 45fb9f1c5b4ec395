// Package limit bounds how often one address may ask for something (specs X23).
package limit

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// maxBuckets bounds the memory of the rate limit.
const maxBuckets = 10_000

// Buckets limit the requests of each address. All methods may be called from any
// goroutine.
type Buckets struct {
	rate  rate.Limit
	burst int

	mu sync.Mutex
	of map[netip.Addr]*rate.Limiter // below mu
}

// NewBuckets allows each address so many requests a second, and burst at once.
func NewBuckets(perSecond float64, burst int) *Buckets {
	return &Buckets{rate: rate.Limit(perSecond), burst: burst, of: make(map[netip.Addr]*rate.Limiter)}
}

// Allow takes one token of the address, or returns false.
func (b *Buckets) Allow(a netip.Addr, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	l, ok := b.of[a]
	if !ok {
		if len(b.of) >= maxBuckets {
			b.clean(now)
		}
		l = rate.NewLimiter(b.rate, b.burst)
		b.of[a] = l
	}
	return l.AllowN(now, 1)
}

// clean forgets the addresses whose bucket is full again, or all if that does
// not help.
func (b *Buckets) clean(now time.Time) {
	for a, l := range b.of {
		if l.TokensAt(now) >= float64(b.burst) {
			delete(b.of, a)
		}
	}
	if len(b.of) >= maxBuckets {
		clear(b.of)
	}
}
