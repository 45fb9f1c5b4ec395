package packager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/whipcast/whipcast/packager/aac"
	"github.com/whipcast/whipcast/packager/au"
	"github.com/whipcast/whipcast/packager/fmp4"
	"github.com/whipcast/whipcast/packager/hls"
)

// Ledger keeps what a presentation must remember over a restart of the program,
// so that no media sequence number goes back, no name comes twice and players go
// on (specs L18, L34, L41). It is a log for each stream. One goroutine a stream
// uses it, and it should not be slow: a line of some kilobytes is written at each
// segment.
type Ledger interface {
	// Load returns the lines of a stream, oldest first; none if nothing is known.
	// A last line that was cut off may be among them.
	Load(ctx context.Context, stream string) ([][]byte, error)
	// Begin replaces all lines of a stream by one.
	Begin(ctx context.Context, stream string, line []byte) error
	// Append adds a line.
	Append(ctx context.Context, stream string, line []byte) error
	// Forget removes all lines of a stream. There may be none.
	Forget(ctx context.Context, stream string) error
}

const (
	// skipParts is by how much the counter of parts is raised after a restart: more
	// parts than that were not made since the last line.
	skipParts = 1000
	// compactAfter is after how many lines a log begins anew; the more that is
	// listed, the later.
	compactAfter = 200
)

// memo is one line of a Ledger: a presentation as it is, with only those segments
// that came since the line before.
type memo struct {
	ID         string        `json:"id"`
	Zero       time.Time     `json:"zero"`            // presentation time 0
	End        time.Duration `json:"end"`             // of the last closed segment
	Lives      int           `json:"lives,omitempty"` // restarts so far
	Audio      Sound         `json:"audio,omitempty"`
	Solo       bool          `json:"solo,omitempty"`
	Passed     bool          `json:"passed,omitempty"` // the audio comes as AAC
	Settled    bool          `json:"settled,omitempty"`
	Renditions []shelfMark   `json:"renditions,omitempty"`
	// Shelf is what is to be deleted. A line has what came since the one before, and
	// one without renditions all that is left of presentations that have ended.
	Shelf []shelved `json:"shelf,omitempty"`
}

// shelfMark is a rendition in a memo.
type shelfMark struct {
	Name    string     `json:"name"`
	Counter uint64     `json:"counter"`
	Params  *au.Params `json:"params,omitempty"`
	Init    string     `json:"init,omitempty"` // of Params
	// Inits are all that are listed, in lines that begin a log.
	Inits     map[string]*au.Params `json:"inits,omitempty"`
	Still     []byte                `json:"still,omitempty"` // a key frame for it, in some lines
	Bandwidth int                   `json:"bandwidth,omitempty"`
	Rates     savedRates            `json:"rates"`
	State     hls.State             `json:"state"`
}

// savedRates is what was measured of a rendition.
type savedRates struct {
	Bytes    int64         `json:"bytes"`
	Length   time.Duration `json:"length"`
	Peak     float64       `json:"peak"`
	Segments int           `json:"segments"`
	Frames   int           `json:"frames,omitempty"`
	FramesIn int64         `json:"framesIn,omitempty"`
}

// save writes what has changed since the last line, if segments were closed.
func (p *presentation) save(ctx context.Context) {
	if p.cfg.Ledger == nil || !p.unsaved() {
		return
	}
	whole := p.lines == 0 || p.lines >= compactAfter && p.lines >= len(p.lead.listed)
	line, err := json.Marshal(p.memo(whole))
	if err == nil && whole {
		p.lines = 0
		err = p.cfg.Ledger.Begin(ctx, p.stream, line)
	} else if err == nil {
		err = p.cfg.Ledger.Append(ctx, p.stream, line)
	}
	p.lines++
	if err != nil && !p.forgetful {
		p.forgetful = true
		p.log.Error("a restart will begin a new presentation: its state cannot be written", "error", err)
	}
}

// unsaved reports whether the newest line is out of date.
func (p *presentation) unsaved() bool {
	if p.lines == 0 || p.marked {
		return true
	}
	for _, r := range p.renditions() {
		if r.media.Position().MSN != r.saved {
			return true
		}
	}
	return false
}

