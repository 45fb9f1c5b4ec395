package check_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/whipcast/whipcast/internal/check"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Checks run at the same time, each within its own time; what they find comes in
// their order, as early as that allows.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		after := func(name string, d time.Duration, s check.State) check.Check {
			return check.Check{Name: name, Timeout: 3 * time.Second, Run: func(ctx context.Context) []check.Finding {
				select {
				case <-time.After(d):
					return []check.Finding{{Name: name, State: s}}
				case <-ctx.Done():
					return []check.Finding{{name, check.Failed, "no answer in time", ""}}
				}
			}}
		}
		checks := []check.Check{
			after("b", 2*time.Second, check.OK), after("a", time.Second, check.Warning), after("d", time.Hour, check.OK), after("c", 0, check.Skipped),
		}
		var steps []string
		began := time.Now()
		report := check.Run(t.Context(), checks, func(g check.Progress) {
			var fresh []string
			for _, f := range g.Fresh {
				fresh = append(fresh, f.Name)
			}
			steps = append(steps, fmt.Sprintf("%v: %s | %s", time.Since(began), strings.Join(fresh, " "), strings.Join(g.Running, " ")))
		})
		want := []string{"0s:  | b a d c", "0s:  | b a d", "1s:  | b d", "2s: b a | d", "3s: d c | "}
		if diff := cmp.Diff(want, steps); diff != "" {
			t.Errorf("steps (-want +got):\n%s", diff)
		}
		if report.State() != check.Failed || report.Count(check.OK) != 1 || len(report.Troubles()) != 2 {
			t.Errorf("report %+v", report)
		}
	})
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	waits := check.Check{Name: "x", Run: func(ctx context.Context) []check.Finding {
		cancel()
		<-ctx.Done()
		return nil
	}}
	if r := check.Run(ctx, []check.Check{waits, waits}, nil); len(r.Findings) != 0 || r.State() != check.OK {
		t.Errorf("report %+v", r)
	}
}

var findings = []check.Finding{
	{Name: "http.address", Cause: ":8080 is free"},
	{"http.tls", check.Skipped, "no certificate is configured", "set it"},
	{"admin.address", check.Warning, "not loopback", "set it to 127.0.0.1:8081"},
	{"s3-1 write", check.Failed, "there is no such bucket (NoSuchBucket, status 404)", "make the bucket"},
}

const printed = `  ok       http.address         :8080 is free
  skipped  http.tls             no certificate is configured
                                → set it
  warning  admin.address        not loopback
                                → set it to 127.0.0.1:8081
  failed   s3-1 write           there is no such bucket (NoSuchBucket, status 404)
                                → make the bucket

1 failed, 1 warning, 1 ok, 1 skipped
`

func TestPrinter(t *testing.T) {
	var b strings.Builder
	p := check.NewPrinter(&b)
	p.Show(check.Progress{Running: []string{"a", "b"}})
	p.Show(check.Progress{Fresh: findings[:1], Running: []string{"b"}})
	p.Show(check.Progress{Fresh: findings[1:]})
	if err := p.Sum(check.Report{Findings: findings}); err != nil || b.String() != printed {
		t.Errorf("%v:\n got\n%s\nwant\n%s", err, b.String(), printed)
	}
}

// On a terminal a line says what runs; nothing of it stays.
func TestLivePrinter(t *testing.T) {
	var b strings.Builder
	p := check.NewLivePrinter(&b)
	p.Show(check.Progress{Running: []string{"a", strings.Repeat("b", 100)}})
	line := b.String()
	if !strings.HasPrefix(line, "  …        a, bbb") || len([]rune(line)) > 79 || strings.Contains(line, "\n") {
		t.Errorf("line %q", line)
	}
	p.Show(check.Progress{Fresh: findings[:1], Running: []string{"b"}})
	p.Show(check.Progress{Fresh: findings[1:]})
	if err := p.Sum(check.Report{Findings: findings}); err != nil {
		t.Error(err)
	}
	const erase = "\r\x1b[K"
	var screen []string // what a terminal shows in the end
	for line := range strings.SplitSeq(b.String(), "\n") {
		parts := strings.Split(line, erase)
		screen = append(screen, parts[len(parts)-1])
	}
	if got := strings.Join(screen, "\n"); got != printed {
		t.Errorf("shown in the end:\n%s\nwant\n%s", got, printed)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("pipe is broken") }

func TestPrinterOnABrokenPipe(t *testing.T) {
	p := check.NewPrinter(broken{})
	p.Show(check.Progress{Fresh: findings})
	if err := p.Sum(check.Report{}); err == nil || err.Error() != "pipe is broken" {
		t.Errorf("error %v", err)
	}
}

func TestJSON(t *testing.T) {
	text, err := json.Marshal(check.Report{Findings: findings[2:]})
	want := `{"state":"failed","ok":0,"skipped":0,"warnings":1,"failed":1,"findings":[` +
		`{"name":"admin.address","state":"warning","cause":"not loopback","remedy":"set it to 127.0.0.1:8081"},` +
		`{"name":"s3-1 write","state":"failed","cause":"there is no such bucket (NoSuchBucket, status 404)","remedy":"make the bucket"}]}`
	if err != nil || string(text) != want {
		t.Errorf("%v:\n got %s\nwant %s", err, text, want)
	}
	text, err = json.Marshal(check.Report{})
	if want := `{"state":"ok","ok":0,"skipped":0,"warnings":0,"failed":0,"findings":[]}`; err != nil || string(text) != want {
		t.Errorf("%v: %s, want %s", err, text, want)
	}
	var s check.State
	for _, f := range findings {
		if err := s.UnmarshalText([]byte(f.State.String())); err != nil || s != f.State {
			t.Errorf("%v came back as %v, %v", f.State, s, err)
		}
	}
	if s.UnmarshalText([]byte("fine")) == nil {
		t.Error("an unknown state was read")
	}
}
