package stage

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/whipcast/whipcast/internal/watch"
	"github.com/whipcast/whipcast/stream"
)

// Mixer makes one sound of those of several seats: Opus, 20 ms a packet. One goroutine
// at a time calls it.
type Mixer interface {
	// Open has a seat's sound join. Opening twice is no error.
	Open(seat string) error
	Close(seat string)
	// Gain makes it louder or softer: 1 is untouched, 0 is silence.
	Gain(seat string, gain float32)
	Voices
	// Tick appends the packets that are due.
	Tick(now time.Time, out []stream.Packet) []stream.Packet
}

// Voices is what a Mixer is told and knows of each seat.
type Voices interface {
	// Write takes a packet as it was read from the seat's Subscription, and Report a
	// sender report of its Source.
	Write(seat string, p stream.Packet)
	Report(seat string, r stream.Report)
	// Clock says which instant, on the clock of a seat's reports, a timestamp of what
	// comes out stands for; false while that is not known.
	Clock(seat string) (stream.Report, bool)
	// Level returns how loud a seat is, in dBFS, and whether somebody speaks there.
	Level(seat string) (float32, bool)
}

// Lineup is what a program is to be made of. It is a value: nobody changes it.
type Lineup struct {
	Picture string  // the seat whose picture it is to have; "": the picture rests
	Sounds  []Sound // who is on air; none: the program ends
}

// Sound is a seat that is on air.
type Sound struct {
	Seat  string
	Muted bool
}

func (l Lineup) equal(o Lineup) bool {
	return l.Picture == o.Picture && slices.Equal(l.Sounds, o.Sounds)
}

// Status is how a program does. It is a value.
type Status struct {
	Live    bool
	Picture string // the seat whose picture it has
	Cutting string // the seat whose keyframe is waited for
	Error   string // why it has no new picture
	Rest    string // why the audience sees no picture that moves; "" while it does, or nobody is on air
	Cuts    uint64 // so far
}

const (
	tickEvery   = 20 * time.Millisecond  // a packet of sound
	askEvery    = 250 * time.Millisecond // for a keyframe that is waited for
	lookEvery   = 50 * time.Millisecond  // for a publisher
	fresh       = time.Second            // so long a publisher's first keyframe is good to begin with
	reportEvery = time.Second            // sender reports of the sound
	// So long a cut waits for the keyframes of all layers; and the program's beginning,
	// or who has just come.
	layersFor      = 200 * time.Millisecond
	firstLayersFor = time.Second
	settleFor      = 5 * time.Second        // after a cut, before a layer that came later makes another one
	patience       = 10 * time.Second       // before a missing keyframe is told of
	mostRungs      = 4                      // layers of the program
	mostPicture    = 1024                   // packets of one
	mostLag        = 300 * time.Millisecond // of the sound
	soundTicks     = 960                    // of a packet of sound
	quiet          = -120                   // dBFS: what a Mixer says of no sound
	// Sound that is made so late waits for what came meanwhile, for which readers have
	// catchUp. Of a hole from starved on the operator is told.
	lateBy  = 3 * tickEvery
	catchUp = 10 * time.Millisecond
	starved = 500 * time.Millisecond
)

// Program publishes a stage's Stream: the picture of one seat, in as many layers as the
// program has, as they came, and the sound of all that are on air, mixed. Set may be
// called from any goroutine, as Status and Level; Run from one.
//
// It has one mutex for what its readers share; nothing under it waits.
type Program struct {
	hub   *stream.Hub
	stage string
	log   *slog.Logger

	lineup   watch.Value[Lineup]
	status   watch.Value[Status]
	sessions watch.Value[*stream.Session] // that publishes now

	mu       sync.Mutex
	mixer    Mixer           // below mu
	session  *stream.Session // below mu: nil while the program is not live
	rungs    int             // below mu: how many layers it has; they get more only while it is live
	wanted   *shot           // below mu: whose picture is to be in; nil: nobody's
	current  *shot           // below mu: whose picture is in; nil: nobody's
	reported time.Time       // below mu: when the sound's clock was reported
	out      []stream.Packet // below mu: reused
	heard    uint32          // below mu: timestamp at the end of the newest packet of sound
	made     time.Time       // below mu: when sound was made last; zero while nobody is on air
}

// NewProgram returns the Program of a stage. The Mixer is its own.
func NewProgram(hub *stream.Hub, stage string, mixer Mixer, log *slog.Logger) *Program {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Program{hub: hub, stage: stage, mixer: mixer, log: log.With("stage", stage)}
}

