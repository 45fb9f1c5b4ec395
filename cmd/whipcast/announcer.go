package main

import (
	"slices"
	"time"

	"github.com/whipcast/whipcast/api/webhook"
	"github.com/whipcast/whipcast/packager/doctor"
	"github.com/whipcast/whipcast/replay"
	"github.com/whipcast/whipcast/storage"
)

const (
	// failingFor is how long nothing gets through to a place before webhooks are told.
	failingFor = 10 * time.Second
	// replayWithin is how long after a stream's end its replay is looked for.
	replayWithin = 24 * time.Hour
	// mostAwaited bounds how many streams' replays are looked for at once.
	mostAwaited = 1000
)

// announced is what webhooks were told of, so that what is can be compared with it,
// also after a restart: what has begun is told to be over, whatever happens between.
type announced struct {
	Streams map[string]streamAnnounced `json:"streams"`
	Storage map[string]bool            `json:"storage"` // places that fail
	Awaited map[string]replayAwaited   `json:"awaited"` // streams that have ended
}

// streamAnnounced is what was told of a stream that has not ended.
type streamAnnounced struct {
	Begun    time.Time `json:"begun"` // of its first publisher
	Epoch    uint64    `json:"epoch"` // of the last publisher that was told of
	Live     bool      `json:"live"`  // which is there
	Problems []string  `json:"problems,omitempty"`

	// Until is set after a restart: so long its publisher may take to come back
	// without a word.
	Until time.Time `json:"-"`
}

// replayAwaited is a stream that has ended, whose replays are told of.
type replayAwaited struct {
	Begun time.Time `json:"begun"`
	Ended time.Time `json:"ended"`
	Told  []string  `json:"told,omitempty"` // presentations, with their places
}

// situation is how things are at one moment.
type situation struct {
	at      time.Time
	streams map[string]streamNow
	storage map[string]placeNow
	replays func(name string) []replay.Replay // nil: not looked at
}

// streamNow is how one stream is.
type streamNow struct {
	live     bool
	program  bool // of a stage
	epoch    uint64
	left     string         // why the last publisher that is gone left
	findings []layerFinding // of severity doctor.Problem
}

// placeNow is how one storage place is.
type placeNow struct {
	storage.Health
	stored bool // something got through since the start: else it seems to work
}

// layerFinding is what is wrong with a layer.
type layerFinding struct {
	Layer  string      `json:"layer"` // "audio", "video", or "video:" and the RID
	Code   doctor.Code `json:"code"`
	Words  string      `json:"words"`
	Remedy string      `json:"remedy"`
}

// after returns how a stream is for who was told how it was: a cut of a program is no
// other publisher.
func (s streamNow) after(was streamAnnounced) streamNow {
	if s.program && s.live && was.Live {
		s.epoch = was.Epoch
	}
	return s
}

func (f layerFinding) key() string { return f.Layer + " " + string(f.Code) }

// What is told besides type, time and stream.
type (
	publisherNews struct {
		Epoch  uint64 `json:"epoch"`            // counts the publishers of a stream, since the gateway's start
		Reason string `json:"reason,omitempty"` // why it left
	}
	endNews struct {
		Begun time.Time `json:"begun"` // when its first publisher came
	}
	degradedNews struct {
		Findings []layerFinding `json:"findings"`
	}
	storageNews struct {
		Storage string `json:"storage"`         // as in the log and in metrics
		State   string `json:"state"`           // working, behind, down or refused
		Error   string `json:"error,omitempty"` // without secrets
	}
	replayNews struct {
		Presentation string    `json:"presentation"`
		Storage      string    `json:"storage"`
		At           string    `json:"at"` // its playlist
		Begin        time.Time `json:"begin"`
		End          time.Time `json:"end"`
		Seconds      float64   `json:"seconds"` // of media
	}
)

// announcer compares. It is pure, and for one goroutine.
type announcer struct {
	told    announced
	changed bool
	news    []webhook.Event
}

// newAnnouncer returns one that goes on with what an earlier start told; until is
// how long publishers may take to come back.
func newAnnouncer(told announced, until time.Time) *announcer {
	if told.Streams == nil {
		told.Streams = map[string]streamAnnounced{}
	}
	if told.Storage == nil {
		told.Storage = map[string]bool{}
	}
	if told.Awaited == nil {
		told.Awaited = map[string]replayAwaited{}
	}
	for name, s := range told.Streams {
		s.Until = until
		told.Streams[name] = s
	}
	return &announcer{told: told}
}

// look returns what is new.
func (a *announcer) look(now situation) []webhook.Event {
	a.news, a.changed = nil, false
	for name := range union(a.told.Streams, now.streams) {
		is := now.streams[name]
		a.stream(now.at, name, is)
		if is.epoch == 0 { // it is gone, or there is a new one that only has viewers
			a.end(now.at, name)
		}
	}
	for name, h := range now.storage {
		a.place(now.at, name, h)
	}
	for name := range a.told.Storage {
		if _, ok := now.storage[name]; !ok { // it is not configured any more
			delete(a.told.Storage, name)
			a.changed = true
		}
	}
	a.replays(now)
	return a.news
}

