package packager

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"time"

	"github.com/whipcast/whipcast/internal/latency"
	"github.com/whipcast/whipcast/packager/au"
	"github.com/whipcast/whipcast/packager/fmp4"
	"github.com/whipcast/whipcast/packager/hls"
	"github.com/whipcast/whipcast/storage"
)

const (
	videoRate = 90000
	playlist  = "index.m3u8"
	mpegURL   = "application/vnd.apple.mpegurl"
)

// outlet is where finished objects go. A failure is counted and logged, and the
// presentation goes on: how often to try again is the Sink's business.
type outlet struct {
	sink    storage.Sink
	log     *slog.Logger
	metrics *Metrics
	figures *latency.Stream
	failing bool
}

func (o *outlet) put(ctx context.Context, object storage.Object) {
	object.Modified = time.Now()
	err := o.sink.Put(context.WithoutCancel(ctx), object) // the stop of the program tears nothing apart
	o.failing = o.failing && err != nil
	o.report(object.Key, err)
}

func (o *outlet) remove(ctx context.Context, key string) {
	o.report(key, o.sink.Delete(context.WithoutCancel(ctx), key))
}

// report logs the first of a run of failures.
func (o *outlet) report(key string, err error) {
	if err == nil {
		return
	}
	o.metrics.SinkErrors.Add(1)
	if !o.failing {
		o.failing = true
		o.log.Error("storage does not take an object", "key", key, "error", err)
	}
}

// rendition is one media playlist with its files. It belongs to the
// presentation's goroutine.
type rendition struct {
	name   string // of its directory: "video", "video-2", "audio", "aac"
	prefix string // of its keys, with a slash at the end
	rate   int64  // timescale
	mime   string
	target time.Duration
	part   time.Duration // PART-TARGET
	window time.Duration
	others func() []hls.Report // where the other renditions end
	media  *hls.Media
	out    *outlet
	shelf  *shelf

	params   *au.Params
	init     string                // name of their init segment
	inits    map[string]*au.Params // of all init segments that are listed
	sequence uint32                // of fragments
	counter  uint64                // of parts, over segments and Epochs (specs L56)

	// The open part.
	at       int64 // start of its first sample
	length   int64
	samples  []fmp4.Sample
	free     bool         // has a key frame (specs L47)
	first    time.Time    // when its first picture was received; zero without one
	unlisted time.Time    // the same of the oldest closed part that no playlist lists yet
	events   []fmp4.Event // that wait for their part, by time

	// The open segment.
	begun  bool
	opened *cut // what it begins with, until a part is listed
	start  int64
	body   storage.Body

	stale  bool  // the playlist with parts must be rendered
	closed bool  // the plain playlist too
	end    int64 // of what was published
	rates  rates
	listed map[string]time.Time // all that exists and is not on the shelf: its key, and since when

	lives     int              // restarts of the program
	sizes     map[uint64]int64 // of segments that are not in the Record, by media sequence number
	noted     uint64           // media sequence number of the open segment in the Record
	described described
	saved     uint64 // media sequence number of the open segment in the Ledger
	savedInit string // of which init segment a key frame is in the Ledger
}

// begin opens a segment at the given tick. The init segment may still be set
// before the first part.
func (r *rendition) begin(at int64, date time.Time, c *cut) {
	r.begun, r.start, r.at, r.end, r.length = true, at, at, at, 0
	r.opened = c
	r.media.SetTime(date)
}

// changes reports whether these parameters need another init segment than the
// last ones: repeated ones do not (specs R18).
func (r *rendition) changes(p *au.Params) bool {
	if r.params == nil || p == r.params {
		return false
	}
	_, name, err := r.describe(p)
	return err != nil || name != r.init
}

// describe returns the init segment of p and its name.
func (r *rendition) describe(p *au.Params) (content []byte, name string, err error) {
	content, err = fmp4.Init(p, uint32(r.rate)) //nolint:gosec // a timescale
	if err != nil {
		return nil, "", fmt.Errorf("describe %s: %w", r.name, err)
	}
	sum := sha256.Sum256(content)
	return content, "init-" + hex.EncodeToString(sum[:4]) + ".mp4", nil
}

// setParams makes the init segment of p the one that following segments use. It
// is put before anything that names it (specs L22, S10).
func (r *rendition) setParams(ctx context.Context, p *au.Params) error {
	if p == r.params {
		return nil
	}
	content, name, err := r.describe(p)
	if err != nil {
		return err
	}
	key := r.prefix + name
	r.shelf.keep(key)
	r.put(ctx, storage.Object{Key: key, Kind: storage.Init, Type: r.mime, Body: storage.Body{content}})
	if err := r.media.SetInit(name); err != nil {
		return fmt.Errorf("describe %s: %w", r.name, err)
	}
	r.params, r.init = p, name
	r.inits[name] = p
	return nil
}

