package packager

import (
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/whipcast/whipcast/internal/latency"
	"github.com/whipcast/whipcast/packager/au"
	"github.com/whipcast/whipcast/packager/doctor"
	"github.com/whipcast/whipcast/stream"
)

const (
	// lookEvery is how often a runner has its Sources examined.
	lookEvery = time.Second
	// postEvery is how often the numbers of known findings are renewed.
	postEvery = 5 * time.Second
	// sightEvery is how far apart the events are at least that a pump sends while
	// packets come but no unit does.
	sightEvery = 500 * time.Millisecond
)

// sight is what a pump has seen of its Source besides the units.
type sight struct {
	at    time.Time // when the newest packet came
	stats au.Stats  // totals so far
	asked time.Time // when a key frame was last asked for
}

// ward is where the Sources that are published just now are examined. The
// runner's goroutine owns it; what it finds is on the board.
//
//	units, sights, requests ──▶ patient's Examiner ──▶ log, board ──▶ Packager.Findings
type ward struct {
	log      *slog.Logger
	board    *board
	figures  *latency.Stream
	raised   map[doctor.Code]*atomic.Uint64
	patients []*patient // in the order of the State
	usage    usage

	looked time.Time
	posted time.Time

	resized bool // the board does not have the sizes yet
}

// patient is one Source under examination.
type patient struct {
	source   *stream.Source
	exam     *doctor.Examiner
	clock    latency.Sender
	seen     sight
	packets  uint64    // that came, as of newest
	newest   time.Time // when the newest packet came
	report   time.Time // when the newest sender report came
	ended    bool      // nothing of it comes any more
	version  uint64    // of the findings
	findings []doctor.Finding
	params   *au.Params // of the newest unit
}

// enroll makes the patients those Sources of the State that a pump reads.
func (w *ward) enroll(state stream.State, pumps map[stream.LayerID]*pump, segment time.Duration) {
	var now []*patient
	for _, source := range state.Sources {
		if _, read := pumps[source.Layer.ID]; !read || !state.Live {
			continue
		}
		p := w.of(source)
		if p == nil {
			p = newPatient(state, source, segment)
		}
		now = append(now, p)
	}
	if slices.Equal(now, w.patients) {
		return
	}
	w.patients = now
	w.post(time.Now())
}

func newPatient(state stream.State, source *stream.Source, segment time.Duration) *patient {
	layer, videos := source.Layer, 0
	for _, other := range state.Sources {
		if other.Layer.ID.Kind == stream.Video {
			videos++
		}
	}
	now, clock := time.Now(), int64(layer.Codec.ClockRate)
	if layer.ID.Kind == stream.Audio {
		clock = opusRate // what pumps make of it
	}
	return &patient{
		source: source, seen: sight{asked: now},
		exam: doctor.New(doctor.Config{
			Codec: layer.Codec.Name, ClockRate: clock, OnRequest: layer.OnRequest,
			Simulcast: layer.ID.Kind == stream.Video && videos > 1,
			Stereo:    strings.Contains(layer.Codec.Fmtp, "stereo=1"), // also sprop-stereo (RFC 7587 §6.1)
			// Segments of the configured length are what is wanted.
			KeyframeInterval: max(segment, 2*time.Second),
		}, now),
	}
}

// of returns the patient that a Source is; nil if it is none.
func (w *ward) of(source *stream.Source) *patient {
	for _, p := range w.patients {
		if p.source == source {
			return p
		}
	}
	return nil
}

// take takes what a pump saw. It allocates nothing.
func (w *ward) take(e *event) {
	p := w.of(e.source)
	if p == nil {
		return
	}
	asked := p.seen.asked
	p.seen = e.seen
	p.count(e.seen.at)
	for i := range e.units {
		p.exam.Unit(&e.units[i])
		if now := e.units[i].Params; now != nil && now != p.params {
			p.params, w.resized = now, true
		}
	}
	if e.seen.asked.After(asked) {
		p.exam.Asked(e.seen.asked)
	}
	p.ended = p.ended || e.ended
	if len(e.units) > 0 && p == w.patients[0] { // the best picture, or the sound alone
		w.measure(p, &e.units[0])
	}
}

