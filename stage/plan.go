package stage

import (
	"slices"
	"time"
)

// plan is who is where on one stage. It is pure, and for one owner.
//
//	invited ─▶ waiting ─▶ backstage ◀─▶ on air
//	   each of the three ◀─▶ left
//
// Where a seat is when somebody fills it (its place) and whether somebody does are kept
// apart: so one that comes back is where it was, and one can be let in before it comes.
type plan struct {
	name     string
	settings Settings
	chairs   []*chair // in the order in which they were added
	picture  string   // who has it; "": nobody
	news     []News   // that nobody was told yet
	dirty    bool     // what is kept over restarts has changed
}

// chair is one seat.
type chair struct {
	name, label string
	role        Role
	place       State // Waiting, Backstage or OnAir
	came        bool  // somebody has filled it
	live        bool
	dropped     time.Time // when it was not live any more
	left        bool
	muted       bool
	since       time.Time // of its state
	invitation  Invitation

	level    float64
	speaking bool
}

func newPlan(r Record, now time.Time) *plan {
	p := &plan{name: r.Name, settings: r.Settings, picture: r.Picture}
	for _, s := range r.Seats {
		p.chairs = append(p.chairs, &chair{
			name: s.Name, label: s.Label, role: s.Role, place: s.Place, came: s.Came, muted: s.Muted, invitation: s.Invitation,
			since: now, dropped: now, level: Silence,
		})
	}
	return p
}

// record returns what is kept.
func (p *plan) record() Record {
	r := Record{Name: p.name, Settings: p.settings, Picture: p.picture, Seats: []SeatRecord{}}
	for _, c := range p.chairs {
		r.Seats = append(r.Seats, SeatRecord{
			Name: c.name, Label: c.label, Role: c.role, Place: c.place, Came: c.came, Muted: c.muted, Invitation: c.invitation,
		})
	}
	return r
}

func (p *plan) find(name string) (*chair, error) {
	for _, c := range p.chairs {
		if c.name == name {
			return c, nil
		}
	}
	return nil, ErrSeat
}

// state is what a seat is called.
func (c *chair) state() State {
	switch {
	case !c.came:
		return Invited
	case c.left:
		return Left
	}
	return c.place
}

// admitted reports whether a seat is with the others.
func (c *chair) admitted() bool { return c.state() == Backstage || c.state() == OnAir }

func (p *plan) seat(c *chair) Seat {
	return Seat{
		Name: c.name, Label: c.label, Role: c.role, State: c.state(), Muted: c.muted, Picture: c.name == p.picture, Connected: c.live,
		Speaking: c.speaking, Level: c.level, Since: c.since, Invitation: c.invitation,
	}
}

// seats returns all, in the order in which they were added.
func (p *plan) seats() []Seat {
	all := []Seat{}
	for _, c := range p.chairs {
		all = append(all, p.seat(c))
	}
	return all
}

// sees reports whether a seat may play the stream of another one: both are let in, and
// nobody plays its own.
func (p *plan) sees(viewer, other string) bool {
	if viewer == other {
		return false
	}
	v, err := p.find(viewer)
	o, err2 := p.find(other)
	return err == nil && err2 == nil && v.admitted() && o.admitted()
}

// watches reports whether a seat may play the program.
func (p *plan) watches(viewer string) bool {
	v, err := p.find(viewer)
	return err == nil && v.admitted()
}

func (p *plan) tell(kind Kind, c *chair, before State) {
	n := News{Kind: kind, Stage: p.name, Before: before}
	if c != nil {
		n.Seat = p.seat(c)
	}
	p.news = append(p.news, n)
}

// set changes the settings.
func (p *plan) set(s Settings, now time.Time) {
	if s.Hold <= 0 {
		s.Hold = defaultHold
	}
	if p.settings == s {
		return
	}
	p.settings, p.dirty = s, true
	p.tell(Changed, nil, "")
	for _, c := range p.chairs {
		if s.Auto && c.came {
			p.admit(c, now)
		}
	}
}

// admit lets in who waits.
func (p *plan) admit(c *chair, now time.Time) {
	if c.place == Waiting {
		p.move(c, Backstage, now)
	}
}

