package packager

import (
	"context"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/whipcast/whipcast/internal/hlscheck"
	"github.com/whipcast/whipcast/packager/au"
	"github.com/whipcast/whipcast/packager/hls"
	"github.com/whipcast/whipcast/storage"
)

// bucketed is what a bucket was given over several starts of the program, up to
// the moment that each was killed.
type bucketed struct {
	history []storage.Object
	runs    []int // how long history was at each start
}

func (b *bucketed) take(history []storage.Object) {
	b.runs = append(b.runs, len(b.history))
	for _, o := range history {
		if o.Kind&(storage.Playlist|storage.Init|storage.Segment|storage.Held|storage.Multivariant) != 0 {
			b.history = append(b.history, o)
		}
	}
}

// check plays everything to a checker, and holds that what is listed was stored.
func (b *bucketed) check(t *testing.T) {
	t.Helper()
	there := map[string]bool{}
	c := hlscheck.Checker{Static: true}
	for i, o := range b.history {
		run, _ := slices.BinarySearch(b.runs, i+1)
		switch o.Kind {
		case storage.Held:
			if !there[o.Key] {
				t.Errorf("S12: %s is said to be there in run %d, and was never stored", o.Key, run)
			}
		case storage.Segment:
			if there[o.Key] {
				t.Errorf("S17, L41: %s comes twice", o.Key)
			}
			there[o.Key] = true
		case storage.Playlist:
			c.Media(o.Key, o.Modified, o.Body.Bytes())
			for _, uri := range named(string(o.Body.Bytes())) {
				if key := path.Join(path.Dir(o.Key), uri); !there[key] {
					t.Errorf("S10: %s names %s in run %d", o.Key, key, run)
				}
			}
		default:
			there[o.Key] = true
		}
	}
	for i, v := range c.Violations() {
		if i < 5 {
			t.Error(v)
		}
	}
}

// newest returns the last plain playlist of a rendition before one of history.
func (b *bucketed) newest(t *testing.T, name string, before int) storage.Object {
	t.Helper()
	for _, o := range slices.Backward(b.history[:before]) {
		if o.Kind == storage.Playlist && strings.Contains(o.Key, "/"+name+"/") {
			return o
		}
	}
	t.Fatalf("no playlist of %s", name)
	return storage.Object{}
}

// segmentsOf returns the lines with segments, gaps left out.
func segmentsOf(o storage.Object) []string {
	return slices.DeleteFunc(named(string(o.Body.Bytes())), func(uri string) bool { return !strings.HasPrefix(uri, "s") })
}

// TestPlainGoesOn: the program is killed twice. In the plain playlists every segment
// of before stays listed until it leaves the window, with one discontinuity for each
// return of the publisher (specs S17, L18, L19, L24, L35, L41).
func TestPlainGoesOn(t *testing.T) {
	var (
		bucket bucketed
		last   *bench
		soon   time.Time // not long after the second return
		gone   map[string]time.Time
	)
	const window = 30 * time.Second
	synctest.Test(t, func(t *testing.T) {
		cfg := Config{Audio: Opus, Ledger: newNotebook(), Window: window}
		b := setUp(t, cfg)
		for range 2 {
			h := b.build(t, studio())
			h.run(t, 9300*time.Millisecond)
			next := b.restarted(t, cfg, func(n *notebook) *notebook {
				bucket.take(b.sink.puts())
				return n.copied()
			})
			cfg.Ledger = next.pack.cfg.Ledger
			h.x.Close(nil)
			b = next
			time.Sleep(2 * time.Second)
		}
		h := b.build(t, studio())
		soon = time.Now().Add(5 * time.Second)
		h.run(t, window+20*time.Second)
		h.x.Close(nil)
		b.cancel()
		<-b.done
		bucket.take(b.sink.puts())
		last, gone = b, b.sink.deletions()
	})
	bucket.check(t)
	last.check(t)
	for _, name := range []string{"video", "video-2", "video-3", "audio"} {
		newest := bucket.newest(t, name, 1+slices.IndexFunc(bucket.history, func(o storage.Object) bool {
			return o.Kind == storage.Playlist && strings.Contains(o.Key, "/"+name+"/") && o.Modified.After(soon)
		}))
		text := string(newest.Body.Bytes())
		if n := strings.Count(text, "#EXT-X-DISCONTINUITY\n"); n != 2 {
			t.Errorf("L24: %d discontinuities in %s, want 2", n, name)
		}
		listed := segmentsOf(newest)
		for i, run := range []int{bucket.runs[1], bucket.runs[2]} {
			for _, uri := range segmentsOf(bucket.newest(t, name, run)) {
				if !slices.Contains(listed, uri) {
					t.Errorf("%s of run %d is not listed any more in %s", uri, i, name)
				}
			}
		}
		if len(listed) < 12 {
			t.Errorf("%d segments in %s soon after the second return", len(listed), name)
		}
		// L40: what left the window is deleted, whoever had put it.
		first := segmentsOf(bucket.newest(t, name, bucket.runs[1]))[0]
		key := path.Join(path.Dir(newest.Key), first)
		if at, ok := gone[key]; !ok {
			t.Errorf("L40: %s was not deleted", key)
		} else if late, _ := last.sink.last(storage.Playlist, "/"+name+"/"); slices.Contains(segmentsOf(late), first) || at.IsZero() {
			t.Errorf("L40: %s is listed and was deleted", key)
		}
		if lowLatency, _ := last.sink.last(storage.LowLatency, "/"+name+"/"); strings.Contains(string(lowLatency.Body.Bytes()), first) {
			t.Errorf("ADR 6: %s lists %s with parts", name, first)
		}
	}
}