func (r *rendition) put(ctx context.Context, o storage.Object) {
	r.listed[o.Key] = time.Now()
	r.out.put(ctx, o)
}

// add puts a sample of so many ticks into the open part.
func (r *rendition) add(s fmp4.Sample) {
	r.samples = append(r.samples, s)
	r.length += int64(s.Duration)
	r.free = r.free || s.Key
}

// stretch makes the last sample of the open part last longer.
func (r *rendition) stretch(ticks int64) {
	r.samples[len(r.samples)-1].Duration += uint32(ticks) //nolint:gosec // less than a part
	r.length += ticks
}

// extend makes the last sample of the open part last beyond the part's end, where
// it is known that parts without media follow.
func (r *rendition) extend(ticks int64) {
	r.samples[len(r.samples)-1].Duration += uint32(ticks) //nolint:gosec // less than a segment
}

func (r *rendition) nextPart() string { return fmt.Sprintf("p%010d.m4s", r.counter) }

// closePart writes the open part.
func (r *rendition) closePart(ctx context.Context) error {
	fragment := fmp4.Fragment{Sequence: r.sequence, Decode: uint64(r.at), Samples: r.samples, Events: r.due(r.at + r.length)} //nolint:gosec // never negative
	content := fmp4.AppendFragment(make([]byte, 0, fmp4.FragmentSize(fragment)), fragment)
	name := r.nextPart()
	r.sequence++
	r.body = append(r.body, content)
	r.put(ctx, storage.Object{Key: r.prefix + name, Kind: storage.Part, Type: r.mime, Body: storage.Body{content}})
	err := r.listPart(hls.Part{URI: name, Independent: r.free})
	r.rates.part(len(content), fromTicks(r.length, r.rate))
	clear(r.samples)
	r.samples = r.samples[:0]
	r.at += r.length
	r.length, r.free = 0, false
	if r.unlisted.IsZero() {
		r.unlisted = r.first
	}
	r.first = time.Time{}
	r.out.metrics.Parts.Add(1)
	return err
}

// skipPart lists a part of so many ticks that has no media. It may have been
// hinted at: whoever waits for it must learn that it never comes.
func (r *rendition) skipPart(ctx context.Context, ticks int64) error {
	r.length = ticks
	name := r.nextPart()
	err := r.listPart(hls.Part{URI: name, Gap: true})
	r.out.remove(ctx, r.prefix+name)
	r.at += ticks
	r.length = 0
	r.out.metrics.GapParts.Add(1)
	return err
}

func (r *rendition) listPart(p hls.Part) error {
	if c := r.opened; c != nil {
		if c.breaks {
			r.media.Discontinuity()
		}
		c.sealed, r.opened = true, nil
	}
	p.Duration = r.printed(r.at, r.at+r.length)
	if err := r.media.AddPart(p); err != nil {
		return fmt.Errorf("list part of %s: %w", r.name, err)
	}
	r.counter++
	r.end = r.at + r.length
	r.stale = true
	return nil
}

// printed returns the duration between two ticks so that durations printed with
// five decimals add up to the truth (specs L17).
func (r *rendition) printed(from, to int64) time.Duration {
	const grain = 10 * time.Microsecond
	return fromTicks(to, r.rate).Round(grain) - fromTicks(from, r.rate).Round(grain)
}

// cover lists parts without media in a segment that got none, for as long as the
// leading one lasts: a sound frame may not fit in (specs L24, L27, L58).
func (r *rendition) cover(ctx context.Context, until int64) error {
	if len(r.body) > 0 {
		return nil
	}
	for left := max(until-r.at, r.rate/1000); left > 0; left = until - r.at {
		if err := r.skipPart(ctx, min(left, toTicks(r.part, r.rate))); err != nil {
			return err
		}
	}
	return nil
}

// segmentName returns the name of the open segment. After a restart of the program
// it is another one: the segment may have been stored before.
func (r *rendition) segmentName() string {
	return segmentName(r.media.Position().MSN, r.lives)
}

func segmentName(msn uint64, lives int) string {
	name := fmt.Sprintf("s%08d", msn)
	if lives > 0 {
		name += fmt.Sprintf("-%d", lives)
	}
	return name + ".m4s"
}