// memo describes the presentation, whole or since the last line.
func (p *presentation) memo(whole bool) memo { //nolint:revive // a fact, not a mode
	m := memo{
		ID: p.id, Zero: p.time.zero, Lives: p.lives, Audio: p.choice, Solo: p.solo, Passed: p.sound.passed,
		Settled: p.announced.settled,
	}
	p.marked = false
	if whole {
		p.shelved = 0
	}
	m.Shelf, p.shelved = p.shelf.since(p.shelved), p.shelf.count
	for _, r := range p.renditions() {
		from, measured := r.saved, r.rates.sum()
		if whole {
			from, r.savedInit = 0, ""
		}
		var inits map[string]*au.Params
		if whole && len(r.inits) > 1 {
			inits = r.inits
		}
		mark := shelfMark{
			Name: r.name, Counter: r.counter, Params: r.params, Init: r.init, Inits: inits, State: r.media.Since(from),
			Rates: savedRates{Bytes: measured.bytes, Length: measured.length, Peak: measured.peak, Segments: r.rates.segments},
		}
		mark.State.Parts, mark.State.Open = 0, hls.Listed{}
		r.saved = mark.State.Next
		end := r.end
		if r.begun { // it is closed by the next start
			end = r.start
		}
		m.End = max(m.End, fromTicks(end, r.rate))
		m.Renditions = append(m.Renditions, mark)
	}
	for i, r := range p.reels {
		for j := range m.Renditions {
			if m.Renditions[j].Name == r.name && i < len(p.announced.offers) {
				m.Renditions[j].Bandwidth = p.announced.offers[i].bandwidth
				rates := &m.Renditions[j].Rates
				if rates.Frames, rates.FramesIn = r.frames, r.framesIn; r.frames == 0 {
					rates.Frames, rates.FramesIn = r.shown, r.span()
				}
				if r.savedInit != r.init { // not in every line: it is large
					m.Renditions[j].Still, r.savedInit = r.still.Data, r.init
				}
			}
		}
	}
	return m
}

// errStale says that what a Ledger has is of no use any more.
var errStale = errors.New("presentation cannot go on")

// recall takes up the presentation that an earlier start of the program has left.
// One that cannot be taken up ends. What is to be deleted will be.
func (r *runner) recall(ctx context.Context, now time.Time) error {
	if r.cfg.Ledger == nil {
		return nil
	}
	lines, err := r.cfg.Ledger.Load(ctx, r.stream.Name())
	if err != nil || len(lines) == 0 {
		return err
	}
	r.lived = true
	m, err := readMemo(lines)
	if err != nil {
		return errors.Join(err, r.concludeRecord(ctx, &m), r.cfg.Ledger.Forget(ctx, r.stream.Name()))
	}
	r.shelf.restore(&m)
	if len(m.Renditions) > 0 {
		r.present, err = r.revive(ctx, m, now)
	}
	switch {
	case err != nil:
		r.present = nil
		r.bury(ctx, m, now)
		return errors.Join(err, r.concludeRecord(ctx, &m))
	case r.present == nil:
		r.remember(ctx)
		return nil
	}
	r.shelf.keepAll(r.present.needed())
	r.begun = now
	r.log.Info("presentation goes on after a restart", "presentation", r.present.id,
		"away", now.Sub(m.Zero.Add(m.End)).Round(time.Millisecond))
	return nil
}

// concludeRecord closes the Record of a presentation that has ended with the
// earlier start.
func (r *runner) concludeRecord(ctx context.Context, m *memo) error {
	if r.cfg.Record == nil || m.ID == "" {
		return nil
	}
	return r.cfg.Record.End(ctx, r.stream.Name(), m.ID)
}

// readMemo joins the lines of a Ledger. A last line that was cut off is left out.
func readMemo(lines [][]byte) (memo, error) {
	var (
		m      memo
		shelf  []shelved
		states = map[string]*shelfMark{}
	)
	for i, line := range lines {
		var next memo
		if err := json.Unmarshal(line, &next); err != nil {
			if i > 0 && i == len(lines)-1 {
				break
			}
			return m, fmt.Errorf("read line %d of the state: %w", i+1, err)
		}
		for j := range next.Renditions {
			mark := &next.Renditions[j]
			mark.know(mark.Init, mark.Params)
			if former, ok := states[mark.Name]; ok {
				if err := mark.follow(former); err != nil {
					return m, fmt.Errorf("read line %d of the state: %w", i+1, err)
				}
			}
			states[mark.Name] = mark
		}
		shelf = append(shelf, next.Shelf...)
		m = next
	}
	m.Shelf = shelf
	return m, nil
}

// know notes what an initialization segment was made of.
func (m *shelfMark) know(name string, params *au.Params) {
	if name == "" || params == nil {
		return
	}
	if m.Inits == nil {
		m.Inits = map[string]*au.Params{}
	}
	m.Inits[name] = params
}

// follow completes a mark by what the lines before said.
func (m *shelfMark) follow(former *shelfMark) error {
	state := former.State
	if err := state.Append(m.State); err != nil {
		return err
	}
	m.State = state
	for name, params := range former.Inits {
		m.know(name, params)
	}
	if m.Still == nil && m.Init == former.Init {
		m.Still = former.Still
	}
	return nil
}

