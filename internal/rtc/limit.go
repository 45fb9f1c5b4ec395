package rtc

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// maxBuckets bounds the memory of the rate limit.
const maxBuckets = 10_000

// buckets limit the requests of each address (specs X23).
type buckets struct {
	rate  rate.Limit
	burst int

	mu sync.Mutex
	of map[netip.Addr]*rate.Limiter // below mu
}

func newBuckets(perSecond float64, burst int) *buckets {
	return &buckets{rate: rate.Limit(perSecond), burst: burst, of: make(map[netip.Addr]*rate.Limiter)}
}

// allow takes one token of the address, or returns false.
func (b *buckets) allow(a netip.Addr, now time.Time) bool {
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
func (b *buckets) clean(now time.Time) {
	for a, l := range b.of {
		if l.TokensAt(now) >= float64(b.burst) {
			delete(b.of, a)
		}
	}
	if len(b.of) >= maxBuckets {
		clear(b.of)
	}
}
