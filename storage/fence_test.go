package storage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/whipcast/whipcast/storage"
)

const lease = 30 * time.Second

// vault is a bucket with versions. Whenever somebody changes anything of a stream
// it looks whether the lease is theirs at that moment (specs S18).
type vault struct {
	*bucket
	deaf   bool // it ignores conditions
	silent bool // it does not tell how old an Object is
	tags   map[string]string
	at     map[string]time.Time
	count  int

	swaps sync.Mutex // held while a condition is looked at and obeyed
}

func newVault(t *testing.T) *vault {
	return &vault{bucket: newBucket(t), tags: map[string]string{}, at: map[string]time.Time{}}
}

// put returns how often a key was put.
func (v *vault) put(key string) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.puts[key]
}

func (v *vault) tag(key string) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.tags[key]
}

// deeds are what a gateway did.
type deeds struct {
	puts int       // of anything but leases
	gets int       // and how often it looked
	took time.Time // when it first put something
}

func (g *gateway) did() deeds {
	g.v.mu.Lock()
	defer g.v.mu.Unlock()
	return g.deeds
}

// gateway is one that writes to a vault, over a line that may be bad.
type gateway struct {
	v     *vault
	name  string
	line  func(ctx context.Context) error // nil: good
	deeds                                 // guarded by v.mu
	logs  journal

	queue *storage.Queue
	stop  func()
}

// journal is a log that is read while it is written.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func isLease(key string) bool { return strings.HasSuffix(key, "/writer.json") }

func (g *gateway) pass(ctx context.Context) error {
	g.v.mu.Lock()
	line := g.line
	g.v.mu.Unlock()
	if line != nil {
		if err := line(ctx); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// over gives it another line.
func (g *gateway) over(line func(ctx context.Context) error) { g.v.set(func() { g.line = line }) }

// mine holds that this gateway has the lease of the stream at this moment.
func (g *gateway) mine(key string) {
	name, _, _ := strings.Cut(key, "/")
	owner := g.v.text(name + "/writer.json")
	if !strings.Contains(owner, `"gateway":"`+g.name+`"`) || strings.Contains(owner, `"ended":true`) {
		g.v.t.Errorf("S18: at %s %s changes %s, the lease is %s", time.Now().Format("15:04:05.000"), g.name, key, owner)
	}
	g.v.set(func() {
		g.puts++
		if g.took.IsZero() {
			g.took = time.Now()
		}
	})
}

func (g *gateway) Put(ctx context.Context, o storage.Object) error {
	if err := g.pass(ctx); err != nil {
		return err
	}
	if !isLease(o.Key) {
		if o.Kind != storage.Segment && o.Kind != storage.Init { // what no playlist lists yet is nobody's harm
			g.mine(o.Key)
		}
	}
	return g.put(ctx, o)
}

func (g *gateway) put(ctx context.Context, o storage.Object) error {
	g.v.set(func() {
		g.v.count++
		g.v.tags[o.Key], g.v.at[o.Key] = fmt.Sprintf(`"v%d"`, g.v.count), time.Now()
	})
	return g.v.Put(ctx, o)
}

func (g *gateway) Delete(ctx context.Context, key string) error {
	if err := g.pass(ctx); err != nil {
		return err
	}
	g.mine(key)
	g.v.set(func() { delete(g.v.tags, key) })
	return g.v.Delete(ctx, key)
}

func (g *gateway) Swap(ctx context.Context, o storage.Object, version string) (string, error) {
	if err := g.pass(ctx); err != nil {
		return "", err
	}
	g.v.swaps.Lock()
	defer g.v.swaps.Unlock()
	if !g.v.deaf && g.v.tag(o.Key) != version {
		return "", storage.ErrChanged
	}
	err := g.put(ctx, o)
	return g.v.tag(o.Key), err
}

func (g *gateway) Load(ctx context.Context, key string) (storage.Version, error) {
	if err := g.pass(ctx); err != nil {
		return storage.Version{}, err
	}
	g.v.mu.Lock()
	defer g.v.mu.Unlock()
	g.gets++
	content, ok := g.v.objects[key]
	if !ok {
		return storage.Version{}, storage.ErrNotFound
	}
	age := time.Since(g.v.at[key]).Truncate(time.Second)
	if g.v.silent {
		age = -1
	}
	return storage.Version{Object: storage.Object{Key: key, Body: storage.Body{content}}, Tag: g.v.tags[key], Age: age}, nil
}

// open starts a gateway's queue.
func (v *vault) open(t *testing.T, name string) *gateway {
	g := &gateway{v: v, name: name}
	cfg := queueConfig()
	cfg.Fence = &storage.Fence{Store: g, Gateway: name, Host: "host-of-" + name, Lease: lease}
	cfg.Logger = slog.New(slog.NewTextHandler(&g.logs, nil))
	g.queue = storage.NewQueue(g, cfg)
	g.stop = startQueue(t, g.queue)
	return g
}

// kill ends a gateway as kill -9 does: nothing of it comes through any more.
func (g *gateway) kill() {
	g.over(func(context.Context) error { return errors.New("killed") })
	g.stop()
}

// play lets shows go on at the same time.
func playAll(d time.Duration, shows ...*show) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		time.Sleep(target)
		for _, s := range shows {
			s.segment()
		}
	}
	time.Sleep(time.Millisecond)
}