// revive makes the presentation of a memo. What was listed was in memory and is
// gone, and so are its lines in the playlists with parts: players would stay where
// they find gaps (ADR 6). Where plain playlists go it still is, and stays listed
// (ADR 8). The segment that was open begins anew, with the last picture standing
// still until now.
func (r *runner) revive(ctx context.Context, m memo, now time.Time) (*presentation, error) {
	away := now.Sub(m.Zero.Add(m.End))
	// The last frame may last a little beyond now; more than that is another clock.
	if away < -time.Minute || away >= r.cfg.Grace || len(m.Renditions) == 0 {
		return nil, errStale
	}
	p := newPresentation(r, r.stream.Name(), m.Renditions[0].State.Target, tracks{video: !m.Solo, audio: m.Audio != "", aac: m.Passed})
	if p.choice != m.Audio || m.ID == "" || strings.Contains(m.ID, "/") {
		return nil, fmt.Errorf("%w: the configuration has changed", errStale)
	}
	p.id = m.ID
	p.time.zero, p.time.end = m.Zero, m.End
	p.lives = m.Lives + 1
	p.noteBegin(ctx)
	revived := map[string]bool{}
	for i := range m.Renditions {
		if err := p.reviveRendition(ctx, &m.Renditions[i], m.begin(i)); err != nil {
			return nil, err
		}
		revived[m.Renditions[i].Name] = true
	}
	if !revived[p.reels[0].name] {
		return nil, fmt.Errorf("%w: nothing is known of rendition %s", errStale, p.reels[0].name)
	}
	for _, v := range p.voices {
		if !revived[v.name] {
			return nil, fmt.Errorf("%w: nothing is known of rendition %s", errStale, v.name)
		}
	}
	p.breaks, p.current, p.announced.settled = true, &cut{}, m.Settled
	p.resume()
	return p, p.bridge(ctx, max(now.Sub(p.time.zero), p.time.end+p.cfg.Part))
}

// bridge covers the time up to the given one with whole segments.
func (p *presentation) bridge(ctx context.Context, until time.Duration) error {
	p.steps = p.lead.cut.cover(toTicks(until, p.lead.rate), p.steps[:0])
	if err := p.do(ctx, p.lead, p.steps); err != nil {
		return err
	}
	if err := p.chase(ctx); err != nil {
		return err
	}
	if !p.solo && p.has().audio {
		p.quiet = true
		p.silence(p.onAudio(p.lead.cut.end) + usualTicks + aac.Latency + 2*aac.FrameTicks) // one more frame ends the segment
	}
	return p.follow(ctx)
}

// resume lets all renditions go on at the end of what was published.
func (p *presentation) resume() {
	at := toTicks(p.time.end, p.lead.rate)
	for _, r := range p.reels {
		r.enter(-1, alignment{}, at)
		r.cut.end = at
	}
	p.lead.taken, p.lead.arrival, p.lead.cut.lapsed = at, p.time.date(p.time.end), true
	p.sound.begin(toTicks(p.time.end, opusRate), 0)
}

// reviveRendition takes up one rendition with the given state of its playlist.
func (p *presentation) reviveRendition(ctx context.Context, mark *shelfMark, begin hls.State) error {
	r, err := p.named(mark.Name)
	if err != nil {
		return err
	}
	if mark.Params == nil {
		return fmt.Errorf("%w: the codec of %s is not known", errStale, mark.Name)
	}
	if r.media, err = hls.Restore(p.mediaConfig(), begin); err != nil {
		return fmt.Errorf("take up %s: %w", mark.Name, err)
	}
	r.noted = begin.Next
	r.prefix = p.stream + "/" + p.id + "/" + r.name + "/"
	if err := r.hold(ctx, &begin, mark.Inits); err != nil {
		return err
	}
	r.shelf.put(r.prefix+segmentName(begin.Next, p.lives-1), time.Now()) // no playlist lists it, but it may have been stored
	r.counter, r.lives = mark.Counter+skipParts, p.lives
	r.rates.segments = mark.Rates.Segments
	*r.rates.newest() = tally{bytes: mark.Rates.Bytes, length: mark.Rates.Length, peak: mark.Rates.Peak}
	if err := r.setParams(ctx, mark.Params); err != nil {
		return err
	}
	r.end = toTicks(p.time.end, r.rate)
	r.stale, r.closed = true, true
	p.revived(r, mark)
	return nil
}

// revived takes up what only some renditions have.
func (p *presentation) revived(r *rendition, mark *shelfMark) {
	if r.name == opusName && r.params != nil {
		p.sound.opus = r.params
	}
	if p.sound.passed && r.params != nil && r.params.Codec == aacName {
		p.sound.pass(r.params)
	}
	for i, reel := range p.reels {
		if reel.rendition != r {
			continue
		}
		reel.frames, reel.framesIn = mark.Rates.Frames, mark.Rates.FramesIn
		if mark.Still != nil && mark.Init == r.init {
			reel.still = fmp4.Sample{Key: true, Data: mark.Still}
		}
		for len(p.announced.offers) <= i {
			p.announced.offers = append(p.announced.offers, offered{})
		}
		p.announced.offers[i].bandwidth = mark.Bandwidth
	}
}

// named returns the rendition of a directory.
func (p *presentation) named(name string) (*rendition, error) {
	for _, v := range p.voices {
		if v.name == name {
			return v.rendition, nil
		}
	}
	for rank := range 8 {
		if p.solo && rank > 0 {
			break
		}
		if r := p.reel(rank); r.name == name {
			return r.rendition, nil
		}
	}
	return nil, fmt.Errorf("%w: rendition %q", errStale, name)
}
