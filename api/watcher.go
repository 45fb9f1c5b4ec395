package api

import (
	"context"
	"encoding/json"
	"net/http"
	"reflect"
	"sync"
	"time"

	"github.com/whipcast/whipcast/api/auth"
)

const (
	// maxWatchers is how many may watch stages at once, and seatWatchers those with the
	// token of one seat.
	maxWatchers  = 1000
	seatWatchers = 8
	// viewEvery is how far apart two views are at least that a watcher gets.
	viewEvery = 200 * time.Millisecond
)

func viewType() reflect.Type { return reflect.TypeFor[StageView]() }

// watcher is one request for what changes on a stage.
type watcher struct {
	server *Server
	grant  auth.Grant
	stage  string
	seat   string // "": the control room

	seen uint64
	sent time.Time
}

func (s *Server) watcher(ctx context.Context, stage string) (*watcher, error) {
	w := &watcher{server: s, grant: grantOf(ctx), stage: stage, seat: seatOf(ctx)}
	if _, err := s.view(stage, w.seat); err != nil {
		return nil, err
	}
	if !s.watchers.add(w.grant.Chair()) {
		return nil, Refuse(Listeners, "")
	}
	return w, nil
}

// watchers counts who watches stages: in all, and of each seat.
type watchers struct {
	mu    sync.Mutex
	all   int            // below mu
	seats map[string]int // below mu; "" is who has no seat
}

// add reports whether one more may watch, and counts it then.
func (c *watchers) add(chair string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all >= maxWatchers || chair != "" && c.seats[chair] >= seatWatchers {
		return false
	}
	if c.seats == nil {
		c.seats = map[string]int{}
	}
	c.all++
	c.seats[chair]++
	return true
}

func (c *watchers) remove(chair string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all--
	if c.seats[chair]--; c.seats[chair] == 0 {
		delete(c.seats, chair)
	}
}

// serve sends views until the watcher goes, the server stops, or the token or the stage
// ends.
func (w *watcher) serve(ctx context.Context, to http.ResponseWriter) {
	defer w.server.watchers.remove(w.grant.Chair())
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(w.server.life, cancel)() //nolint:contextcheck // the server's end is one of the request
	to.Header().Set("Content-Type", "text/event-stream")
	to.Header().Set("X-Accel-Buffering", "no") // nginx passes each event on
	control := http.NewResponseController(to)
	for text := w.text(); text != ""; text = w.next(ctx) {
		// A ResponseWriter that knows no deadline is a test's.
		_ = control.SetWriteDeadline(time.Now().Add(listenTime))
		if _, err := to.Write([]byte(text)); err != nil {
			return
		}
		if err := control.Flush(); err != nil {
			return
		}
	}
}

// next waits for what is to be sent; "" when nothing more is.
func (w *watcher) next(ctx context.Context) string {
	pause := time.NewTimer(viewEvery - time.Since(w.sent))
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-ctx.Done():
		return ""
	}
	beat, cancel := context.WithTimeout(ctx, heartbeat)
	defer cancel()
	seen, err := w.server.cfg.Stages.Changed(beat, w.stage, w.seen)
	switch {
	case ctx.Err() != nil || !w.valid():
		return ""
	case beat.Err() != nil:
		return ": still here\n\n"
	case err != nil: // the stage has ended
		return ""
	}
	w.seen = seen
	return w.text()
}

// text is what is to be seen now; "" when there is nothing any more.
func (w *watcher) text() string {
	w.sent = time.Now()
	view, err := w.server.view(w.stage, w.seat)
	if err != nil {
		return ""
	}
	body, err := json.Marshal(view)
	if err != nil {
		return ""
	}
	return "event: stage\ndata: " + string(body) + "\n\n"
}

// valid reports whether the token still counts.
func (w *watcher) valid() bool {
	name := w.stage
	action := auth.Admin
	if w.seat != "" {
		name, action = w.grant.Chair(), auth.Seat
	}
	return !w.server.auth.Revoked(w.grant, name) && w.grant.Permits(action, name, time.Now()) == nil
}