// measure tells how long a unit took from the publisher's capture to us, if the
// publisher's clock can be compared with ours: by the capture times that it sends, else
// by its sender reports.
func (w *ward) measure(p *patient, u *au.Unit) {
	clock := p.source.Layer.Codec.ClockRate
	ticks := u.PTS
	if p.source.Layer.ID.Kind == stream.Audio {
		ticks = ticks * int64(clock) / opusRate
	}
	captured, ok := p.source.CaptureTime(uint32(ticks)) //nolint:gosec // RTP timestamps wrap
	if !ok {
		report, known := p.source.Report()
		if !known || u.Arrival.Sub(report.Arrival) > reportAge {
			return
		}
		captured = report.Time(uint32(ticks), clock) //nolint:gosec // as above
	}
	if d, ok := p.clock.Judge(latency.Since1900(u.Arrival)-captured, u.Arrival); ok {
		w.figures.Observe(latency.Capture, d, u.Arrival)
	}
}

// count passes the totals on. What came is known of the Source: before a key frame
// a pump reads nothing, and that counts as discarded.
func (p *patient) count(at time.Time) {
	stats, all := p.seen.stats, p.source.Counters().Packets
	stats.Discarded += all - min(stats.Packets, all)
	stats.Packets = all
	if all > p.packets {
		p.packets, p.newest = all, at
	}
	p.exam.Count(at, stats)
}

// ask notes that all video layers were asked for a key frame.
func (w *ward) ask(now time.Time) {
	for _, p := range w.patients {
		if p.source.Layer.ID.Kind == stream.Video {
			p.exam.Asked(now)
		}
	}
}

// listen takes how loud the audio is.
func (w *ward) listen(live *epoch, peak float64) {
	for _, p := range w.patients {
		if _, ok := live.track(p.source); ok && p.source.Layer.ID.Kind == stream.Audio {
			p.exam.Level(peak)
		}
	}
}

// look moves time on, says what changed and posts it.
func (w *ward) look(now time.Time) {
	if len(w.patients) > 0 {
		w.patients[0].exam.Share(w.usage.share(now, w.patients))
	}
	changed, sick := false, false
	for _, p := range w.patients {
		if p.ended {
			continue
		}
		if r, ok := p.source.Report(); ok && !r.Arrival.Equal(p.report) {
			p.report = r.Arrival
			p.exam.SenderReport(r.Arrival)
		}
		p.count(now)
		p.exam.Advance(now, w.newest(p))
		if v := p.exam.Version(); v != p.version {
			p.version, changed = v, true
			found := p.exam.Findings()
			change := doctor.Compare(p.findings, found)
			p.findings = found
			w.tell(p, change)
		}
		sick = sick || len(p.findings) > 0
	}
	if w.resized {
		w.postSizes()
	}
	if changed || sick && now.Sub(w.posted) >= postEvery {
		w.post(now)
	}
}

// newest returns when the newest packet of all others came.
func (w *ward) newest(but *patient) time.Time {
	var newest time.Time
	for _, p := range w.patients {
		if p != but && p.newest.After(newest) {
			newest = p.newest
		}
	}
	return newest
}

// tell logs what changed. That nothing comes at all is said once, not of each
// Layer.
func (w *ward) tell(p *patient, c doctor.Change) {
	layer := layerName(p.source.Layer.ID)
	for _, f := range c.Raised {
		if n := w.raised[f.Code]; n != nil {
			n.Add(1)
		}
		if f.Code == doctor.NoPackets && w.others(p, f.Code) {
			continue
		}
		say := w.log.Warn
		if f.Severity <= doctor.Note {
			say = w.log.Info
		}
		say("publisher examined", "finding", string(f.Code), "severity", f.Severity.String(),
			"layer", layer, "words", f.Words, "remedy", f.Remedy)
	}
	for _, f := range c.Cleared {
		if f.Code == doctor.NoPackets && w.others(p, f.Code) {
			continue
		}
		w.log.Info("publisher recovered", "finding", string(f.Code), "layer", layer)
	}
}