// add adds a seat that nobody has filled.
func (p *plan) add(name, label string, role Role, now time.Time) error {
	if _, err := p.find(name); err == nil {
		return ErrExists
	}
	c := &chair{name: name, label: label, role: role, place: Waiting, since: now, dropped: now, level: Silence}
	if role == Host {
		c.place = Backstage
	}
	p.chairs = append(p.chairs, c)
	p.dirty = true
	p.tell(Cast, c, "")
	return nil
}

// remove takes a seat away.
func (p *plan) remove(name string) error {
	i := slices.IndexFunc(p.chairs, func(c *chair) bool { return c.name == name })
	if i < 0 {
		return ErrSeat
	}
	c := p.chairs[i]
	before := c.state()
	p.chairs = slices.Delete(p.chairs, i, i+1)
	if p.picture == name {
		p.picture = ""
	}
	c.came, c.left, c.live, p.dirty = true, true, false, true
	p.tell(Departed, c, before)
	return nil
}

// change does what is asked for.
func (p *plan) change(name string, change Change, now time.Time) error {
	c, err := p.find(name)
	if err != nil {
		return err
	}
	if change.Label != nil && labelOf(*change.Label, c.name) != c.label {
		c.label, p.dirty = labelOf(*change.Label, c.name), true
		p.tell(Cast, c, "")
	}
	if change.Role != nil && *change.Role != c.role {
		c.role, p.dirty = *change.Role, true
		p.tell(Cast, c, "")
		if c.role == Host {
			p.admit(c, now)
		}
	}
	if change.Muted != nil && *change.Muted != c.muted {
		c.muted, p.dirty = *change.Muted, true
		p.tell(Moved, c, c.state())
	}
	if change.State != nil {
		p.move(c, *change.State, now)
	}
	return nil
}

// move puts a seat at a place.
func (p *plan) move(c *chair, place State, now time.Time) {
	if c.place == place {
		return
	}
	before := c.state()
	c.place, p.dirty = place, true
	if place != OnAir && p.picture == c.name {
		p.picture = ""
	}
	if c.state() != before {
		c.since = now
		p.tell(Moved, c, before)
	}
}

// cut gives the picture to a seat, which is on air then; "" to none.
func (p *plan) cut(name string, now time.Time) error {
	if name == "" {
		p.dirty = p.dirty || p.picture != ""
		p.picture = ""
		return nil
	}
	c, err := p.find(name)
	if err != nil {
		return err
	}
	if !c.live {
		return ErrAbsent
	}
	p.move(c, OnAir, now)
	p.dirty = p.dirty || p.picture != name
	p.picture = name
	return nil
}

// depart says that nobody fills a seat now.
func (p *plan) depart(c *chair, now time.Time) {
	if c.live {
		c.live, c.dropped = false, now
	}
}

// arrive says that somebody fills a seat.
func (p *plan) arrive(c *chair, now time.Time) {
	if c.live {
		return
	}
	before := c.state()
	p.dirty = p.dirty || !c.came
	c.live, c.left = true, false
	if !c.came {
		c.came = true
		if p.settings.Auto && c.place == Waiting {
			c.place = Backstage
		}
	}
	if c.state() != before {
		c.since = now
		p.tell(Joined, c, before)
	}
}

// expire finds who did not come back in time.
func (p *plan) expire(now time.Time, grace time.Duration) {
	for _, c := range p.chairs {
		if c.came && !c.left && !c.live && now.Sub(c.dropped) >= grace {
			before := c.state()
			c.left, c.since = true, now
			p.tell(Departed, c, before)
		}
	}
}

// playing reports whether anybody is on air.
func (p *plan) playing() bool {
	return slices.ContainsFunc(p.chairs, func(c *chair) bool { return c.state() == OnAir })
}

// lineup is what the program is to be made of.
func (p *plan) lineup() Lineup {
	l := Lineup{Picture: p.picture}
	for _, c := range p.chairs {
		if c.state() == OnAir {
			l.Sounds = append(l.Sounds, Sound{Seat: c.name, Muted: c.muted})
		}
	}
	return l
}