// Set says what the program is to be made of from now on.
func (p *Program) Set(l Lineup) {
	if !p.lineup.Get().equal(l) {
		p.lineup.Set(l)
	}
}

// Status returns how the program does.
func (p *Program) Status() Status { return p.status.Get() }

// Level returns how loud a seat that is on air is, in dBFS, and whether somebody speaks.
func (p *Program) Level(seat string) (float64, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	level, speaking := p.mixer.Level(seat)
	if level <= quiet {
		return Silence, speaking
	}
	return float64(level), speaking
}

// Run makes the program until ctx ends.
func (p *Program) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer p.finish()
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	running.Go(func() { p.requests(ctx) })
	crew := &crew{Program: p, running: &running, sounds: map[string]*sound{}}
	for l := (Lineup{}); ; {
		now, err := p.lineup.Wait(ctx, func(next Lineup) bool { return !next.equal(l) })
		if err != nil {
			return nil // ctx has ended
		}
		l = now
		crew.hear(ctx, l.Sounds)
		if len(l.Sounds) == 0 {
			p.finish()
		}
		crew.aim(ctx, l.Picture)
		p.look()
	}
}

// look has the status say how the program is with another lineup.
func (p *Program) look() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tell(func(*Status) {})
}

// crew is who works for a Program. It is Run's own.
type crew struct {
	*Program
	running *sync.WaitGroup
	shots   []*shot // the newest last
	sounds  map[string]*sound
	hush    context.CancelFunc // ends the beat; nil: there is none
}

// aim begins to follow who is to have the picture. Who has it goes on until the other's
// comes, and is let go then.
func (c *crew) aim(ctx context.Context, seat string) {
	p := c.Program
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wanted != nil && p.wanted.seat == seat {
		return
	}
	if w := p.wanted; w != nil && !w.first.IsZero() && p.current != nil && w != p.current {
		p.current.renew() // pictures of it were left out
	}
	c.shots = slices.DeleteFunc(c.shots, func(s *shot) bool {
		if s == p.current && seat != "" {
			return false
		}
		s.cancel()
		return true
	})
	p.wanted = nil
	if seat == "" {
		p.current = nil
		p.tell(func(s *Status) { s.Picture, s.Cutting, s.Error = "", "", "" })
		return
	}
	if p.current != nil && p.current.seat == seat { // another one was wanted meanwhile
		p.wanted = p.current
		p.tell(func(s *Status) { s.Cutting, s.Error = "", "" })
		return
	}
	life, cancel := context.WithCancel(ctx)
	s := &shot{seat: seat, cancel: cancel}
	p.wanted = s
	p.tell(func(t *Status) { t.Cutting, t.Error = seat, "" })
	c.running.Go(func() { p.follow(life, s) })
	c.shots = append(c.shots, s)
}

// tell changes the status. p.mu is held.
func (p *Program) tell(change func(*Status)) {
	p.status.Update(func(s Status) Status {
		change(&s)
		s.Rest = ""
		switch on := len(p.lineup.Get().Sounds) > 0; {
		case !s.Live && on && p.wanted == nil:
			s.Rest = "the program begins with a picture: cut to a seat that has one"
		case s.Live && p.current == nil:
			s.Rest = "nobody has the picture: the audience sees the last one, and hears who is on air; cut to a seat"
		case s.Live && p.current.lost:
			s.Rest = "who has the picture is not there: the audience sees the last one until that seat is back; or cut to another one"
		}
		return s
	})
}

// finish ends the program's session; a new picture begins another one.
func (p *Program) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.session != nil {
		p.session.Close(nil)
		p.session = nil
	}
	for _, s := range []*shot{p.current, p.wanted} {
		if s != nil {
			s.renew()
		}
	}
	p.current, p.rungs = nil, 0
	p.tell(func(s *Status) { s.Live, s.Picture = false, "" })
}

// requests passes the keyframe requests of the program's viewers on to who has the
// picture: for the layer that they see.
func (p *Program) requests(ctx context.Context) {
	var last *stream.Session
	for {
		x, err := p.sessions.Wait(ctx, func(x *stream.Session) bool { return x != last })
		if err != nil {
			return
		}
		last = x
		for {
			id, err := x.KeyframeRequest(ctx)
			if err != nil {
				break
			}
			p.ask(id)
		}
	}
}

