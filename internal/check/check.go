// Package check looks for what keeps a gateway from working, and says it in
// plain words: what was looked at, how it is, why, and what to do about it.
//
//	Check (a name, a time limit, a function) ─Run─▶ Finding, Finding, … ─▶ Printer (people) or JSON (machines)
//
// Checks run at the same time; findings come in the order of the checks. Each
// check gives its findings as values, so what decides is pure and what asks the
// system or the network is small. No finding has a secret.
package check

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"
)

// State is how a thing is.
type State uint8

// The states, from good to bad.
const (
	OK      State = iota
	Skipped       // not looked at, Cause says why
	Warning       // it works, but not as one would wish
	Failed        // it does not work
)

// String returns the state's name.
func (s State) String() string {
	return [...]string{"ok", "skipped", "warning", "failed"}[min(s, Failed)]
}

// MarshalText implements encoding.TextMarshaler.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *State) UnmarshalText(text []byte) error {
	for _, known := range []State{OK, Skipped, Warning, Failed} {
		if known.String() == string(text) {
			*s = known
			return nil
		}
	}
	return fmt.Errorf("state %q is unknown", text)
}

// Finding is what a check found about one thing. All texts are one line.
type Finding struct {
	Name   string `json:"name"` // of the thing, such as http.address
	State  State  `json:"state"`
	Cause  string `json:"cause"`            // what was found; if it is not good, why
	Remedy string `json:"remedy,omitempty"` // what to do about it
}

// Check is something to look at.
type Check struct {
	Name    string        // what people see while it runs
	Timeout time.Duration // after which its context ends; 0: 10 s
	Run     func(ctx context.Context) []Finding
}

// usualTimeout is that of a Check without its own.
const usualTimeout = 10 * time.Second

// Progress is how far a Run is.
type Progress struct {
	Fresh   []Finding // found since the last Progress, in the order of the checks
	Running []string  // names of the checks that still run
}

// Run runs all checks at the same time and returns what they found, in their
// order. watch is told of each step, one call at a time; it may be nil.
func Run(ctx context.Context, checks []Check, watch func(Progress)) Report {
	type result struct {
		at    int
		found []Finding
	}
	results := make(chan result)
	var all sync.WaitGroup
	defer all.Wait()
	for i, c := range checks {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, orElse(c.Timeout, usualTimeout))
			defer cancel()
			results <- result{i, c.Run(ctx)}
		})
	}
	if watch == nil {
		watch = func(Progress) {}
	}
	var (
		report  Report
		found   = make([][]Finding, len(checks))
		ended   = make([]bool, len(checks))
		shown   int
		running = func() []string {
			var names []string
			for i, c := range checks {
				if !ended[i] {
					names = append(names, c.Name)
				}
			}
			return names
		}
	)
	watch(Progress{Running: running()})
	for range checks {
		r := <-results
		found[r.at], ended[r.at] = r.found, true
		var fresh []Finding
		for ; shown < len(checks) && ended[shown]; shown++ {
			fresh = append(fresh, found[shown]...)
		}
		report.Findings = append(report.Findings, fresh...)
		watch(Progress{Fresh: fresh, Running: running()})
	}
	return report
}

func orElse(d, usual time.Duration) time.Duration {
	if d <= 0 {
		return usual
	}
	return d
}

// Report is all that was found.
type Report struct {
	Findings []Finding
}

// State is that of the worst finding; what was skipped is no harm.
func (r Report) State() State {
	worst := OK
	for _, f := range r.Findings {
		if f.State > worst && f.State != Skipped {
			worst = f.State
		}
	}
	return worst
}

// Count returns how many findings have a state.
func (r Report) Count(s State) int {
	n := 0
	for _, f := range r.Findings {
		if f.State == s {
			n++
		}
	}
	return n
}

// Troubles are the findings that need somebody's attention.
func (r Report) Troubles() []Finding {
	return slices.DeleteFunc(slices.Clone(r.Findings), func(f Finding) bool { return f.State < Warning })
}

// MarshalJSON implements json.Marshaler:
//
//	{"state": "failed", "ok": 9, "skipped": 1, "warnings": 0, "failed": 1, "findings": [{"name": …}]}
func (r Report) MarshalJSON() ([]byte, error) {
	findings := r.Findings
	if findings == nil {
		findings = []Finding{}
	}
	return json.Marshal(struct {
		State    State     `json:"state"`
		OK       int       `json:"ok"`
		Skipped  int       `json:"skipped"`
		Warnings int       `json:"warnings"`
		Failed   int       `json:"failed"`
		Findings []Finding `json:"findings"`
	}{r.State(), r.Count(OK), r.Count(Skipped), r.Count(Warning), r.Count(Failed), findings})
}