// TestLedgerIsAhead: whenever the program is killed, the Ledger has what any plain
// playlist lists (specs S17, L41).
func TestLedgerIsAhead(t *testing.T) {
	n := newNotebook()
	seen := 0
	synctest.Test(t, func(t *testing.T) {
		b := setUp(t, Config{Audio: Opus, Ledger: n})
		b.sink.observe(func(o storage.Object) {
			if o.Kind != storage.Playlist {
				return
			}
			lines, _ := n.Load(context.Background(), "show")
			m, err := readMemo(lines)
			if err != nil {
				t.Errorf("read the notes: %v", err)
			}
			for _, r := range m.Renditions {
				if strings.Contains(o.Key, "/"+r.Name+"/") {
					seen++
					if r.State.Next != o.Position.MSN {
						t.Errorf("L41: %s up to segment %d is put while the Ledger has %d", o.Key, o.Position.MSN, r.State.Next)
					}
				}
			}
		})
		c := newCamera(b.publish(t, video("VP9"), audio()))
		c.run(0, 9*time.Second)
		c.x.Close(nil)
		b.cancel()
		<-b.done
	})
	if seen < 8 {
		t.Errorf("%d playlists", seen)
	}
}

// TestOldInitsAreMadeAgain: two initialization segments are listed when the program
// is killed. Both are put again: a place that never got one could put no playlist
// (specs S10, L22).
func TestOldInitsAreMadeAgain(t *testing.T) {
	var bucket bucketed
	synctest.Test(t, func(t *testing.T) {
		cfg := Config{Audio: Opus, Ledger: newNotebook()}
		b := setUp(t, cfg)
		c := newCamera(b.publish(t, video("VP9"), audio()))
		c.run(0, 5*time.Second)
		c.width, c.height = 640, 360
		c.run(5*time.Second, 5*time.Second)
		next := b.restarted(t, cfg, func(n *notebook) *notebook {
			bucket.take(b.sink.puts())
			return n.copied()
		})
		c.x.Close(nil)
		time.Sleep(3 * time.Second)
		bucket.take(next.sink.puts())
		next.cancel()
		<-next.done
	})
	bucket.check(t)
	inits := map[string]bool{}
	for _, o := range bucket.history[bucket.runs[1]:] {
		if o.Kind == storage.Init && strings.Contains(o.Key, "/video/") {
			inits[o.Key] = true
		}
	}
	text := string(bucket.newest(t, "video", len(bucket.history)).Body.Bytes())
	if len(inits) != 2 || strings.Count(text, "#EXT-X-MAP") != 2 {
		t.Errorf("%v were put again, for\n%s", slices.Sorted(maps.Keys(inits)), text)
	}
}

