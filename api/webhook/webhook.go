// Package webhook tells servers of the operator what happens: a POST for each event,
// signed, in order for each stream, again until it is taken, also after a restart.
//
//	Post ─▶ inbox of each endpoint ─▶ backlog (pure: what is next, and when) ─▶ POST
//	                                  └▶ journal: a file, so that a restart forgets nothing
//
// An event arrives at least once: the receiver tells repeats by webhook-id, which
// stays the same. Events of one stream arrive in their order, those of others do not
// wait for them.
//
// Invariant: a receiver that is dead costs a bounded file and bounded memory. What is
// too much is dropped, oldest first, and counted.
package webhook

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Hook is one receiver.
type Hook struct {
	Name    string // for the log and metrics; each its own
	URL     string // each its own; it is never logged, for it may hold a secret
	Secret  string // for the signature; after "whsec_" it is base64
	Events  []string
	Streams []string // names; a * at the end stands for any rest. None: all
}

// Config of a Sender.
type Config struct {
	Folder string // of the journals; it is made
	Hooks  []Hook
	Logger *slog.Logger // nil: nothing is logged

	MaxEvents int           // that wait for one receiver; default 10,000
	MaxBytes  int64         // of them; default 8 MiB
	MaxAge    time.Duration // default 24 h
	Calls     int           // at once, to one receiver; default 4
	// Transport makes the calls; default: one that keeps to outbound.Chosen.
	Transport http.RoundTripper
	// Around makes calls by way of another transport, of that one; nil: directly.
	Around func(http.RoundTripper) http.RoundTripper
}

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.MaxEvents <= 0 {
		c.MaxEvents = 10_000
	}
	if c.MaxBytes <= 0 {
		c.MaxBytes = 8 << 20
	}
	if c.MaxAge <= 0 {
		c.MaxAge = 24 * time.Hour
	}
	if c.Calls <= 0 {
		c.Calls = 4
	}
	return c
}

const (
	journalSuffix = ".log"
	maxJournal    = 64 << 20 // bytes that are read of one
)

// Metrics are running totals of one receiver. Any goroutine may read them.
type Metrics struct {
	Events    atomic.Uint64 // for this receiver
	Delivered atomic.Uint64
	Failures  atomic.Uint64 // calls that were not answered by 2xx
	Dropped   atomic.Uint64 // events that were given up: too many, too old, refused, or not to be written as JSON
	Journal   atomic.Uint64 // times that the journal could not be written
}

// State says how a receiver does.
type State string

// The states.
const (
	Working State = "working"
	Failing State = "failing"
	Gone    State = "gone" // it said so: nothing is sent until a restart
)

// Health is how a receiver does at one moment.
type Health struct {
	Name    string
	State   State
	Error   string    // the last one, while it fails
	Since   time.Time // since when it fails
	Waiting int       // events
	Oldest  time.Time // when the oldest of them happened
	Dropped uint64    // since the start
}

// Sender delivers events. Post, Health and Metrics may be called from any goroutine.
type Sender struct {
	log       *slog.Logger
	endpoints []*endpoint
}

// New returns a Sender with what an earlier one has left to do. Only Run sends.
func New(cfg Config) (*Sender, error) {
	cfg = cfg.withDefaults()
	if err := os.MkdirAll(cfg.Folder, 0o700); err != nil {
		return nil, fmt.Errorf("open webhooks: %w", err)
	}
	s := &Sender{log: cfg.Logger}
	kept := map[string]bool{}
	for _, h := range cfg.Hooks {
		sum := sha256.Sum256([]byte(h.URL))
		name := hex.EncodeToString(sum[:8]) + journalSuffix
		kept[name] = true
		e, err := newEndpoint(cfg, h, filepath.Join(cfg.Folder, name))
		if err != nil {
			return nil, err
		}
		s.endpoints = append(s.endpoints, e)
	}
	return s, s.sweep(cfg.Folder, kept)
}

// sweep removes the journals of receivers that are not configured any more.
func (s *Sender) sweep(folder string, kept map[string]bool) error {
	files, err := os.ReadDir(folder)
	if err != nil {
		return fmt.Errorf("open webhooks: %w", err)
	}
	for _, f := range files {
		known, _ := strings.CutSuffix(f.Name(), ".new")
		if kept[f.Name()] || !strings.HasSuffix(known, journalSuffix) {
			continue
		}
		if err := remove(filepath.Join(folder, f.Name())); err != nil {
			return fmt.Errorf("remove old webhook journal: %w", err)
		}
		s.log.Warn("events for a webhook that is not configured any more are forgotten", "journal", f.Name())
	}
	return nil
}

// Post gives an event to the receivers that want it. It never waits.
func (s *Sender) Post(e Event) {
	var (
		body []byte
		err  error
	)
	id := "msg_" + rand.Text()
	for _, to := range s.endpoints {
		if !to.hook.wants(e) {
			continue
		}
		if body == nil && err == nil {
			if body, err = e.Body(); err != nil {
				s.log.Error("event cannot be sent", "event", e.Type, "error", err)
			}
		}
		to.metrics.Events.Add(1)
		if err != nil {
			to.metrics.Dropped.Add(1)
			continue
		}
		to.put(&entry{ID: id, At: e.Time, Stream: e.Stream, Body: body})
	}
}

// Run delivers until ctx ends. Calls under way then get a second more; what is not
// delivered stays for the next start. Call it once.
func (s *Sender) Run(ctx context.Context) error {
	var running sync.WaitGroup
	for _, e := range s.endpoints {
		running.Go(func() { e.run(ctx) })
	}
	running.Wait()
	return nil
}

// Health says how each receiver does.
func (s *Sender) Health() []Health {
	all := make([]Health, 0, len(s.endpoints))
	for _, e := range s.endpoints {
		h := *e.health.Load()
		h.Dropped = e.metrics.Dropped.Load()
		all = append(all, h)
	}
	return all
}

// Metrics returns the totals of each receiver, in the order of Config.
func (s *Sender) Metrics() []*Metrics {
	all := make([]*Metrics, 0, len(s.endpoints))
	for _, e := range s.endpoints {
		all = append(all, &e.metrics)
	}
	return all
}

// newEndpoint makes the endpoint of a Hook.
func newEndpoint(cfg Config, h Hook, path string) (*endpoint, error) {
	e := &endpoint{
		hook: h, log: cfg.Logger.With("webhook", h.Name), kick: make(chan struct{}, 1), results: make(chan result, cfg.Calls),
		backlog: newBacklog(bounds{cfg.MaxEvents, cfg.MaxBytes, cfg.MaxAge, cfg.Calls}, mathrand.Float64),
	}
	if err := e.connect(cfg); err != nil {
		return nil, err
	}
	j, left, err := openJournal(path, maxJournal)
	if err != nil {
		return nil, err
	}
	e.journal = j
	for _, each := range left {
		e.number = max(e.number, each.Number)
		e.drop(e.backlog.add(each))
	}
	e.show()
	return e, nil
}