// ask asks for a keyframe of what feeds a layer of the program, and of what could feed
// one, so that theirs come together.
func (p *Program) ask(id stream.LayerID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current == nil {
		return
	}
	for _, t := range p.current.takes {
		if len(t.rungs) == 0 || slices.Contains(t.rungs, id) {
			t.from.RequestKeyframe()
		}
	}
}

// begin makes the pictures that a shot holds those of the program: their packets are the
// first ones of a new Epoch. It reports whether they are. p.mu is held.
func (p *Program) begin(s *shot) bool {
	p.rungs = max(p.rungs, len(s.takes), p.widest())
	o := stream.Offer{Principal: "stage:" + p.stage}
	for _, t := range s.takes {
		t.rungs = nil
	}
	more := s == p.current && s.begun // no cut: it gets its other layers
	for i := range p.rungs {
		t := feeds(s.takes, i, p.rungs)
		layer := t.source.Layer
		layer.ID = rung(i, p.rungs)
		t.rungs = append(t.rungs, layer.ID)
		o.Layers = append(o.Layers, layer)
	}
	s.spare = slices.ContainsFunc(s.takes, func(t *take) bool { return len(t.rungs) == 0 && len(t.held) == 0 })
	o.Layers = append(o.Layers, soundLayer())
	x, err := p.publish(o)
	if err != nil {
		text := "the program cannot be published: the log has the cause"
		if errors.Is(err, stream.ErrBusy) {
			text = "somebody else publishes the stream " + p.stage + ": end that session"
		}
		if p.status.Get().Error != text {
			p.log.Warn("program cannot be published", "error", err)
		}
		p.tell(func(t *Status) { t.Error = text })
		return false
	}
	if p.current != nil && p.current != s {
		p.current.cancel()
	}
	p.session, p.current = x, s
	p.sessions.Set(x)
	p.reported, s.since = time.Time{}, time.Now()
	for _, t := range s.takes {
		t.reported = time.Time{}
	}
	p.tell(func(t *Status) {
		t.Live, t.Picture = true, s.seat
		if s == p.wanted { // else who has the picture is back, and another one is waited for still
			t.Cutting, t.Error = "", ""
		}
		if !more {
			t.Cuts++
		}
	})
	p.clock(time.Now())
	return true
}

// widest returns how many layers a seat of the stage has at most: who is not on air may
// soon be.
func (p *Program) widest() int {
	most := 1
	for _, each := range p.hub.Streams() {
		if of, _, ok := Split(each.Name()); !ok || of != p.stage {
			continue
		}
		if state := each.State(); state.Live {
			most = max(most, len(pictures(state)))
		}
	}
	return most
}

func soundLayer() stream.Layer {
	return stream.Layer{ID: stream.LayerID{Kind: stream.Audio}, Codec: stream.Codec{Name: "Opus", ClockRate: 48000, Channels: 2, Fmtp: "minptime=10;useinbandfec=1"}}
}

// publish becomes the publisher of the stage's Stream, which may have been removed
// meanwhile.
func (p *Program) publish(o stream.Offer) (*stream.Session, error) {
	for {
		s, err := p.hub.Stream(p.stage)
		if err != nil {
			return nil, err
		}
		x, err := s.Publish(o)
		if !errors.Is(err, stream.ErrClosed) {
			return x, err
		}
	}
}

// clock reports which instant the sound's timestamps stand for, on the clock of who has
// the picture. p.mu is held.
func (p *Program) clock(now time.Time) {
	if p.session == nil || p.current == nil || now.Sub(p.reported) < reportEvery {
		return
	}
	if r, ok := p.mixer.Clock(p.current.seat); ok {
		p.reported = now
		p.session.Report(stream.LayerID{Kind: stream.Audio}, r.NTP, r.RTP, now)
	}
}

// late reports whether the sound should have been made long ago, as on a machine that
// was busy with other things. p.mu is held.
func (p *Program) late(now time.Time) bool { return !p.made.IsZero() && now.Sub(p.made) > lateBy }

// emit writes the sound that is due. p.mu is held.
func (p *Program) emit(now time.Time) {
	if by := now.Sub(p.made); !p.made.IsZero() && by > starved {
		p.log.Warn("sound of the program has a hole: this machine has too much to do", "hole", by.Round(time.Millisecond))
	}
	p.made = now
	p.out = p.mixer.Tick(now, p.out[:0])
	if p.session != nil {
		for i := range p.out {
			p.session.Write(stream.LayerID{Kind: stream.Audio}, p.out[i])
			p.heard = p.out[i].Timestamp + soundTicks
		}
		p.clock(now)
	}
	clear(p.out) // the ring has the payloads
}
