package stage

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/whipcast/whipcast/internal/watch"
	"github.com/whipcast/whipcast/stream"
)

const (
	// turnEvery is how often is looked who is there and who speaks.
	turnEvery = 100 * time.Millisecond
	// levelStep is by how much, in dB, a level must change to be news.
	levelStep = 3
)

// Config of Stages. All but Mixer may be zero.
type Config struct {
	Grace     time.Duration         // how long a publisher may be gone before its seat has left; default 60 s
	MaxStages int                   // default 100
	MaxSeats  int                   // of one stage; default 16
	Mixer     func() (Mixer, error) // makes one for a program
	// Keep writes what is to be there after a restart. It may wait for a disk. nil:
	// nothing is kept.
	Keep func([]Record) error
	// Tell is told what happens, in its order; it must not wait, nor change a stage. nil:
	// nobody is.
	Tell   func(News)
	Logger *slog.Logger
}

// Stages are all stages, and make their programs. All methods may be called from any
// goroutine, Run from one.
type Stages struct {
	cfg  Config
	hub  *stream.Hub
	set  watch.Value[uint64] // version of the set of stages
	keep sync.Mutex          // held while records are written, so that the newest are last

	telling sync.Mutex // held while news are told, so that they are in their order

	cuts atomic.Uint64

	mu     sync.Mutex
	stages map[string]*production // below mu
	news   []News                 // below mu: that are to be told
}

// production is one stage at work. But for version its fields belong to the Stages' mu.
type production struct {
	plan     *plan
	program  *Program
	director director
	status   Status // that was seen last
	version  watch.Value[uint64]
	ended    bool
}

// New returns Stages with those that were kept.
func New(cfg Config, hub *stream.Hub, kept []Record) *Stages {
	if cfg.Grace <= 0 {
		cfg.Grace = time.Minute
	}
	if cfg.MaxStages <= 0 {
		cfg.MaxStages = 100
	}
	if cfg.MaxSeats <= 0 {
		cfg.MaxSeats = 16
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Stages{cfg: cfg, hub: hub, stages: map[string]*production{}}
	for _, r := range kept {
		p, err := s.produce(r, time.Now())
		if err != nil || !ValidName(r.Name) || len(s.stages) >= cfg.MaxStages {
			cfg.Logger.Warn("stage of an earlier start is not there", "stage", r.Name, "error", err)
			continue
		}
		s.stages[r.Name] = p
	}
	return s
}

func (s *Stages) produce(r Record, now time.Time) (*production, error) {
	mixer, err := s.cfg.Mixer()
	if err != nil {
		return nil, fmt.Errorf("make stage %s: %w", r.Name, err)
	}
	if r.Settings.Hold <= 0 {
		r.Settings.Hold = defaultHold
	}
	return &production{plan: newPlan(r, now), program: NewProgram(s.hub, r.Name, mixer, s.cfg.Logger)}, nil
}

// Run makes the programs of all stages until ctx ends.
func (s *Stages) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	works := map[*production]context.CancelFunc{}
	defer func() {
		for _, cancel := range works {
			cancel()
		}
	}()
	tick := time.NewTicker(turnEvery)
	defer tick.Stop()
	for version := uint64(0); ; {
		present := s.present()
		for p, cancel := range works {
			if !present[p] {
				cancel()
				delete(works, p)
			}
		}
		for p := range present {
			if works[p] == nil {
				life, cancel := context.WithCancel(ctx)
				works[p] = cancel
				running.Go(func() { _ = p.program.Run(life) }) // it ends with its context alone
			}
		}
		if len(present) == 0 { // nothing to look at
			now, err := s.set.Wait(ctx, func(v uint64) bool { return v != version })
			if err != nil {
				return nil // ctx has ended
			}
			version = now
			continue
		}
		select {
		case now := <-tick.C:
			s.turn(now)
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *Stages) present() map[*production]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[*production]bool, len(s.stages))
	for _, p := range s.stages {
		all[p] = true
	}
	return all
}

// turn looks who is there and who speaks, on all stages.
func (s *Stages) turn(now time.Time) {
	dirty := false
	s.mu.Lock()
	for _, p := range s.stages {
		s.observe(p, now)
		dirty = s.settle(p) || dirty
	}
	s.mu.Unlock()
	s.tell()
	if dirty {
		if err := s.write(); err != nil {
			s.cfg.Logger.Warn("stages would not be the same after a restart now", "error", err)
		}
	}
}

// observe takes how things are on one stage. s.mu is held.
func (s *Stages) observe(p *production, now time.Time) {
	otherwise := false
	for _, c := range p.plan.chairs {
		was := c.live
		s.look(p, c, now)
		otherwise = otherwise || c.live != was
	}
	p.plan.expire(now, s.cfg.Grace)
	voices, louder := p.listen()
	if !p.plan.playing() {
		p.director.rests = false // the next show begins as any
	}
	if p.plan.settings.Speaker {
		has := p.plan.picture
		if next := p.director.choose(now, has, voices, p.plan.settings.Hold); next != has {
			_ = p.plan.cut(next, now) // it is one of the voices, so it is there
		}
	}
	status := p.program.Status()
	if status.Cuts != p.status.Cuts {
		s.cuts.Add(status.Cuts - p.status.Cuts)
		if c, err := p.plan.find(status.Picture); err == nil {
			p.plan.tell(CutTo, c, "")
		}
	}
	if otherwise || louder || status != p.status {
		p.changed()
	}
	p.status = status
}