func fenced(g *gateway) string { return strings.Join(g.queue.Health().Fenced, "\n") }

// Two gateways have the same stream. The second is refused in words and changes
// nothing; when the first is killed it takes over; when that comes back, it is
// refused in its turn, and goes on when the other stops (specs S18).
func TestFence(t *testing.T) {
	for name, tt := range map[string]struct{ deaf, silent bool }{
		"conditional PUT": {}, "no age": {silent: true}, "no conditional PUT": {deaf: true}, "neither": {deaf: true, silent: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newVault(t)
				v.deaf, v.silent, v.jumps = tt.deaf, tt.silent, true
				a := v.open(t, "alpha")
				one := newShowOf(t, a.queue, "show", "m1")
				playAll(20*time.Second, one)
				if a.did().took.Sub(one.begun) > 3*time.Second+time.Second || len(a.queue.Health().Fenced) > 0 {
					t.Errorf("the first waits for %v: %s", a.did().took.Sub(one.begun), fenced(a))
				}
				b := v.open(t, "beta")
				two := newShowOf(t, b.queue, "show", "m2")
				playAll(2*time.Minute, one, two)
				if b.did().puts > 0 || strings.Contains(strings.Join(v.keys(), " "), "/m2/") || !strings.Contains(v.text("show/index.m3u8"), "m1/video") {
					t.Errorf("S18: the second put %d objects: %v", b.did().puts, v.keys())
				}
				h := fenced(b)
				for _, word := range []string{"stream show is being written by gateway alpha on host-of-alpha, last seen ", "s ago", "silent for 30s", "prefix"} {
					if !strings.Contains(h, word) {
						t.Errorf("%q does not say %q", h, word)
					}
				}
				if logs := b.logs.String(); strings.Count(logs, "written by another gateway") != 1 || !strings.Contains(logs, "host-of-alpha") {
					t.Errorf("log of the second: %s", logs)
				}
				if got := strings.Contains(a.logs.String(), "no conditional PUT"); got != tt.deaf {
					t.Errorf("log of the first: %s", a.logs.String())
				}
				caughtUp(t, v.bucket, one, 0, 0)

				a.kill()
				killed := time.Now()
				playAll(50*time.Second, two)
				if after := b.did().took.Sub(killed); b.did().took.IsZero() || after < lease-lease/3-time.Second || after > lease+2*time.Second+settleTime {
					t.Errorf("taken over after %v", after)
				}
				if !strings.Contains(v.text("show/index.m3u8"), "m2/video") || len(b.queue.Health().Fenced) > 0 {
					t.Errorf("after the takeover: %s, %s", v.text("show/index.m3u8"), fenced(b))
				}
				caughtUp(t, v.bucket, two, 0, 0)

				again := v.open(t, "alpha")
				one = newShowOf(t, again.queue, "show", "m3")
				playAll(time.Minute, one, two)
				if again.did().puts > 0 || !strings.Contains(fenced(again), "gateway beta") {
					t.Errorf("S18: the first is back and put %d objects, %s", again.did().puts, fenced(again))
				}
				b.stop()
				stopped := time.Now()
				playAll(20*time.Second, one)
				if after := again.did().took.Sub(stopped); again.did().took.IsZero() || after > lease/6+2*time.Second+settleTime {
					t.Errorf("goes on %v after the other stopped", after)
				}
				caughtUp(t, v.bucket, one, 0, 0)
				again.stop()
				v.verdict()
			})
		})
	}
}

// settleTime is what a store without conditional PUT costs.
const settleTime = time.Second

// A gateway that starts again has its streams at once, also after it was killed.
func TestFenceAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault(t)
		a := v.open(t, "alpha")
		playAll(20*time.Second, newShowOf(t, a.queue, "show", "m1"))
		a.kill()
		a = v.open(t, "alpha")
		s := newShowOf(t, a.queue, "show", "m2")
		playAll(10*time.Second, s)
		if after := a.did().took.Sub(s.begun); a.did().took.IsZero() || after > 2*time.Second+100*time.Millisecond {
			t.Errorf("waits for %v", after)
		}
		// A copy of its data directory is another gateway with the same name: one of
		// them writes.
		twin := v.open(t, "alpha")
		playAll(2*time.Minute, s, newShowOf(t, twin.queue, "show", "m3"))
		if got := len(a.queue.Health().Fenced) + len(twin.queue.Health().Fenced); got != 1 {
			t.Errorf("%d of two are refused: %q, %q", got, fenced(a), fenced(twin))
		}
		a.stop()
		twin.stop()
	})
}