// closeSegment completes the open segment.
func (r *rendition) closeSegment(ctx context.Context) error {
	name := r.segmentName()
	segment := hls.Segment{URI: name, Duration: r.printed(r.start, r.end), Gap: len(r.body) == 0}
	if !segment.Gap {
		r.put(ctx, storage.Object{Key: r.prefix + name, Kind: storage.Segment, Type: r.mime, Body: r.body})
	}
	removed, err := r.media.CloseSegment(segment)
	if err != nil {
		return fmt.Errorf("list segment of %s: %w", r.name, err)
	}
	r.rates.segment(r.body.Len(), segment.Duration)
	if r.sizes != nil {
		r.sizes[r.media.Position().MSN-1] = int64(r.body.Len())
	}
	r.begun, r.body = false, nil
	r.stale, r.closed = true, true
	r.leave(time.Now(), removed)
	r.out.metrics.Segments.Add(1)
	return nil
}

// leave plans the deletion of what the playlist does not name any more.
func (r *rendition) leave(now time.Time, removed hls.Removed) {
	shelve := func(name string, at time.Time) {
		r.shelf.put(r.prefix+name, at)
		delete(r.listed, r.prefix+name)
	}
	for _, name := range removed.Parts {
		shelve(name, now.Add(3*r.target)) // specs L49
	}
	for _, s := range removed.Segments {
		since, ok := r.listed[r.prefix+s.URI]
		if !ok { // it has no media, or is from before a restart
			since = now
		}
		shelve(s.URI, available(since, s.Duration, r.window+r.target, r.target))
	}
	for _, name := range removed.Inits {
		delete(r.inits, name)
		shelve(name, available(now, 2*r.target, r.window, r.target))
	}
}

// publishPlain renders the plain playlist if it has changed.
func (r *rendition) publishPlain(ctx context.Context) {
	if !r.closed {
		return
	}
	plain := r.position()
	plain.Parts, plain.LastParts, plain.Hint, plain.Part = 0, 0, "", 0
	r.out.put(ctx, storage.Object{
		Key: r.prefix + playlist, Kind: storage.Playlist, Type: mpegURL, Body: r.media.Plain(), Position: plain,
	})
	r.closed = false
}

// publish renders the playlist with parts if it has changed.
func (r *rendition) publish(ctx context.Context) error {
	if !r.stale {
		return nil
	}
	position := r.position()
	key := r.prefix + playlist
	if err := r.media.SetHint(r.nextPart(), ""); err != nil {
		return fmt.Errorf("hint at part of %s: %w", r.name, err)
	}
	if err := r.media.SetReports(r.others()); err != nil {
		return fmt.Errorf("report on renditions: %w", err)
	}
	full, delta, deltaDates := r.media.LowLatency()
	r.out.put(ctx, storage.Object{
		Key: key, Kind: storage.LowLatency, Type: mpegURL, Body: full, Delta: delta, DeltaDates: deltaDates, Position: position,
	})
	r.stale = false
	if !r.unlisted.IsZero() {
		now := time.Now()
		r.out.figures.Observe(latency.Package, now.Sub(r.unlisted), now)
		r.unlisted = time.Time{}
	}
	return nil
}

// position says where the playlist ends, for the origin.
func (r *rendition) position() storage.Position {
	p := r.media.Position()
	return storage.Position{
		MSN: p.MSN, Parts: p.Parts, LastParts: p.LastParts,
		Hint: r.prefix + r.nextPart(), Target: r.target, Part: r.part,
	}
}

// report says where the playlist ends, for the other renditions (specs L58).
// It is relative to them (specs L59).
func (r *rendition) report() hls.Report {
	msn, part := r.media.Position().Last()
	return hls.Report{URI: "../" + r.name + "/" + playlist, MSN: msn, Part: part}
}

// finish ends the playlist (specs L32). The open segment must be closed.
func (r *rendition) finish(ctx context.Context) error {
	if r.counter == 0 { // nobody has seen it
		return nil
	}
	if err := r.media.End(); err != nil {
		return fmt.Errorf("end %s: %w", r.name, err)
	}
	key := r.prefix + playlist
	position := r.position()
	position.Ended, position.Hint = true, ""
	plain := position
	plain.Parts, plain.LastParts, plain.Part = 0, 0, 0
	r.out.put(ctx, storage.Object{
		Key: key, Kind: storage.Playlist, Type: mpegURL, Body: r.media.Plain(), Position: plain,
	})
	full, _, _ := r.media.LowLatency()
	r.out.put(ctx, storage.Object{
		Key: key, Kind: storage.LowLatency, Type: mpegURL, Body: full, Position: position,
	})
	r.out.remove(ctx, r.prefix+r.nextPart()) // the hinted part never comes
	return nil
}

// retire plans the deletion of everything: the playlist after the given time,
// the rest when a client that has just read it is done (specs L40, L102).
func (r *rendition) retire(now time.Time, after, window time.Duration) {
	r.shelf.put(r.prefix+playlist, now.Add(after))
	for key := range r.listed {
		r.shelf.put(key, now.Add(after+window+r.target))
	}
	r.listed = nil
}
