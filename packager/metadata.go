package packager

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/whipcast/whipcast/packager/fmp4"
	"github.com/whipcast/whipcast/packager/hls"
	"github.com/whipcast/whipcast/stream"
)

// Errors of Mark, RemoveMark and Send. Of a date range there are those of package
// hls, too; of a message fmp4.ErrID3.
var (
	// ErrUnknown says that no such Stream is packaged.
	ErrUnknown = errors.New("no such stream is packaged")
	// ErrIdle says that a Stream has no presentation at present.
	ErrIdle = errors.New("nothing of the stream is published: try again when it is live")
	// ErrMetadata says that a message cannot be sent as it is.
	ErrMetadata = errors.New("message cannot be sent")
)

const (
	// errands is how many calls may wait for a runner.
	errands = 16
	// mostAhead is how far in the future a message may be due.
	mostAhead = 30 * time.Second
	// mostEvents is how many messages of a rendition may wait for their part.
	mostEvents = 256
	// staleAfter is how much older than its part a message may be: media that would
	// have had it never came.
	staleAfter = 10 * time.Second
)

// Metadata is a message for players at a moment of the media: an ID3 tag in an
// emsg box ("Carriage of ID3 Timed Metadata in CMAF", AOM).
type Metadata struct {
	// Label is the description of a TXXX frame or the owner of a PRIV frame, in
	// ASCII. Players tell messages apart by it.
	Label string
	Text  string // a TXXX frame, unless there are Bytes
	Bytes []byte // a PRIV frame
	// At is when it is due, on the clock of program date-times: at most 30 s from
	// now. What is late is due at once. Zero: at the live edge.
	At time.Time
}

// tag returns the message as players get it.
func (m *Metadata) tag() ([]byte, error) {
	if m.Bytes != nil {
		return fmp4.ID3(fmp4.ID3Private(m.Label, m.Bytes))
	}
	return fmp4.ID3(fmp4.ID3Text(m.Label, m.Text))
}

// Mark lists a date range in all renditions of a Stream's presentation, or adds
// attributes to the one with its ID, by the rules of hls.Media.SetDateRange: in
// all of them or, with an error, in none (specs L30, L90). A new range without
// Start begins at the live edge, and hls.SpliceIn without a time ends its break
// there. It is listed as long as segments of its time are (specs L31), also after
// the publisher's return and a restart, and goes on in the presentation that
// follows when the tracks change.
//
// It returns when the playlists have it. Errors are ErrUnknown, ErrIdle, those of
// package hls or the context's. Any goroutine may call it.
func (p *Packager) Mark(ctx context.Context, stream string, d hls.DateRange) error {
	return p.desks.ask(ctx, stream, func(r *runner) error { return r.present.mark(d) })
}

// RemoveMark takes back a date range that has not begun, in all renditions: see
// hls.Media.RemoveDateRange. Its ID cannot be used again. Errors are as of Mark.
func (p *Packager) RemoveMark(ctx context.Context, stream, id string) error {
	return p.desks.ask(ctx, stream, func(r *runner) error { return r.present.unmark(id) })
}

// Send puts a message into all renditions of a Stream's presentation, at the same
// presentation time and with the same ID: in front of the part that covers its
// time, or the next one that is not written yet.
//
// It returns when the message is in its place. Errors are ErrUnknown, ErrIdle,
// ErrMetadata, fmp4.ErrID3 or the context's. Any goroutine may call it.
func (p *Packager) Send(ctx context.Context, stream string, m Metadata) error {
	return p.desks.ask(ctx, stream, func(r *runner) error { return r.present.send(&m) })
}

// errand is a call that a runner carries out.
type errand struct {
	run    func(r *runner) error
	answer chan error // with room for it
}

// desk is where the errands for one Stream's runner are left.
type desk struct {
	errands chan errand
	closed  chan struct{} // the runner has ended
}

// desks are those of all Streams that are packaged just now, by name.
type desks struct {
	mu sync.Mutex
	of map[string]*desk // below mu
}

// open gives a Stream a desk until the returned function is called.
func (d *desks) open(name string) (*desk, func()) {
	own := &desk{errands: make(chan errand, errands), closed: make(chan struct{})}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.of == nil {
		d.of = map[string]*desk{}
	}
	d.of[name] = own
	return own, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.of[name] == own { // and not that of a new Stream with the name
			delete(d.of, name)
		}
		close(own.closed)
	}
}