// look looks whether somebody fills a seat. s.mu is held.
func (s *Stages) look(p *production, c *chair, now time.Time) {
	if from, ok := s.hub.Lookup(StreamOf(p.plan.name, c.name)); ok && from.State().Live {
		p.plan.arrive(c, now)
	} else {
		p.plan.depart(c, now)
	}
}

// listen measures those who are on air. It returns those who are there, and whether somebody is otherwise than before. The Stages' mu is held.
func (p *production) listen() (voices []voice, otherwise bool) {
	for _, c := range p.plan.chairs {
		level, speaking := float64(Silence), false
		if c.state() == OnAir && c.live {
			level, speaking = p.program.Level(c.name)
			voices = append(voices, voice{c.name, level, speaking, c.muted})
		}
		if c.speaking != speaking || level-c.level >= levelStep || c.level-level >= levelStep {
			c.speaking, c.level, otherwise = speaking, level, true
		}
	}
	return voices, otherwise
}

func (p *production) changed() { p.version.Update(func(v uint64) uint64 { return v + 1 }) }

// settle has the program made as the plan says, and takes what is to be told. It reports
// whether something is to be kept. s.mu is held.
func (s *Stages) settle(p *production) (dirty bool) {
	news, dirty := p.plan.news, p.plan.dirty
	p.plan.news, p.plan.dirty = nil, false
	if len(news) > 0 || dirty {
		p.changed()
	}
	s.news = append(s.news, news...)
	p.program.Set(p.plan.lineup())
	return dirty
}

// tell tells what is to be told. When it returns that is done, whoever did it.
func (s *Stages) tell() {
	s.telling.Lock()
	defer s.telling.Unlock()
	s.mu.Lock()
	news := s.news
	s.news = nil
	s.mu.Unlock()
	if s.cfg.Tell == nil {
		return
	}
	for _, n := range news {
		s.cfg.Tell(n)
	}
}

// write keeps how all stages are.
func (s *Stages) write() error {
	if s.cfg.Keep == nil {
		return nil
	}
	s.keep.Lock()
	defer s.keep.Unlock()
	var all []Record
	s.mu.Lock()
	for _, name := range slices.Sorted(maps.Keys(s.stages)) {
		all = append(all, s.stages[name].plan.record())
	}
	s.mu.Unlock()
	if err := s.cfg.Keep(all); err != nil {
		return fmt.Errorf("keep stages: %w", err)
	}
	return nil
}

// on does something with a stage, and then what follows of it.
func (s *Stages) on(stage string, do func(p *production, now time.Time) error) error {
	s.mu.Lock()
	p, ok := s.stages[stage]
	if !ok {
		s.mu.Unlock()
		return ErrStage
	}
	err := do(p, time.Now())
	dirty := s.settle(p)
	s.mu.Unlock()
	s.tell()
	if err == nil && dirty {
		err = s.write()
	}
	return err
}

// Set makes a stage, or changes its settings: ErrName, or ErrFull.
func (s *Stages) Set(stage string, settings Settings) error {
	if !ValidName(stage) {
		return ErrName
	}
	if err := s.open(stage, settings); err != nil {
		return err
	}
	return s.on(stage, func(p *production, now time.Time) error {
		if settings.Speaker && !p.plan.settings.Speaker {
			p.director.rests = false
		}
		p.plan.set(settings, now)
		return nil
	})
}

// open makes a stage if there is none of that name.
func (s *Stages) open(stage string, settings Settings) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.stages[stage]; ok {
		return nil
	}
	if len(s.stages) >= s.cfg.MaxStages {
		return ErrFull
	}
	p, err := s.produce(Record{Name: stage, Settings: settings}, time.Now())
	if err != nil {
		return err
	}
	p.plan.dirty = true
	p.plan.tell(Made, nil, "")
	s.stages[stage] = p
	s.set.Update(func(v uint64) uint64 { return v + 1 })
	return nil
}

// Remove ends a stage, and returns its seats.
func (s *Stages) Remove(stage string) ([]Seat, error) {
	s.mu.Lock()
	p, ok := s.stages[stage]
	if !ok {
		s.mu.Unlock()
		return nil, ErrStage
	}
	seats := p.plan.seats()
	delete(s.stages, stage)
	p.ended = true
	p.changed()
	s.set.Update(func(v uint64) uint64 { return v + 1 })
	s.news = append(s.news, News{Kind: Removed, Stage: stage})
	s.mu.Unlock()
	s.tell()
	return seats, s.write()
}

