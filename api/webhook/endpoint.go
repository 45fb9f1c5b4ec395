package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/whipcast/whipcast/internal/outbound"
)

const (
	callTime = 10 * time.Second // of a call, until the answer's head
	stopTime = time.Second      // that calls under way get at the end
	maxInbox = 1024             // events between two looks of run
	maxReply = 16 << 10         // bytes of an answer that are read
)

// endpoint is one receiver. put is for any goroutine; the rest belongs to run.
type endpoint struct {
	hook    Hook
	secret  []byte
	client  *http.Client
	log     *slog.Logger
	kick    chan struct{} // there is something in the inbox
	results chan result
	metrics Metrics
	health  atomic.Pointer[Health]

	mu    sync.Mutex
	inbox []*entry // below mu

	backlog *backlog
	journal *journal
	number  uint64 // of the newest event
	broken  bool   // the journal cannot be written, and that was said
	state   State
	err     string
	since   time.Time
	lost    uint64 // dropped while it fails
}

// result is how a call went.
type result struct {
	entry  *entry
	status int           // 0 without an answer
	err    error         // without an answer
	ask    time.Duration // Retry-After
}

// connect makes the client.
func (e *endpoint) connect(cfg Config) error {
	at, err := url.Parse(e.hook.URL)
	if err != nil || at.Host == "" {
		return fmt.Errorf("open %s: its URL cannot be read", e.hook.Name) // which may hold a secret
	}
	if ip, err := netip.ParseAddr(at.Hostname()); err == nil && outbound.Metadata(ip) {
		return fmt.Errorf("open %s: its URL leads to a metadata service: %w", e.hook.Name, outbound.ErrForbidden)
	}
	e.secret, e.state = outbound.Secret(e.hook.Secret), Working
	e.client = outbound.NewClient(outbound.Config{Time: callTime, Calls: cfg.Calls, Guard: outbound.Chosen(at.Hostname())})
	if cfg.Transport != nil {
		e.client.Transport = cfg.Transport
	}
	if cfg.Around != nil {
		e.client.Transport = cfg.Around(e.client.Transport)
	}
	return nil
}

// put takes an event into the inbox.
func (e *endpoint) put(each *entry) {
	e.mu.Lock()
	full := len(e.inbox) >= maxInbox
	if !full {
		e.inbox = append(e.inbox, each)
	}
	e.mu.Unlock()
	if full {
		e.metrics.Dropped.Add(1)
		return
	}
	select {
	case e.kick <- struct{}{}:
	default:
	}
}

// run delivers until ctx ends.
func (e *endpoint) run(ctx context.Context) {
	calls, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer e.client.CloseIdleConnections()
	alarm := time.NewTimer(time.Hour)
	defer alarm.Stop()
	for ctx.Err() == nil {
		e.receive()
		e.drop(e.backlog.expire(time.Now()))
		alarm.Reset(e.send(calls))
		e.show()
		select {
		case <-e.kick:
		case r := <-e.results:
			e.settle(r)
		case <-alarm.C:
		case <-ctx.Done():
		}
	}
	// Who is asked just now may answer yet: it would be asked again otherwise.
	late := time.AfterFunc(stopTime, cancel)
	defer late.Stop()
	for e.backlog.busy > 0 {
		e.settle(<-e.results)
	}
	e.receive()
	e.note(e.journal.close())
	e.show()
}

// receive moves what is in the inbox to the journal and the backlog.
func (e *endpoint) receive() {
	e.mu.Lock()
	all := e.inbox
	e.inbox = nil
	e.mu.Unlock()
	for _, each := range all {
		if e.state == Gone {
			e.metrics.Dropped.Add(1)
			continue
		}
		e.number++
		own := *each
		own.Number = e.number
		e.note(e.journal.begin(&own))
		e.drop(e.backlog.add(&own))
	}
}

// send begins the calls that are due and returns when to look again.
func (e *endpoint) send(ctx context.Context) time.Duration {
	if e.state == Gone {
		e.forget()
		return time.Hour
	}
	for {
		next, at := e.backlog.pick(time.Now())
		switch {
		case next != nil:
			go func() { e.results <- e.call(ctx, next) }() // run waits for it: it counts what is under way
		case at.IsZero():
			return time.Hour // to look for what is too old
		default:
			return min(time.Until(at), time.Hour)
		}
	}
}

