package packager

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/whipcast/whipcast/storage"
	"github.com/whipcast/whipcast/stream"
)

// notebook is a Ledger in memory.
type notebook struct {
	mu    sync.Mutex
	lines map[string][][]byte
}

func newNotebook() *notebook { return &notebook{lines: map[string][][]byte{}} }

func (n *notebook) Load(_ context.Context, stream string) ([][]byte, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.lines[stream]), nil
}

func (n *notebook) Begin(_ context.Context, stream string, line []byte) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lines[stream] = [][]byte{bytes.Clone(line)}
	return nil
}

func (n *notebook) Append(_ context.Context, stream string, line []byte) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lines[stream] = append(n.lines[stream], bytes.Clone(line))
	return nil
}

func (n *notebook) Forget(_ context.Context, stream string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.lines, stream)
	return nil
}

// copied is what a disk has at this moment.
func (n *notebook) copied() *notebook {
	n.mu.Lock()
	defer n.mu.Unlock()
	return &notebook{lines: maps.Clone(n.lines)}
}

// restarted is a bench after the program was stopped, or killed, and started again
// with what the notebook had at that moment.
func (b *bench) restarted(t *testing.T, cfg Config, kill func(n *notebook) *notebook) *bench {
	t.Helper()
	cfg.Ledger = kill(cfg.Ledger.(*notebook))
	b.cancel()
	<-b.done
	next := setUp(t, cfg)
	next.logs = b.logs
	return next
}

// media returns the names of all parts and segments.
func (b *bench) media() map[string]bool {
	names := map[string]bool{}
	for _, o := range b.sink.history {
		if o.Kind == storage.Part || o.Kind == storage.Segment {
			names[o.Key] = true
		}
	}
	return names
}

// TestRestart: the program is stopped or killed, and started again; the publisher
// returns. The same presentation goes on: no number goes back, no name comes
// twice, and there is one discontinuity in every rendition (L18, L34, L35, L41).
func TestRestart(t *testing.T) {
	for _, tt := range []struct {
		name   string
		floors func() []*floor
		after  time.Duration // when it is killed
		away   time.Duration
		stop   bool // in good order
		sound  Sound
	}{
		{"killed", browser, 7300 * time.Millisecond, time.Second, false, Both},
		{"killed in the first segment", studio, 1500 * time.Millisecond, 2 * time.Second, false, Opus},
		{"killed, away for long", studio, 9 * time.Second, 40 * time.Second, false, Opus},
		{"stopped", studio, 7300 * time.Millisecond, 3 * time.Second, true, AAC},
		{"killed at a boundary", studio, 6 * time.Second, 500 * time.Millisecond, false, Opus},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var first, second *bench
			cfg := Config{Audio: tt.sound, Ledger: newNotebook()}
			synctest.Test(t, func(t *testing.T) {
				first = setUp(t, cfg)
				h := first.build(t, tt.floors())
				h.run(t, tt.after)
				second = first.restarted(t, cfg, func(n *notebook) *notebook {
					if tt.stop {
						return n
					}
					return n.copied()
				})
				h.x.Close(nil)
				time.Sleep(tt.away)
				h = second.build(t, tt.floors())
				h.run(t, 7*time.Second)
				h.x.Close(nil)
				time.Sleep(100 * time.Millisecond)
				second.cancel()
				<-second.done
				second.check(t)
			})
			if a, b := first.presentations(), second.presentations(); len(a) != 1 || !slices.Equal(a, b) {
				t.Fatalf("presentations %v and then %v, want one", a, b)
			}
			names := append([]string{"video", "video-2", "video-3"}, map[Sound][]string{Both: {"aac", "audio"}, AAC: {"aac"}, Opus: {"audio"}}[tt.sound]...)
			second.level(t, names...)
			if n := second.pack.Metrics().Stills.Load(); n == 0 && tt.away > time.Second {
				t.Errorf("ADR 6: no picture while the publisher was away")
			}
			for _, name := range names {
				if n := second.tags(t, name, "#EXT-X-DISCONTINUITY\n"); n != 1 {
					t.Errorf("L24: %d discontinuities in %s, want 1", n, name)
				}
				before, _ := first.sink.last(storage.LowLatency, "/"+name+"/")
				for _, o := range second.sink.history {
					if o.Kind == storage.LowLatency && strings.Contains(o.Key, "/"+name+"/") {
						if o.Position.MSN < before.Position.MSN && !tt.stop {
							t.Errorf("L18: %s goes on with %d after %d", name, o.Position.MSN, before.Position.MSN)
						}
						break
					}
				}
			}
			if !tt.stop {
				old := first.media()
				for name := range second.media() {
					if old[name] {
						t.Errorf("L41: %s comes twice", name)
					}
				}
			}
			if t.Failed() {
				display(t, second)
			}
		})
	}
}