func (a *announcer) tell(at time.Time, kind, stream string, what any) {
	a.news = append(a.news, webhook.Event{Type: kind, Stream: stream, Time: at, Data: what})
	a.changed = true
}

// stream tells of publishers that come and leave, and of what is wrong with them.
func (a *announcer) stream(at time.Time, name string, is streamNow) {
	was, known := a.told.Streams[name]
	is = is.after(was)
	if !known && is.epoch == 0 {
		return // it had no publisher yet
	}
	next := was
	again := !was.Until.IsZero()
	switch {
	case again && is.epoch == 0 && at.Before(was.Until):
		return // it may come back
	case again && was.Live && is.live: // it did
	default:
		a.publishers(at, name, was, is)
	}
	if !known {
		next.Begun = at
	}
	next.Until, next.Live, next.Epoch = time.Time{}, is.live, max(is.epoch, 1)
	a.changed = a.changed || again || next.Live != was.Live || next.Epoch != was.Epoch
	if is.live {
		next.Problems = a.problems(at, name, was.Problems, is.findings)
	}
	a.told.Streams[name] = next
}

// publishers tells what changed from one look to the next.
func (a *announcer) publishers(at time.Time, name string, was streamAnnounced, is streamNow) {
	other := is.epoch != was.Epoch && is.epoch != 0
	if was.Live && (!is.live || other) {
		a.tell(at, webhook.StreamStopped, name, publisherNews{was.Epoch, is.left})
	}
	if is.live && (!was.Live || other) || other && !is.live {
		a.tell(at, webhook.StreamStarted, name, publisherNews{Epoch: is.epoch})
	}
	if other && !is.live { // it came and left between two looks
		a.tell(at, webhook.StreamStopped, name, publisherNews{is.epoch, is.left})
	}
}

// problems tells when something that viewers notice goes wrong, and when nothing does
// any more. It returns what was told.
func (a *announcer) problems(at time.Time, name string, was []string, found []layerFinding) []string {
	var is []string
	for _, f := range found {
		is = append(is, f.key())
	}
	slices.Sort(is)
	switch {
	case slices.Equal(is, was):
		return was
	case len(is) == 0:
		a.tell(at, webhook.StreamRecovered, name, nil)
	case slices.ContainsFunc(is, func(key string) bool { return !slices.Contains(was, key) }):
		a.tell(at, webhook.StreamDegraded, name, degradedNews{found})
	}
	a.changed = true
	return is
}

// end tells that a stream is not there any more.
func (a *announcer) end(at time.Time, name string) {
	was, known := a.told.Streams[name]
	if !known || !was.Until.IsZero() {
		return
	}
	a.tell(at, webhook.StreamEnded, name, endNews{was.Begun})
	delete(a.told.Streams, name)
	if len(a.told.Awaited) < mostAwaited {
		a.told.Awaited[name] = replayAwaited{Begun: was.Begun, Ended: at}
	}
}

// place tells when nothing gets through to a storage place, and when it does again.
func (a *announcer) place(at time.Time, name string, h placeNow) {
	down := h.State == storage.Down || h.State == storage.Refused
	news := storageNews{name, string(h.State), h.Error}
	switch failing := a.told.Storage[name]; {
	case !failing && down && (h.Failing >= failingFor || h.State == storage.Refused):
		a.told.Storage[name] = true
		a.tell(at, webhook.StorageFailing, "", news)
	case failing && !down && h.stored:
		delete(a.told.Storage, name)
		a.tell(at, webhook.StorageRecovered, "", news)
	}
}

// replays tells of replays of streams that have ended.
func (a *announcer) replays(now situation) {
	for name, awaited := range a.told.Awaited {
		if now.at.Sub(awaited.Ended) > replayWithin {
			delete(a.told.Awaited, name)
			a.changed = true
			continue
		}
		if now.replays == nil {
			continue
		}
		for _, r := range now.replays(name) {
			key := r.Place + " " + r.Presentation
			if r.End.Before(awaited.Begun) || slices.Contains(awaited.Told, key) {
				continue
			}
			awaited.Told = append(awaited.Told, key)
			a.told.Awaited[name] = awaited
			a.tell(now.at, webhook.ReplayReady, name, replayNews{r.Presentation, r.Place, r.At, r.Begin, r.End, r.Duration.Seconds()})
		}
	}
}

// union returns the names that are in any of two.
func union[A, B any](a map[string]A, b map[string]B) map[string]bool {
	all := make(map[string]bool, len(a)+len(b))
	for name := range a {
		all[name] = true
	}
	for name := range b {
		all[name] = true
	}
	return all
}