// TestTooLateIsEnded: a presentation that cannot go on gets EXT-X-ENDLIST in the
// plain playlists, all its files are deleted in time, and then the Ledger is empty:
// also when the program is killed again meanwhile (specs L32, L40, S15, S16).
func TestTooLateIsEnded(t *testing.T) {
	const window = 20 * time.Second
	for name, again := range map[string]bool{"once": false, "killed again": true} {
		t.Run(name, func(t *testing.T) {
			var (
				bucket  bucketed
				deleted = map[string]time.Time{}
				lines   [][]byte
			)
			synctest.Test(t, func(t *testing.T) {
				cfg := Config{Audio: Opus, Ledger: newNotebook(), Window: window, Grace: 5 * time.Second}
				b := setUp(t, cfg)
				c := newCamera(b.publish(t, video("VP9"), audio()))
				c.run(0, 31*time.Second)
				kill := func() {
					b = b.restarted(t, cfg, func(n *notebook) *notebook {
						bucket.take(b.sink.puts())
						maps.Copy(deleted, b.sink.deletions())
						n = n.copied()
						time.Sleep(6 * time.Second)
						return n
					})
					cfg.Ledger = b.pack.cfg.Ledger
				}
				kill()
				c.x.Close(nil)
				time.Sleep(3 * time.Second)
				if again {
					kill()
				}
				<-b.done // nothing is left to do
				bucket.take(b.sink.puts())
				maps.Copy(deleted, b.sink.deletions())
				lines, _ = cfg.Ledger.Load(context.Background(), "show")
			})
			bucket.check(t)
			if len(lines) > 0 {
				t.Errorf("the Ledger still has %d lines", len(lines))
			}
			for _, name := range []string{"video", "audio"} {
				o := bucket.newest(t, name, len(bucket.history))
				if !strings.HasSuffix(string(o.Body.Bytes()), "#EXT-X-ENDLIST\n") || !o.Position.Ended {
					t.Errorf("L32: the last playlist of %s:\n%s", name, o.Body.Bytes())
				}
			}
			for _, o := range bucket.history {
				if _, ok := deleted[o.Key]; !ok {
					t.Errorf("S15: %s stays for ever", o.Key)
				}
			}
		})
	}
}

// TestRenditionsGoOnTogether: one rendition had not closed the segment that the
// others had, or does not know of an initialization segment (specs L24, L27, L94).
func TestRenditionsGoOnTogether(t *testing.T) {
	params := &au.Params{}
	at := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	state := func(first, next uint64, breaks ...uint64) hls.State {
		s := hls.State{Target: 2 * time.Second, Part: time.Second, First: first, Next: next}
		for n := first; n < next; n++ {
			s.Segments = append(s.Segments, hls.Listed{
				Segment: hls.Segment{URI: segmentName(n, 0), Duration: 2 * time.Second}, Init: "a.mp4",
				Discontinuity: slices.Contains(breaks, n), Time: at.Add(time.Duration(n) * 2 * time.Second),
			})
		}
		return s
	}
	inits := map[string]*au.Params{"a.mp4": params}
	m := memo{Renditions: []shelfMark{
		{Name: "video", Init: "a.mp4", Inits: inits, State: state(3, 9, 5, 8)},
		{Name: "late", Init: "a.mp4", Inits: inits, State: state(3, 8, 5)},
		{Name: "unknown", Init: "b.mp4", Inits: map[string]*au.Params{"b.mp4": params}, State: state(3, 9, 5, 8)},
		{Name: "other", Init: "a.mp4", Inits: inits, State: state(3, 9, 5)},
		{Name: "torn", Init: "a.mp4", Inits: inits, State: hls.State{Target: 2 * time.Second, First: 3, Next: 9}},
	}}
	m.Renditions[2].State.Segments[5].Init = "b.mp4"
	for i, want := range []struct {
		first, breaks uint64
		prior, gaps   int
	}{{3, 0, 6, 0}, {3, 0, 6, 1}, {8, 1, 1, 0}, {9, 2, 0, 0}, {9, 2, 0, 0}} {
		got, name := m.begin(i), m.Renditions[i].Name
		gaps := 0
		for _, s := range got.Segments {
			if s.Gap {
				gaps++
			}
		}
		if got.Next != 9 || got.First != want.first || got.Discontinuities != want.breaks || got.Prior != want.prior || gaps != want.gaps {
			t.Errorf("%s goes on with %d to %d, discontinuity sequence %d, %d of before, %d gaps; want %+v",
				name, got.First, got.Next, got.Discontinuities, got.Prior, gaps, want)
		}
		if breaks(&got) != 2 {
			t.Errorf("L24: segment 9 of %s has discontinuity sequence %d", name, breaks(&got))
		}
		if _, err := hls.Restore(hls.Config{Target: 2 * time.Second, Part: time.Second}, got); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if diff := cmp.Diff(hls.Segment{URI: "s00000008.m4s", Duration: 2 * time.Second, Gap: true}, m.begin(1).Segments[5].Segment); diff != "" {
		t.Errorf("L27: %s", diff)
	}
}
