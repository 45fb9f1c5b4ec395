package packager

import (
	"context"
	"log/slog"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/whipcast/whipcast/storage"
	"github.com/whipcast/whipcast/storage/memory"
	"github.com/whipcast/whipcast/stream"
)

// drain is a Sink that keeps nothing.
type drain struct{ bytes int }

func (d *drain) Put(_ context.Context, o storage.Object) error {
	d.bytes += o.Body.Len()
	return nil
}

func (*drain) Delete(context.Context, string) error { return nil }

// cellar is the origin's store, which counts the memory of the media in it.
type cellar struct {
	*memory.Store
	mu    sync.Mutex
	media map[string]storage.Body // below mu
}

func (c *cellar) Put(ctx context.Context, o storage.Object) error {
	if o.Kind&(storage.Part|storage.Segment) != 0 {
		c.mu.Lock()
		c.media[o.Key] = o.Body
		c.mu.Unlock()
	}
	return c.Store.Put(ctx, o)
}

func (c *cellar) Delete(ctx context.Context, key string) error {
	c.mu.Lock()
	delete(c.media, key)
	c.mu.Unlock()
	return c.Store.Delete(ctx, key)
}

// bytes returns how much media there is: what all keys hold, and the memory that
// this takes.
func (c *cellar) bytes() (all, memory int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := map[*byte]bool{}
	for _, body := range c.media {
		for _, piece := range body {
			all += len(piece)
			if !seen[&piece[0]] {
				seen[&piece[0]] = true
				memory += len(piece)
			}
		}
	}
	return all, memory
}

// antenna writes packets as an ingest does: from blocks that are never used again.
type antenna struct {
	x     *stream.Session
	id    stream.LayerID
	block []byte
	seq   uint16
}

func (a *antenna) send(timestamp uint32, payload []byte, marker bool) {
	const header = 24
	if len(a.block) < header+len(payload) {
		a.block = make([]byte, 64<<10)
	}
	b := a.block[header : header+len(payload) : header+len(payload)]
	a.block = a.block[header+len(payload):]
	copy(b, payload)
	a.seq++
	a.x.Write(a.id, stream.Packet{Arrival: time.Now(), Timestamp: timestamp, Sequence: a.seq, Marker: marker, Payload: b})
}

// air publishes footage in real time.
func air(t testing.TB, b *bench, layers []quality, length time.Duration) {
	t.Helper()
	offer := make([]stream.Layer, 0, len(layers)+1)
	for i := range layers {
		l := video("VP9")
		l.ID.RID = string(rune('a' + i))
		offer = append(offer, l)
	}
	x := b.publish(t, append(offer, audio())...)
	s := newFootage(t, layers)
	antennas := make([]*antenna, len(offer)+1)
	for i := range antennas {
		antennas[i] = &antenna{x: x, id: stream.LayerID{Kind: stream.Audio}}
		if i < len(offer) {
			antennas[i].id = offer[i].ID
		}
	}
	begin := time.Now()
	for frame := range int(length.Seconds() * 30) {
		time.Sleep(time.Until(begin.Add(time.Duration(frame) * time.Second / 30)))
		for i, l := range s.layers {
			for k := range l.packets {
				antennas[i].send(uint32(frame)*3000, l.payload(frame, k), k == l.packets-1)
			}
		}
		for ; s.audioTS/48 <= uint32(frame)*100/3; s.audioTS += 960 {
			antennas[len(layers)].send(s.audioTS, s.opus, true)
		}
	}
}

// heap returns the bytes that are in use.
func heap() int {
	runtime.GC()
	runtime.GC() // what had a finalizer goes with the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// TestHeapOfStream: a stream takes little memory besides its media and the packets
// in the rings. Segments take none: they share that of their parts.
func TestHeapOfStream(t *testing.T) {
	for name, layers := range map[string][]quality{"one layer": single(), "three layers": three()} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { heapOfStream(t, layers) })
		})
	}
}

func heapOfStream(t *testing.T, layers []quality) {
	before := heap()
	store := &cellar{Store: memory.New(memory.Config{}), media: map[string]storage.Body{}}
	b := &bench{hub: stream.NewHub(stream.Config{}), done: make(chan error, 1)}
	var err error
	if b.stream, err = b.hub.Stream("show"); err != nil {
		t.Fatal(err)
	}
	b.pack = New(Config{Window: 30 * time.Second, Audio: Opus}, store, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	go func() { b.done <- b.pack.Run(ctx, b.stream) }()
	air(t, b, layers, time.Minute)
	synctest.Wait()
	used := heap() - before
	all, media := store.bytes()
	t.Logf("%.1f MB: %.1f of media (%.1f if segments had their own), %.1f besides",
		mega(used), mega(media), mega(all), mega(used-media))
	rate := 0 // bytes a second
	for _, q := range layers {
		rate += 30 * q.packets * q.size
	}
	rate += 50 * 160
	// Listed are 30 s and what slack there is, a segment that has begun to leave and one
	// that is open; what has left stays for two more (specs L40).
	if most := (30 + 2 + 2*2 + 2*2) * rate; media > most {
		t.Errorf("%d bytes of media, want at most %d: segments and parts share memory", media, most)
	}
	// A ring of 2,048 packets, what is being assembled, and the open part.
	if most := 1<<20 + len(layers)*3<<20; used-media > most {
		t.Errorf("%d bytes besides the media, want at most %d", used-media, most)
	}
	cancel()
	<-b.done
	runtime.KeepAlive(store)
}

func mega(n int) float64 { return float64(n) / 1e6 }