// Add adds a seat, and returns its name: a new one of its role where none is given.
// Errors are ErrStage, ErrName, ErrExists and ErrFull.
func (s *Stages) Add(stage, seat, label string, role Role) (string, error) {
	err := s.on(stage, func(p *production, now time.Time) error {
		if len(p.plan.chairs) >= s.cfg.MaxSeats {
			return ErrFull
		}
		if seat == "" {
			seat = p.plan.vacant(role)
		}
		if !ValidSeat(seat) {
			return ErrName
		}
		return p.plan.add(seat, labelOf(label, seat), role, now)
	})
	return seat, err
}

// labelOf returns what people see of a seat: its own name rather than nothing.
func labelOf(label, seat string) string {
	if label = strings.TrimSpace(label); label == "" {
		return seat
	}
	return label
}

// vacant returns a name that no seat has.
func (p *plan) vacant(role Role) string {
	for n := 1; ; n++ {
		name := string(role) + "-" + strconv.Itoa(n)
		if _, err := p.find(name); err != nil {
			return name
		}
	}
}

// Invite notes the invitation that a seat may be filled by from now on, and returns the
// one before.
func (s *Stages) Invite(stage, seat string, i Invitation) (Invitation, error) {
	var before Invitation
	err := s.on(stage, func(p *production, _ time.Time) error {
		c, err := p.plan.find(seat)
		if err == nil {
			before, c.invitation, p.plan.dirty = c.invitation, i, true
		}
		return err
	})
	return before, err
}

// Change changes a seat.
func (s *Stages) Change(stage, seat string, change Change) error {
	return s.on(stage, func(p *production, now time.Time) error { return p.plan.change(seat, change, now) })
}

// RemoveSeat takes a seat away, and returns how it was.
func (s *Stages) RemoveSeat(stage, seat string) (Seat, error) {
	var was Seat
	err := s.on(stage, func(p *production, _ time.Time) error {
		c, err := p.plan.find(seat)
		if err != nil {
			return err
		}
		was = p.plan.seat(c)
		return p.plan.remove(seat)
	})
	return was, err
}

// Cut gives the picture of the program to a seat, at its next keyframe; "" to none.
func (s *Stages) Cut(stage, seat string) error {
	return s.on(stage, func(p *production, now time.Time) error {
		if c, err := p.plan.find(seat); err == nil { // it may have come just now
			s.look(p, c, now)
		}
		err := p.plan.cut(seat, now)
		if err == nil {
			p.director.cut(seat, now)
		}
		return err
	})
}

// Scene is how a stage is. It is a value.
type Scene struct {
	Name     string
	Settings Settings
	Seats    []Seat
	Program  Status
}

func (p *production) scene() Scene {
	return Scene{p.plan.name, p.plan.settings, p.plan.seats(), p.program.Status()}
}

// Scenes returns all stages, by their names.
func (s *Stages) Scenes() []Scene {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Scene
	for _, name := range slices.Sorted(maps.Keys(s.stages)) {
		all = append(all, s.stages[name].scene())
	}
	return all
}

// Scene returns one stage.
func (s *Stages) Scene(stage string) (Scene, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.stages[stage]
	if !ok {
		return Scene{}, ErrStage
	}
	return p.scene(), nil
}

// View returns what a seat sees of its stage: itself, and the others that it may play.
func (s *Stages) View(stage, seat string) (Seat, Scene, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.stages[stage]
	if !ok {
		return Seat{}, Scene{}, ErrStage
	}
	c, err := p.plan.find(seat)
	if err != nil {
		return Seat{}, Scene{}, err
	}
	all := p.scene()
	all.Seats = slices.DeleteFunc(all.Seats, func(other Seat) bool { return !p.plan.sees(seat, other.Name) })
	return p.plan.seat(c), all, nil
}

// Changes waits until a stage has another version than seen (begin with 0), and returns
// that. Errors are the context's, and ErrStage.
func (s *Stages) Changes(ctx context.Context, stage string, seen uint64) (uint64, error) {
	s.mu.Lock()
	p, ok := s.stages[stage]
	s.mu.Unlock()
	if !ok {
		return seen, ErrStage
	}
	version, err := p.version.Wait(ctx, func(v uint64) bool { return v != seen })
	if err != nil {
		return seen, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.ended {
		return version, ErrStage
	}
	return version, nil
}

// Has reports whether there is a stage of that name.
func (s *Stages) Has(stage string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.stages[stage]
	return ok
}

// May reports whether a seat may play a stream: that of the program, or of another seat
// of its stage.
func (s *Stages) May(stage, seat, name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.stages[stage]
	if !ok {
		return false
	}
	if name == stage {
		return p.plan.watches(seat)
	}
	of, other, ok := Split(name)
	return ok && of == stage && p.plan.sees(seat, other)
}

// Seated reports whether there is a seat of that name that may be filled now.
func (s *Stages) Seated(stage, seat string) bool {
	now, _, err := s.View(stage, seat)
	return err == nil && !now.Lapsed(time.Now())
}

// Cuts returns how many cuts there were, on all stages.
func (s *Stages) Cuts() *atomic.Uint64 { return &s.cuts }
