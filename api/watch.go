package api

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/whipcast/whipcast/api/event"
	"github.com/whipcast/whipcast/stream"
)

const (
	// lookEvery is how often is looked for what has changed.
	lookEvery = 250 * time.Millisecond
	// measureFor is over how long bit rates are measured.
	measureFor = 2 * time.Second
)

// Run tells of what happens, and measures bit rates, until ctx ends; then those who
// listen to events are let go. Call it once, beside the HTTP server.
func (s *Server) Run(ctx context.Context) error {
	defer s.end()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var seen picture
	for first := true; ; first = false {
		now := s.look(seen)
		if !first {
			s.tell(seen, now)
		}
		seen = now
		select {
		case <-tick.C:
		case <-ctx.Done():
			s.tell(seen, s.look(seen))
			return nil
		}
	}
}

// picture is how things are at one moment.
type picture struct {
	streams  map[string]condition
	sessions map[string]Session
	storage  map[string]Storage
}

// condition is how one stream is.
type condition struct {
	live     bool
	epoch    uint64
	left     string // why the last publisher that is gone left
	severity string // of the worst finding
	findings []event.Finding
}

// look returns how things are.
func (s *Server) look(before picture) picture {
	now := picture{map[string]condition{}, map[string]Session{}, map[string]Storage{}}
	var sources []*stream.Source
	programs := map[string]bool{}
	if s.cfg.Stages != nil {
		for _, each := range s.cfg.Stages.Stages() {
			programs[each.Name] = true
		}
	}
	for _, each := range s.hub.Streams() {
		state := each.State()
		c := condition{live: state.Live, epoch: state.Epoch, severity: "none"}
		if was := before.streams[each.Name()]; programs[each.Name()] && was.live && c.live {
			c.epoch = was.epoch // a cut is no other publisher
		}
		if state.Left != nil {
			c.left = state.Left.Error()
		}
		if state.Live {
			sources = append(sources, state.Sources...)
			c.findings, c.severity = s.findings(each.Name(), state.Sources)
		} else if was, ok := before.streams[each.Name()]; ok {
			c.findings, c.severity = was.findings, was.severity // nobody is there to mend them
		}
		now.streams[each.Name()] = c
	}
	s.meter.measure(sources, time.Now())
	if s.cfg.Sessions != nil {
		for _, one := range s.cfg.Sessions.All() {
			now.sessions[one.ID] = one
		}
	}
	for _, one := range s.places() {
		now.storage[one.Name] = one
	}
	return now
}

// findings lists what is wrong with a stream, and how bad the worst is.
func (s *Server) findings(name string, sources []*stream.Source) ([]event.Finding, string) {
	all, worst := []event.Finding{}, "none"
	if s.cfg.Findings == nil {
		return all, worst
	}
	order := []string{"none", "note", "warning", "problem"}
	for _, source := range sources {
		layer := kindOf(source.Layer.ID)
		if source.Layer.ID.RID != "" {
			layer += ":" + source.Layer.ID.RID
		}
		for _, f := range s.cfg.Findings(name, source.Layer.ID) {
			all = append(all, event.Finding{Layer: layer, Code: f.Code, Severity: f.Severity, Words: f.Words, Remedy: f.Remedy})
			if slices.Index(order, f.Severity) > slices.Index(order, worst) {
				worst = f.Severity
			}
		}
	}
	return all, worst
}

// tell publishes what has changed between two pictures.
func (s *Server) tell(before, now picture) {
	for _, name := range both(before.streams, now.streams) {
		s.tellStream(name, before.streams[name], now.streams[name])
	}
	for _, id := range both(before.sessions, now.sessions) {
		was, there := before.sessions[id]
		is, here := now.sessions[id]
		switch {
		case here && !there:
			s.events.Publish(event.SessionBegun, is.Stream, eventOf(is, ""))
		case there && !here:
			s.events.Publish(event.SessionEnded, was.Stream, eventOf(was, s.cfg.Sessions.Reason(id)))
		}
	}
	for name, is := range now.storage {
		if was, ok := before.storage[name]; ok && was.State != is.State {
			s.events.Publish(event.StorageState, "", event.Storage{Name: name, State: is.State, Before: was.State, Error: is.Error})
		}
	}
}

func eventOf(one Session, reason string) event.Session {
	return event.Session{ID: one.ID, Kind: one.Kind, Protocol: one.Protocol, Principal: one.Principal, Reason: reason}
}

func (s *Server) tellStream(name string, was, is condition) {
	if was.live && (!is.live || is.epoch != was.epoch) {
		s.events.Publish(event.StreamStopped, name, event.Stop{Epoch: was.epoch, Reason: is.left})
	}
	if is.epoch > was.epoch {
		s.events.Publish(event.StreamStarted, name, event.Start{Epoch: is.epoch})
		if !is.live { // it came and went between two looks
			s.events.Publish(event.StreamStopped, name, event.Stop{Epoch: is.epoch, Reason: is.left})
		}
	}
	if key(was.findings) != key(is.findings) && is.live {
		worst := was.severity
		if worst == "" {
			worst = "none"
		}
		s.events.Publish(event.StreamFindings, name, event.Findings{Severity: is.severity, Before: worst, Findings: is.findings})
	}
}

// key says whether findings are the same but for their words, which have numbers.
func key(all []event.Finding) string {
	var words []string
	for _, f := range all {
		words = append(words, f.Layer+" "+f.Code+" "+f.Severity)
	}
	slices.Sort(words)
	return strings.Join(words, "\n")
}

// both returns the names that are in any of two, sorted.
func both[T any](a, b map[string]T) []string {
	var all []string
	for name := range a {
		all = append(all, name)
	}
	for name := range b {
		if _, ok := a[name]; !ok {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

// meter measures the bit rates of Sources. The zero value works. Any goroutine may call
// it.
type meter struct {
	mu sync.Mutex
	of map[*stream.Source]reading // below mu
}

// reading is what was counted at the begin of the present measurement, and what came of
// the one before.
type reading struct {
	at    time.Time
	bytes uint64
	rate  uint64 // bit/s
}

// measure reads the counters of all Sources that are published; others are forgotten.
func (m *meter) measure(sources []*stream.Source, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := make(map[*stream.Source]reading, len(sources))
	for _, source := range sources {
		bytes := source.Counters().Bytes
		r, ok := m.of[source]
		switch {
		case !ok:
			r = reading{at: now, bytes: bytes}
		case now.Sub(r.at) >= measureFor:
			r = reading{now, bytes, uint64(float64(bytes-r.bytes) * 8 / now.Sub(r.at).Seconds())}
		}
		next[source] = r
	}
	m.of = next
}

// rate returns the bit rate of a Source, 0 before it is known.
func (m *meter) rate(source *stream.Source) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.of[source].rate
}
