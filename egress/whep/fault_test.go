package whep_test

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/whipcast/whipcast/egress/whep"
	"github.com/whipcast/whipcast/internal/rtc"
)

// syncLog is a log that is written and read by several goroutines.
type syncLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *syncLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *syncLog) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), part)
}

// TestFaultEndsItsAudience: X26 a fault in what serves many viewers ends these, and nobody
// else. Who comes then is served.
func TestFaultEndsItsAudience(t *testing.T) {
	for _, part := range []string{"lane", "audience", "herald"} {
		t.Run(part, func(t *testing.T) {
			lines := &syncLog{}
			var broken atomic.Bool
			g := newGatewayWith(t, whep.Config{Size: func(name, _ string) (int, int) {
				if name == "live" && broken.Swap(false) {
					panic("fault in Size") //nolint:forbidigo // what is tested
				}
				return 0, 0
			}}, rtc.RegistryConfig{Logger: slog.New(slog.NewTextHandler(lines, nil))})
			show := func(name string) (v *viewer, stop func()) {
				stop = (&film{}).run(g.publish(name, video), 0, 0)
				v = g.watch(name, recvVideo)
				until(t, "pictures arrive", func() bool { return len(v.seen("video")) > 10 })
				return v, stop
			}
			other, stop := show("other")
			defer stop()
			_, stop = show("live")
			second := g.watch("live", recvVideo)
			until(t, "pictures arrive", func() bool { return len(second.seen("video")) > 10 })
			if part == "herald" {
				broken.Store(true)
				stop()
				stop = (&film{}).run(g.publish("live", video), 0, 0)
			} else {
				g.server.Break("live", part)
			}
			until(t, "both viewers are ended", func() bool { return lines.count("reason=\"fault of the gateway") == 2 })
			stop()
			if n := lines.count("level=ERROR"); n != 1 || lines.count("stack=") != 1 {
				t.Errorf("%d errors are logged, want one with its stack", n)
			}
			_, stop = show("live")
			defer stop()
			before := len(other.seen("video"))
			until(t, "who watches something else goes on", func() bool { return len(other.seen("video")) > before+10 })
			if n := g.server.Viewers("live"); n != 1 {
				t.Errorf("%d viewers after the fault, want the new one", n)
			}
		})
	}
}