// others reports whether another patient has a finding, too.
func (w *ward) others(but *patient, code doctor.Code) bool {
	return slices.ContainsFunc(w.patients, func(p *patient) bool {
		return p != but && slices.ContainsFunc(p.findings, func(f doctor.Finding) bool { return f.Code == code })
	})
}

// layerName names a Layer for a person: "audio", "video", or "video h" of a
// simulcast.
func layerName(id stream.LayerID) string {
	name := "audio"
	if id.Kind == stream.Video {
		name = "video"
	}
	if id.RID != "" {
		name += " " + id.RID
	}
	return name
}

// post renews the findings and puts them on the board.
func (w *ward) post(now time.Time) {
	w.posted = now
	var notes []note
	for _, p := range w.patients {
		if p.ended || len(p.findings) == 0 {
			continue
		}
		p.findings = p.exam.Findings()
		notes = append(notes, note{id: p.source.Layer.ID, findings: p.findings})
	}
	w.board.notes.Store(&notes)
}

// examine has the Sources examined, about once a second.
func (r *runner) examine(now time.Time) {
	if now.Sub(r.ward.looked) < lookEvery {
		return
	}
	r.ward.looked = now
	r.ward.enroll(r.state, r.pumps, r.cfg.Segment) // pumps may have ended
	if r.live != nil && r.present != nil && r.present.sound.coder != nil {
		_, peak := r.present.sound.coder.Level()
		r.ward.listen(r.live, float64(peak))
	}
	r.ward.look(now)
}

// board shows what is wrong with the Layers of one Stream. One goroutine writes
// it, any may read it.
type board struct {
	notes atomic.Pointer[[]note] // immutable
	sizes atomic.Pointer[[]size] // immutable
}

type note struct {
	id       stream.LayerID
	findings []doctor.Finding
}

// boards are those of all Streams that are packaged just now, by name.
type boards struct {
	mu sync.Mutex
	of map[string]*board // below mu
}

// hang gives a Stream a board until the returned function is called.
func (b *boards) hang(name string) (*board, func()) {
	own := &board{}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.of == nil {
		b.of = map[string]*board{}
	}
	b.of[name] = own
	return own, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.of[name] == own { // and not that of a new Stream with the name
			delete(b.of, name)
		}
	}
}

func (b *boards) all() []*board {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Collect(maps.Values(b.of))
}

func (b *boards) find(name string) *board {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.of[name]
}

// Census counts what is wrong at present, over all Streams.
type Census struct {
	Findings map[doctor.Code]int     // Layers that have a finding
	Layers   map[doctor.Severity]int // Layers by the severity of their worst finding
}

// Census looks at all Streams. It may be called from any goroutine and does not
// wait for any of them.
func (p *Packager) Census() Census {
	c := Census{Findings: map[doctor.Code]int{}, Layers: map[doctor.Severity]int{}}
	for _, b := range p.boards.all() {
		notes := b.notes.Load()
		if notes == nil {
			continue
		}
		for _, n := range *notes {
			worst := doctor.Note
			for _, f := range n.findings {
				c.Findings[f.Code]++
				worst = max(worst, f.Severity)
			}
			c.Layers[worst]++
		}
	}
	return c
}

// Findings returns what is wrong with a Layer of a Stream at present, the worst
// first, with numbers that are at most some seconds old. There are none while
// nobody publishes the Layer, and of a Layer that is not packaged. It may be
// called from any goroutine and does not wait. The list belongs to the caller.
func (p *Packager) Findings(name string, id stream.LayerID) []doctor.Finding {
	b := p.boards.find(name)
	if b == nil {
		return nil
	}
	notes := b.notes.Load()
	if notes == nil {
		return nil
	}
	for _, n := range *notes {
		if n.id == id {
			return slices.Clone(n.findings)
		}
	}
	return nil
}