func (d *desks) find(name string) *desk {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.of[name]
}

// ask has an errand carried out, and returns what came of it.
func (d *desks) ask(ctx context.Context, stream string, run func(r *runner) error) error {
	at := d.find(stream)
	if at == nil {
		return fmt.Errorf("%w: %s", ErrUnknown, stream)
	}
	e := errand{run: run, answer: make(chan error, 1)}
	select {
	case at.errands <- e:
	case <-at.closed:
		return fmt.Errorf("%w: %s", ErrUnknown, stream)
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-e.answer:
		return err
	case <-at.closed:
		return fmt.Errorf("%w: %s", ErrUnknown, stream)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// serve carries out an errand. What it returns is not the caller's fault.
func (r *runner) serve(ctx context.Context, e errand) error {
	if r.present == nil || !r.present.shown() {
		e.answer <- ErrIdle
		return nil
	}
	refused := e.run(r)
	err := r.present.publish(ctx)
	e.answer <- errors.Join(refused, err)
	return err
}

// shown reports whether players can see the presentation.
func (p *presentation) shown() bool { return p.lead.media != nil && p.lead.counter > 0 }

// edge is the presentation time of the newest media that came.
func (p *presentation) edge() time.Duration {
	return fromTicks(max(p.lead.taken, p.lead.end), p.lead.rate)
}

// mark lists a date range in all renditions, or in none.
func (p *presentation) mark(d hls.DateRange) error {
	all := p.renditions()
	p.complete(all[0].media, &d)
	for _, r := range all {
		if err := r.media.CheckDateRange(d); err != nil {
			return err
		}
	}
	for _, r := range all {
		if err := r.media.SetDateRange(d); err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
	}
	p.touch(all)
	return nil
}

// complete gives a range the time of the live edge where it has none.
func (p *presentation) complete(media *hls.Media, d *hls.DateRange) {
	now := p.time.zero.Add(p.edge()).Truncate(time.Millisecond)
	before, known := media.DateRange(d.ID)
	if !known && d.Start.IsZero() {
		d.Start = now
	}
	ends := !d.End.IsZero() || d.Duration != nil || !before.End.IsZero() || before.Duration != nil
	if len(d.SpliceIn) > 0 && !ends {
		d.End = now
	}
}

// unmark takes a date range back from all renditions, or from none.
func (p *presentation) unmark(id string) error {
	all := p.renditions()
	for _, r := range all {
		if err := r.media.CheckRemoval(id); err != nil {
			return err
		}
	}
	for _, r := range all {
		if err := r.media.RemoveDateRange(id); err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
	}
	p.touch(all)
	return nil
}

// touch has all playlists rendered again, and the Ledger written: the program may
// be killed before the segment ends.
func (p *presentation) touch(all []*rendition) {
	for _, r := range all {
		r.stale = true
	}
	p.marked = true
}

// marks returns the date ranges that go on after the presentation.
func (p *presentation) marks() []hls.DateRange {
	if !p.shown() {
		return nil
	}
	return p.lead.media.DateRanges()
}

// handDown lists the date ranges of the presentation before, but for those that are
// over.
func handDown(media *hls.Media, marks []hls.DateRange, now time.Time) {
	for i := range marks {
		d := &marks[i]
		end := d.End
		if d.Duration != nil {
			end = d.Start.Add(*d.Duration)
		}
		if !end.IsZero() && end.Before(now) {
			continue
		}
		if err := media.SetDateRange(*d); err != nil { // an END-ON-NEXT whose next one is over
			continue
		}
	}
}

// send queues a message for the part that covers its time, in all renditions.
func (p *presentation) send(m *Metadata) error {
	message, err := m.tag()
	if err != nil {
		return err
	}
	edge := p.edge()
	at := edge
	if !m.At.IsZero() {
		at = m.At.Sub(p.time.zero)
	}
	if at > edge+mostAhead {
		return fmt.Errorf("%w: it is due %v after the live edge, at most %v are possible",
			ErrMetadata, (at - edge).Round(time.Millisecond), mostAhead)
	}
	for _, r := range p.renditions() { // what is written cannot be changed
		at = max(at, fromTicks(r.at, r.rate))
	}
	at = (at + time.Millisecond - 1).Truncate(time.Millisecond) // exact in all timescales
	if len(p.lead.events) >= mostEvents {
		return fmt.Errorf("%w: %d wait for their time", ErrMetadata, mostEvents)
	}
	// Rising over a restart, too: there are not so many a millisecond.
	p.sent = max(p.sent+1, uint64(max(edge, 0)/time.Millisecond)) //nolint:gosec // not negative
	p.out.metrics.Messages.Add(1)
	for _, r := range p.everyone() {
		r.expect(fmp4.Event{
			ID: uint32(p.sent), Time: uint64(toTicks(at, r.rate)), Timescale: uint32(r.rate), Message: message, //nolint:gosec // wraps after 49 days; a time from 0 on
		})
	}
	return nil
}

// noteLabel is the label of messages whose own cannot be one.
const noteLabel = "whipcast"

// noteAge is how old a publisher's message may be that is taken: as long as units
// are held. Older ones are of a time before this runner.
const noteAge = 15 * time.Second

// listen sends the publisher's messages.
func (r *runner) listen(ctx context.Context) error {
	seen := uint64(0)
	for {
		notes, now, err := r.stream.Notes(ctx, seen)
		if err != nil {
			return err
		}
		seen = now
		select {
		case r.events <- event{notes: notes}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// deliver puts a publisher's messages in their place. Where nothing is published
// yet they wait, for the units are held.
func (r *runner) deliver(notes []stream.Note) {
	for i := range notes {
		n := &notes[i]
		switch {
		case time.Since(n.Arrival) > noteAge:
			r.metrics.MessagesDropped.Add(1)
		case r.present == nil:
			if len(r.early) >= mostEvents/4 {
				r.early = slices.Delete(r.early, 0, 1)
				r.metrics.MessagesDropped.Add(1)
			}
			r.early = append(r.early, *n)
		default:
			if err := r.present.send(metadata(n)); err != nil {
				r.metrics.MessagesDropped.Add(1)
				r.log.Debug("publisher's message dropped", "label", n.Label, "error", err)
			}
		}
	}
}

// metadata is what players get of a publisher's message.
func metadata(n *stream.Note) *Metadata {
	m := &Metadata{Label: n.Label, At: n.Arrival}
	if m.Label == "" || strings.ContainsFunc(m.Label, func(c rune) bool { return c < ' ' || c > '~' }) {
		m.Label = noteLabel
	}
	if n.Text {
		m.Text = string(n.Payload)
	} else {
		m.Bytes = append([]byte{}, n.Payload...) // never nil
	}
	return m
}

// everyone returns all renditions, and those that may join.
func (p *presentation) everyone() []*rendition {
	all := make([]*rendition, 0, len(p.reels)+len(p.voices))
	for _, r := range p.reels {
		all = append(all, r.rendition)
	}
	for _, v := range p.voices {
		all = append(all, v.rendition)
	}
	return all
}

// expect queues an event, in the order of their times.
func (r *rendition) expect(e fmp4.Event) {
	if len(r.events) >= mostEvents { // a layer that does not come
		r.events = slices.Delete(r.events, 0, 1)
	}
	i := len(r.events)
	for i > 0 && r.events[i-1].Time > e.Time {
		i--
	}
	r.events = slices.Insert(r.events, i, e)
}

// due removes and returns the events of a part that lasts from the end of the one
// before it to the given tick. Those that are too old are dropped.
func (r *rendition) due(until int64) []fmp4.Event {
	n := 0
	for n < len(r.events) && r.events[n].Time < uint64(until) { //nolint:gosec // never negative
		n++
	}
	due := r.events[:n:n]
	if r.events = r.events[n:]; len(r.events) == 0 {
		r.events = nil
	}
	return after(due, r.at-toTicks(staleAfter, r.rate))
}

// after returns the events from a time on.
func after(events []fmp4.Event, at int64) []fmp4.Event {
	for len(events) > 0 && int64(events[0].Time) < at { //nolint:gosec // a time of ours
		events = events[1:]
	}
	return events
}