// TestRestartTooLate: what was before the restart is of no use, and a new
// presentation begins: the grace time is over, the configuration has changed, or
// the notes are damaged.
func TestRestartTooLate(t *testing.T) {
	for name, spoil := range map[string]func(cfg *Config, n *notebook){
		"grace":   func(*Config, *notebook) { time.Sleep(2 * time.Minute) },
		"audio":   func(cfg *Config, _ *notebook) { cfg.Audio = AAC },
		"part":    func(cfg *Config, _ *notebook) { cfg.Part = 300 * time.Millisecond },
		"damaged": func(_ *Config, n *notebook) { n.lines["show"][0] = []byte("{") },
		"foreign": func(_ *Config, n *notebook) {
			n.lines["show"] = [][]byte{[]byte(`{"id":"../x","renditions":[{"name":"video"}]}`)}
		},
		"unknown": func(_ *Config, n *notebook) {
			for i, line := range n.lines["show"] {
				n.lines["show"][i] = bytes.ReplaceAll(line, []byte(`"video"`), []byte(`"radio"`))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			var first, second *bench
			synctest.Test(t, func(t *testing.T) {
				cfg := Config{Audio: Opus, Ledger: newNotebook()}
				first = setUp(t, cfg)
				c := newCamera(first.publish(t, video("VP9"), audio()))
				c.run(0, 5*time.Second)
				second = first.restarted(t, cfg, func(n *notebook) *notebook {
					n = n.copied()
					spoil(&cfg, n)
					return n
				})
				ready := func() {
					synctest.Wait()
					select {
					case <-second.done: // nothing was left to do: the stream is made anew
						cfg.Ledger = second.pack.cfg.Ledger
						second = setUp(t, cfg)
					default:
					}
				}
				ready()
				if cfg.Audio != Opus || cfg.Part != 0 { // with another configuration
					ledger := second.pack.cfg.Ledger
					second.cancel()
					<-second.done
					cfg.Ledger = ledger
					second = setUp(t, cfg)
					ready()
				}
				c.x.Close(nil)
				d := newCamera(second.publish(t, video("VP9"), audio()))
				d.run(0, 5*time.Second)
				d.x.Close(nil)
				second.cancel()
				<-second.done
			})
			a, b := first.presentations(), second.presentations()
			if len(b) == 0 || a[0] == b[len(b)-1] || a[0] > b[len(b)-1] {
				t.Errorf("presentations %v, then %v, want a new one", a, b)
			}
			second.check(t)
		})
	}
}

// TestTornNotes: the last line was cut off when the program was killed.
func TestTornNotes(t *testing.T) {
	n := newNotebook()
	var b *bench
	synctest.Test(t, func(t *testing.T) {
		b = setUp(t, Config{Audio: Opus, Ledger: n})
		c := newCamera(b.publish(t, video("VP9"), audio()))
		c.run(0, 9*time.Second)
		lines := n.copied().lines["show"]
		b.cancel()
		<-b.done
		c.x.Close(nil)
		last := len(lines) - 1
		if last < 3 {
			t.Fatalf("%d lines after 9 s", last+1)
		}
		whole, err := readMemo(lines[:last])
		if err != nil {
			t.Fatal(err)
		}
		torn := append(slices.Clone(lines[:last]), lines[last][:len(lines[last])/2])
		m, err := readMemo(torn)
		if err != nil || m.Renditions[0].State.Next != whole.Renditions[0].State.Next {
			t.Errorf("got %v and segment %d, want what was before it, %d", err, m.Renditions[0].State.Next, whole.Renditions[0].State.Next)
		}
	})
}

// FuzzMemo: a file that was damaged is refused, or something playable comes out.
func FuzzMemo(f *testing.F) {
	n := newNotebook()
	f.Add([]byte(`{"id":"x","renditions":[{"name":"video","state":{"target":2000000000,"part":500000000}}]}`))
	f.Add([]byte(`{"id":"x","zero":"2000-01-01T00:00:00Z","end":1000000000,"audio":"opus","renditions":[{"name":"audio","counter":3,"state":{"target":2000000000,"part":500000000,"next":1,"segments":[{"URI":"s0.m4s","Duration":1000000000,"init":"i.mp4"}]}}]}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		m, err := readMemo(bytes.Split(line, []byte("\n")))
		if err != nil {
			return
		}
		r := &runner{cfg: Config{Ledger: n, Audio: Opus}.withDefaults(), log: slog.New(slog.DiscardHandler), metrics: &Metrics{}}
		r.out = outlet{sink: &drain{}, log: r.log, metrics: r.metrics}
		hub := stream.NewHub(stream.Config{})
		if r.stream, err = hub.Stream("show"); err != nil {
			t.Fatal(err)
		}
		p, err := r.revive(t.Context(), m, m.Zero.Add(m.End+3*time.Second))
		if err != nil {
			return
		}
		if err := p.vacate(t.Context(), m.Zero.Add(m.End+9*time.Second)); err != nil {
			t.Logf("revived, but: %v", err)
		}
	})
}
