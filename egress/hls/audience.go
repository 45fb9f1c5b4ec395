package hls

import (
	"hash/maphash"
	"math"
	"math/bits"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// audienceEra is how long one generation counts. Three are looked at, so a player
	// counts for 20 to 30 s after its last playlist: more than the longest time between
	// two requests of one that plays.
	audienceEra    = 10 * time.Second
	generations    = 3
	audienceBits   = 8192   // of one generation: 2 % of error at 10,000 players
	audienceStream = 10_000 // streams at most; more are not counted
)

// audience estimates how many players read each stream: how many different ones asked
// for a media playlist of late. A player is told by the session of its CMCD, else by
// its address and User-Agent; neither is kept. Memory is 3 KiB a stream that is
// watched.
type audience struct {
	seed maphash.Seed

	mu      sync.RWMutex
	streams map[string]*readers // below mu
}

func newAudience() *audience {
	return &audience{seed: maphash.MakeSeed(), streams: map[string]*readers{}}
}

// readers counts the different players of a stream by linear counting (Whang et al.,
// 1990): each sets one bit of many by its hash, and how many are not set tells how many
// players there were. Any goroutine may call it.
type readers [generations]struct {
	era  atomic.Int64
	seen [audienceBits / 64]atomic.Uint64
}

// saw notes who asked for a media playlist of a stream that is live.
func (a *audience) saw(r *http.Request, stream string, now time.Time) {
	era := now.UnixNano() / int64(audienceEra)
	if it := a.of(stream, era); it != nil {
		it.add(a.who(r), era)
	}
}

// who returns a hash of the player.
func (a *audience) who(r *http.Request) uint64 {
	if d := clientDataOf(r); d.session != 0 {
		return maphash.Comparable(a.seed, d.session)
	}
	var h maphash.Hash
	h.SetSeed(a.seed)
	address := r.RemoteAddr
	if end := strings.LastIndexByte(address, ':'); end > 0 {
		address = address[:end] // without the port
	}
	_, _ = h.WriteString(address)
	if agent := r.Header["User-Agent"]; len(agent) > 0 {
		_, _ = h.WriteString(agent[0])
	}
	return h.Sum64()
}

// of returns the readers of a stream, nil if there are too many streams.
func (a *audience) of(stream string, era int64) *readers {
	a.mu.RLock()
	it := a.streams[stream]
	a.mu.RUnlock()
	if it != nil {
		return it
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if it = a.streams[stream]; it != nil {
		return it
	}
	for name, one := range a.streams { // streams come rarely
		if one.last() <= era-generations {
			delete(a.streams, name)
		}
	}
	if len(a.streams) >= audienceStream {
		return nil
	}
	it = new(readers)
	it[era%generations].era.Store(era)
	a.streams[stream] = it
	return it
}

// count estimates the players of a stream.
func (a *audience) count(stream string, now time.Time) int {
	a.mu.RLock()
	it := a.streams[stream]
	a.mu.RUnlock()
	if it == nil {
		return 0
	}
	return it.count(now.UnixNano() / int64(audienceEra))
}

// total estimates the players of all streams.
func (a *audience) total(now time.Time) int {
	a.mu.RLock()
	defer a.mu.RUnlock()
	n := 0
	for _, it := range a.streams {
		n += it.count(now.UnixNano() / int64(audienceEra))
	}
	return n
}

func (it *readers) add(hash uint64, era int64) {
	g := &it[era%generations]
	if old := g.era.Load(); old != era && g.era.CompareAndSwap(old, era) {
		for i := range g.seen { // who comes meanwhile is seen the next time
			g.seen[i].Store(0)
		}
	}
	bit := hash % audienceBits
	g.seen[bit/64].Or(1 << (bit % 64))
}

func (it *readers) count(era int64) int {
	zero := 0
	for i := range it[0].seen {
		var word uint64
		for g := range it {
			if of := it[g].era.Load(); of > era-generations && of <= era {
				word |= it[g].seen[i].Load()
			}
		}
		zero += 64 - bits.OnesCount64(word)
	}
	return int(math.Round(audienceBits * math.Log(audienceBits/math.Max(float64(zero), 1))))
}

// last returns the newest era with anybody.
func (it *readers) last() int64 {
	var newest int64
	for g := range it {
		newest = max(newest, it[g].era.Load())
	}
	return newest
}