// A gateway stands still, or its line does, for longer than its lease. Nothing of it
// comes through after that (specs S18). When the other one stops it goes on, with
// all playlists.
func TestFenceOfAGatewayThatStoodStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault(t)
		a, b := v.open(t, "alpha"), v.open(t, "beta")
		one := newShowOf(t, a.queue, "show", "m1")
		playAll(20*time.Second, one)
		two := newShowOf(t, b.queue, "show", "m2")
		playAll(10*time.Second, one, two)
		still := time.Now().Add(45 * time.Second)
		a.over(func(ctx context.Context) error { // what is on its way arrives later, or never
			select {
			case <-time.After(time.Until(still)):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		playAll(90*time.Second, one, two)
		if !strings.Contains(fenced(a), "gateway beta") || !strings.Contains(v.text("show/index.m3u8"), "m2/video") {
			t.Errorf("%s; %s", fenced(a), v.text("show/index.m3u8"))
		}
		before := v.text("show/m1/video/index.m3u8")
		b.stop()
		playAll(20*time.Second, one)
		if index := v.text("show/index.m3u8"); !strings.Contains(index, "m1/video") {
			t.Errorf("the first goes on, but %s", index)
		}
		if before == v.text("show/m1/video/index.m3u8") {
			t.Error("its playlist does not go on")
		}
		caughtUp(t, v.bucket, one, 0, 30)
		a.stop()
	})
}

// A stream that has ended is given back at once, its files are deleted all the
// same, and nothing stays, the lease included.
func TestFenceEndsWithTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault(t)
		a := v.open(t, "alpha")
		s := newShow(t, a.queue, "show")
		s.play(20 * time.Second)
		s.end()
		time.Sleep(lease)
		if owner := v.text("show/writer.json"); !strings.Contains(owner, `"ended":true`) {
			t.Errorf("after the end of the stream: %s", owner)
		}
		s.erase()
		time.Sleep(time.Minute)
		if keys := v.keys(); len(keys) > 0 {
			t.Errorf("left: %v", keys)
		}
		puts := v.put("show/writer.json")
		time.Sleep(time.Hour)
		if more := v.put("show/writer.json") - puts; more > 0 {
			t.Errorf("the lease of a stream that is gone was written %d times", more)
		}
		a.stop()
	})
}

// The lease of a stream costs one PUT in ten seconds and nothing else.
func TestFenceCost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault(t)
		a := v.open(t, "alpha")
		s := newShow(t, a.queue, "show")
		s.play(10 * time.Minute)
		if n, gets := v.put("show/writer.json"), a.did().gets; n < 59 || n > 62 || gets > 2 {
			t.Errorf("%d PUTs and %d GETs in 10 min", n, gets)
		}
		a.stop()
	})
}

// Whatever happens to two gateways and their lines, at no time does one change what
// the other writes; and in the end one of them does.
func TestFenceUnderFaults(t *testing.T) {
	for seed := range uint64(8) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 18)) //nolint:gosec // a test
			v := newVault(t)
			v.silent, v.jumps = r.IntN(2) == 0, true
			all := []*gateway{v.open(t, "alpha"), v.open(t, "beta")}
			var shows []*show
			for i, g := range all {
				shows = append(shows, newShowOf(t, g.queue, "show", fmt.Sprintf("m%d", i+1)))
			}
			for range 20 {
				g := all[r.IntN(2)]
				switch r.IntN(4) {
				case 0:
					g.over(nil)
				case 1:
					g.over(func(context.Context) error { return errors.New("reset") })
				case 2:
					late := time.Duration(r.IntN(5000)) * time.Millisecond
					g.over(func(ctx context.Context) error { return sleep(ctx, late) })
				case 3:
					until := time.Now().Add(time.Duration(r.IntN(60)) * time.Second)
					g.over(func(ctx context.Context) error { return sleep(ctx, time.Until(until)) })
				}
				playAll(time.Duration(2+r.IntN(30))*time.Second, shows...)
			}
			all[0].over(nil)
			all[1].over(nil)
			playAll(2*time.Minute, shows...)
			if got := len(all[0].queue.Health().Fenced) + len(all[1].queue.Health().Fenced); got != 1 {
				t.Errorf("seed %d: %d of two are refused: %q, %q", seed, got, fenced(all[0]), fenced(all[1]))
			}
			all[0].stop()
			all[1].stop()
		})
	}
}