// call sends an event.
func (e *endpoint) call(ctx context.Context, each *entry) result {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, e.hook.URL, bytes.NewReader(each.Body))
	if err != nil {
		return result{entry: each, err: err}
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "whipcast")
	outbound.Sign(request.Header, e.secret, each.ID, strconv.FormatInt(time.Now().Unix(), 10), each.Body)
	response, err := e.client.Do(request)
	if err != nil {
		return result{entry: each, err: err}
	}
	// What it says besides does not matter, but the connection can be used again.
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, maxReply))
	_ = response.Body.Close()
	return result{entry: each, status: response.StatusCode, ask: after(response.Header.Get("Retry-After"))}
}

// after reads Retry-After, in seconds or as a date; 0 for anything else.
func after(text string) time.Duration {
	if seconds, err := strconv.ParseUint(text, 10, 32); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}

// settle takes the result of a call.
func (e *endpoint) settle(r result) {
	now := time.Now()
	switch {
	case r.status/100 == 2:
		e.backlog.done(r.entry)
		e.note(e.journal.end(r.entry))
		e.metrics.Delivered.Add(1)
		e.works()
		return
	case errors.Is(r.err, context.Canceled): // the end of run
		e.backlog.failed(r.entry, now, 0)
		return
	case r.status == http.StatusGone:
		e.backlog.failed(r.entry, now, 0)
		e.gone(now)
	case slices.Contains([]int{
		http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity,
	}, r.status):
		e.works()
		if e.backlog.refused(r.entry, now) {
			e.note(e.journal.end(r.entry))
			e.metrics.Dropped.Add(1)
			e.log.Warn("webhook refuses an event, which is given up", "event", r.entry.ID, "status", r.status)
		}
	default:
		e.backlog.failed(r.entry, now, r.ask)
		e.fails(now, reason(r))
	}
	e.metrics.Failures.Add(1)
}

// reason says in words why a call failed, without the URL.
func reason(r result) string {
	err := r.err
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	switch {
	case err != nil && errors.Is(r.err, context.DeadlineExceeded):
		return fmt.Sprintf("no answer within %v", callTime)
	case err != nil:
		return err.Error()
	case r.status/100 == 3:
		return fmt.Sprintf("status %d: redirects are not followed; configure the URL that it leads to", r.status)
	}
	return fmt.Sprintf("status %d, where 2xx is an answer", r.status)
}

// fails notes that the receiver does not work, and says so once.
func (e *endpoint) fails(now time.Time, why string) {
	if e.state == Working {
		e.state, e.since = Failing, now
		e.log.Warn("webhook fails: events wait and are sent again", "error", why)
	}
	e.err = why
}

// works notes that the receiver works, and says so if it did not.
func (e *endpoint) works() {
	if e.state == Failing {
		e.log.Info("webhook works again", "failed_for", time.Since(e.since).Round(time.Second), "dropped", e.lost, "waiting", e.backlog.count)
		e.state, e.err, e.since, e.lost = Working, "", time.Time{}, 0
	}
}

// gone gives the receiver up.
func (e *endpoint) gone(now time.Time) {
	if e.state == Gone {
		return
	}
	e.state, e.since, e.err = Gone, now, "status 410: it is gone"
	e.log.Warn("webhook says that it is gone: nothing is sent to it until a restart; remove it from webhooks, or correct its url")
	e.forget()
}

// forget drops all that waits.
func (e *endpoint) forget() { e.drop(e.backlog.clear()) }

// drop counts what was given up, and says so once for each time that the receiver
// fails.
func (e *endpoint) drop(all []*entry) {
	for _, each := range all {
		e.note(e.journal.end(each))
		e.metrics.Dropped.Add(1)
		if e.lost++; e.lost == 1 && e.state != Gone {
			e.log.Warn("events for a webhook are dropped: too many wait, or for too long", "limit", e.backlog.bounds.events, "limit_age", e.backlog.bounds.age)
		}
	}
}

// note says once that the journal cannot be written.
func (e *endpoint) note(err error) {
	switch {
	case err != nil:
		e.metrics.Journal.Add(1)
		if !e.broken {
			e.log.Warn("events for a webhook would be lost by a restart now: let this user write to data_dir", "error", err)
		}
		e.broken = true
	case e.broken && e.journal.file != nil:
		e.broken = false
		e.log.Info("events for a webhook are kept over a restart again")
	}
}

// show makes Health what it is now.
func (e *endpoint) show() {
	e.health.Store(&Health{
		Name: e.hook.Name, State: e.state, Error: e.err, Since: e.since,
		Waiting: e.backlog.count, Oldest: e.backlog.first(),
	})
}
