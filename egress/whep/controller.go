package whep

import (
	"math"
	"time"
)

// The controller's limits. Queues are judged by how much longer packets are on
// their way than the quickest ones were.
const (
	calmQueue  = 30 * time.Millisecond  // shorter ones do not count
	busyQueue  = 40 * time.Millisecond  // from here on the slowest link is busy all the time
	risingBy   = 20 * time.Millisecond  // a queue that grows by so much is no jitter
	deepQueue  = 300 * time.Millisecond // a queue that needs no growth to be one
	floodQueue = 400 * time.Millisecond // too much for whatever reason
	floodTime  = time.Second            // if it lasts
	busyLeast  = 90 * time.Millisecond  // a link is measured over so much time
	busyMost   = 500 * time.Millisecond
	baseTime   = 10 * time.Second // so long, and at most twice, the quickest way is believed in

	needShare  = 0.95 // of its bit rate a Layer needs
	startShare = 0.6  // in the beginning: the cached pictures come beside it
	startTime  = 2 * time.Second
	fitShare   = 0.9  // of a link's rate is used
	safeShare  = 0.8  // where it just broke down
	scoutShare = 0.85 // of what a scout finds is believed
	probeShare = 1.1  // of a Layer's bit rate is tried out
	heldShare  = 0.8  // of it must come
	chokeShare = 0.75 // of what a Layer needs; where less gets through, nothing of it is shown
	slowShare  = 0.75 // of what came on average; where less came in the end, the link has just become slower
	longDrain  = 600 * time.Millisecond
	usualDrain = 300 * time.Millisecond

	// Layers that differ by less of their bit rate are one picture: real ones are much
	// further apart. While their bit rates are young, a keyframe that was counted for one
	// of them only may make a difference of youngShare.
	twinShare  = 0.1
	youngShare = 0.9

	lossTime   = 2 * time.Second
	lossLimit  = 0.12 // share of packets, beyond doubt: networks that lose 10 % by chance exist
	lossShare  = 0.85 // of its bit rate a Layer needs where much is lost
	heavyLoss  = 0.3  // is acted on without delay
	lossSigmas = 2.5  // is beyond doubt
	calmSigmas = 3.5  // is so where no queue is seen: it is judged ten times a second, for hours
	probeLoss  = 0.08 // more lost than before says that a probe is too much

	scoutEvery  = 400 * time.Millisecond
	scoutsAgree = 2 // receivers may be late: the second one is longer, and counts alone
	lossyAgree  = 3 // where a probe would stop the picture
	lossyTime   = 10 * time.Second
	probeTime   = time.Second            // that a probe's rate must be held
	probeTail   = 150 * time.Millisecond // for the feedback to come
	blindProbe  = 3 * time.Second        // where receiver reports alone tell
	recoverTime = time.Second            // after a change down, until the next scout
	furtherTime = 300 * time.Millisecond // after one up
	provenTime  = 10 * time.Second       // a Layer that was carried so long was no mistake
	firstPause  = 4 * time.Second        // after the first mistake; it doubles with each
	longPause   = time.Minute
	silentTime  = 1500 * time.Millisecond // without feedback while packets are sent

	groupSlots = 64 // newest feedbacks that are remembered
)

// rate is one Layer as the controller sees it.
type rate struct {
	bitrate int  // bits a second on the wire; 0: not known yet
	usable  bool // something comes
	steady  bool // bitrate is one of times that began together
}

// controller decides which of a few Layers a viewer's network can carry. It is
// fed with what feedback tells and with the time; it has neither clock nor
// goroutine. The best Layer has index 0.
//
// It goes down as soon as the slowest link is seen to be busy and slower than
// the Layer, or more is lost than chance can explain. It goes up only after a
// probe: padding beside the Layer, at the next one's bit rate, held for a
// second. Scouts, some padding sent at once, tell when a probe is worth it.
//
//	feedback ──▶ queue, loss ──▶ overuse ──▶ down
//	scout    ──▶ rate of link ──▶ probe ──▶ held ──▶ up
//	                              └──▶ failed ──▶ pause, doubled each time
type controller struct {
	ceiling int // the best Layer that the network carries, as far as known

	current int       // Layer that is sent
	need    int       // bits a second that are sent: the Layer's, or the probe's
	changed time.Time // when it was sent first

	paths  path
	losses lossCount
	told   time.Time // newest feedback
	timed  bool      // feedback tells times
	heard  bool      // there is feedback of any kind
	lossy  time.Time // when something was lost last though no queue was full
	remb   int       // a receiver's estimate, 0 without
	quiet  bool      // nothing was heard for too long, and that was acted on

	over     bool // overuse that was not acted on yet
	capacity int  // then, and when leaping: what the link carries
	estimate int  // what it is known to carry

	choked bool          // the present Layer cannot get through: better nothing until another is sent
	drain  time.Duration // then: how long the link is busy with what is on its way

	scoutAt  time.Time // when the next one is due
	scouting bool      // one is to be sent
	found    int       // what the last one found, 0 when none or used
	before   int       // the least that those before found, if they were worth another one
	agreed   int       // how many those were
	fresh    bool      // the viewer has just come, and begins low
	leaping  bool      // goes up at once: the cached pictures will do
	probe    probe

	raised  time.Time // when a probe's success was acted on
	pause   time.Duration
	retryAt time.Time
	probes  uint64
	failed  bool // the last probe was too much
}

// probe is a try whether the network carries a Layer.
type probe struct {
	layer   int // index; valid while on
	on      bool
	bitrate int
	since   time.Time
	loss    lossCount // before it
	groups  int       // feedbacks that came meanwhile
}

// feedback takes what one transport-wide feedback tells.
func (c *controller) feedback(g group, now time.Time) {
	c.timed, c.heard, c.quiet, c.told = true, true, false, now
	c.losses.add(g.came+g.lost, g.lost, now)
	c.found = max(c.found, g.scouted)
	if g.came > 0 {
		c.paths.add(g, now)
		c.probe.groups++
		if g.lost > 0 && c.paths.queue < busyQueue && now.Sub(c.changed) > recoverTime {
			c.lossy = now
		}
		if carried, bad := c.paths.overused(c.needed(now), now); bad {
			c.overuse(carried)
		}
	}
	c.lose(now)
}

// lose judges what is lost. Where enough comes all the same, it was too much at
// once, such as a keyframe, or chance: no rate is too high.
func (c *controller) lose(now time.Time) {
	sigmas := lossSigmas
	if c.paths.queue < busyQueue { // nothing else speaks for overuse
		sigmas = calmSigmas
	}
	if !c.losses.above(lossLimit, sigmas, now) {
		return
	}
	window := busyMost
	if c.losses.above(heavyLoss, sigmas, now) {
		window = 2 * busyLeast
	}
	if carried := c.paths.delivered(window); float64(carried) < lossShare*float64(c.need) {
		c.overuse(carried)
		return
	}
	c.losses = lossCount{}
}

// needed returns how many bits a second must be carried.
func (c *controller) needed(now time.Time) int {
	if now.Sub(c.changed) < startTime {
		return int(startShare * float64(c.need))
	}
	return int(needShare * float64(c.need))
}

// report takes a receiver report: packets that were expected since the one
// before, and how many of them were lost. Where feedback tells more it is left
// out.
func (c *controller) report(expected, lost int, now time.Time) {
	c.heard = true
	if c.timed {
		return
	}
	c.quiet, c.told = false, now
	c.losses.add(expected, lost, now)
	c.probe.groups += 2
	if c.losses.above(lossLimit, lossSigmas, now) {
		c.overuse(int(float64(c.need) * (1 - c.losses.share(now))))
	}
}

// receiverEstimate takes the bit rate of a REMB.
func (c *controller) receiverEstimate(bitrate int, now time.Time) {
	if c.timed {
		return
	}
	c.heard, c.told, c.remb = true, now, bitrate
	if float64(bitrate) < needShare*float64(c.need) {
		c.overuse(bitrate)
	}
}

func (c *controller) overuse(capacity int) {
	if !c.over {
		c.over, c.capacity = true, capacity
	}
	c.capacity = min(c.capacity, capacity)
}

// step decides. rates are the Layers, current the one that is sent; changing
// says that another is waited for; lastSent is when a packet was sent last.
func (c *controller) step(rates []rate, current int, changing bool, lastSent, now time.Time) {
	if current != c.current || c.changed.IsZero() {
		c.arrived(current, now)
	}
	if len(rates) < 2 || current < 0 || current >= len(rates) {
		c.over, c.probe.on, c.scouting = false, false, false // the ceiling is for the Layers that may come back
		return
	}
	c.need = rates[current].bitrate
	if c.probe.on {
		c.need = max(c.need, c.probe.bitrate)
	}
	c.listen(lastSent, now)
	c.estimate = max(c.estimate, c.paths.delivered(busyMost))
	over := c.over
	c.over = false
	switch {
	case changing:
		c.probe.on = c.probe.on && !over
	case over:
		c.lower(rates, now)
	case c.probe.on:
		c.judge(rates, now)
	default:
		c.look(rates, now)
	}
}

// listen takes the end of all feedback for overuse, once.
func (c *controller) listen(lastSent, now time.Time) {
	if c.timed && !c.quiet && lastSent.Sub(c.told) > silentTime && now.Sub(c.changed) > silentTime {
		c.quiet = true
		c.overuse(0)
	}
}

// arrived notes that another Layer is sent.
func (c *controller) arrived(current int, now time.Time) {
	up := current < c.current
	c.current, c.changed = current, now
	c.over, c.probe.on, c.scouting, c.choked, c.leaping = false, false, false, false, false
	c.forget()
	c.paths.restart()
	c.losses = lossCount{}
	c.scoutAt = now.Add(recoverTime)
	switch {
	case c.fresh:
		c.scoutAt = now
	case up:
		c.scoutAt = now.Add(furtherTime)
	}
}

// lower goes down after overuse.
func (c *controller) lower(rates []rate, now time.Time) {
	c.estimate = c.capacity
	if c.probe.on {
		c.probe.on = false
		c.mistake(now)
		if float64(c.capacity) >= needShare*float64(rates[c.current].bitrate) {
			c.paths.restart()
			c.losses = lossCount{}
			return // the Layer itself is carried
		}
	} else if !c.raised.IsZero() && now.Sub(c.raised) < provenTime {
		c.mistake(now)
	}
	choked := float64(c.capacity) < chokeShare*float64(rates[c.current].bitrate)
	share := fitShare
	if choked { // it was measured in a hurry
		share = safeShare
	}
	target := -1
	for i := c.current + 1; i < len(rates); i++ {
		if !rates[i].usable {
			continue
		}
		target = i
		if float64(rates[i].bitrate) <= share*float64(c.capacity) {
			break
		}
	}
	if target < 0 {
		return // there is nothing less
	}
	c.ceiling = target
	c.choked, c.drain = choked, min(c.paths.behind, longDrain)
	if !c.timed {
		c.drain = usualDrain // nothing tells
	}
	c.raised = time.Time{}
	c.scoutAt = now.Add(recoverTime)
}

// mistake makes the next probe wait.
func (c *controller) mistake(now time.Time) {
	c.pause = min(max(2*c.pause, firstPause), longPause)
	c.retryAt = now.Add(c.pause)
	c.scouting, c.failed = false, true
	c.forget()
}

// forget gives up what scouts found.
func (c *controller) forget() { c.found, c.before, c.agreed = 0, 0, 0 }

// look sends a scout, or begins a probe, if there is a better Layer.
func (c *controller) look(rates []rate, now time.Time) {
	if !c.raised.IsZero() && now.Sub(c.raised) > provenTime {
		c.raised, c.pause = time.Time{}, 0
	}
	top := c.ceiling == 0 || c.current > c.ceiling // it is sent, or soon will
	if top || !c.heard && !c.fresh || now.Before(c.retryAt) {
		return
	}
	if !c.timed && !c.fresh {
		c.lookBlindly(rates, now)
		return
	}
	if found := c.found; found > 0 {
		c.found = 0
		c.learn(rates, found, now)
	}
	if !c.probe.on && !c.scouting && !now.Before(c.scoutAt) && c.paths.queue < calmQueue {
		c.send(now)
	}
}

// learn takes what a scout found: another, longer one counts, then a probe begins. Where
// packets get lost it would stop the picture: browsers wait for what is lost of the
// padding, and do not remember more than a hundred packets of it. There more and
// longer scouts must do.
func (c *controller) learn(rates []rate, found int, now time.Time) {
	if c.agreed > 1 { // the second one replaces the first: it is longer
		found = min(found, c.before)
	}
	i, fresh := c.fitting(rates, found), c.fresh
	c.fresh = false
	if i < 0 {
		c.forget()
		return
	}
	c.before = found
	c.agreed++
	lossy := now.Sub(c.lossy) < lossyTime
	switch {
	case fresh:
		c.leap(i, rates[i].bitrate, now)
		c.leaping, c.raised, c.capacity = true, time.Time{}, int(scoutShare*float64(found))
	case lossy && c.agreed >= lossyAgree:
		c.probes++
		c.leap(i, rates[i].bitrate, now)
	case !lossy && c.agreed >= scoutsAgree:
		c.begin(i, rates[i].bitrate, now)
	default:
		c.send(now)
	}
}

// send makes a scout go.
func (c *controller) send(now time.Time) {
	c.scouting, c.failed, c.scoutAt = true, false, now.Add(scoutEvery)
}

// leap goes up without a probe.
func (c *controller) leap(layer, bitrate int, now time.Time) {
	c.estimate = max(c.estimate, int(probeShare*float64(bitrate)))
	c.ceiling, c.raised = layer, now
	c.forget()
}

// size is how long the next scout is to be.
func (c *controller) size() int {
	switch {
	case c.fresh:
		return scoutFresh
	case c.agreed >= scoutsAgree:
		return scoutLong
	case c.agreed > 0:
		return scoutSecond
	default:
		return scoutPackets
	}
}

// low makes the viewer begin with a Layer that is not the best one.
func (c *controller) low(layer int) { c.ceiling, c.fresh = layer, true }

// fitting returns the best Layer, better than the present one, that is worth a
// probe on a link as fast as a scout found; -1 if there is none.
func (c *controller) fitting(rates []rate, found int) int {
	for i := range c.current {
		if r := rates[i]; c.better(rates, i) && probeShare*float64(r.bitrate) <= scoutShare*float64(found) {
			return i
		}
	}
	return -1
}

// better reports whether it is worth to go up to a Layer. One with the very bit rate of
// the present one has its packets: so it is in a stage's program while a seat with one
// layer has the picture. The next seat's best Layer may be too much.
func (c *controller) better(rates []rate, i int) bool {
	r, present := rates[i], rates[c.current]
	apart, same := max(r.bitrate-present.bitrate, present.bitrate-r.bitrate), twinShare
	if !r.steady || !present.steady {
		same = youngShare
	}
	return r.usable && r.bitrate > 0 && float64(apart) > same*float64(present.bitrate)
}

// lookBlindly begins a probe of the next Layer where no feedback tells times.
func (c *controller) lookBlindly(rates []rate, now time.Time) {
	if now.Before(c.scoutAt) || c.losses.share(now) > lossLimit {
		return
	}
	for i := c.current - 1; i >= 0; i-- {
		if r := rates[i]; c.better(rates, i) {
			c.begin(i, r.bitrate, now)
			return
		}
	}
}

func (c *controller) begin(layer, bitrate int, now time.Time) {
	c.probe = probe{layer: layer, on: true, bitrate: int(probeShare * float64(bitrate)), since: now, loss: c.losses}
	c.need, c.failed = c.probe.bitrate, false
	c.losses = lossCount{}
	c.paths.restart()
	c.scouting = false
	c.forget()
	c.probes++
}

// judge ends a probe that was held for long enough.
func (c *controller) judge(rates []rate, now time.Time) {
	p := &c.probe
	length := probeTime + probeTail
	if !c.timed {
		length = blindProbe
	}
	if p.layer >= c.current || !rates[p.layer].usable || c.lossy.After(p.since) {
		p.on = false // or scouts must do
		return
	}
	if now.Sub(p.since) < length {
		return
	}
	lost := c.losses.share(now)
	held := p.groups >= 4 && lost <= p.loss.share(p.since)+probeLoss
	if c.timed {
		held = held && c.paths.queue < 2*busyQueue && float64(c.paths.delivered(busyMost)) >= heldShare*(1-lost)*float64(p.bitrate)
	} else if c.remb > 0 {
		held = held && c.remb >= rates[p.layer].bitrate
	}
	p.on = false
	if !held {
		c.mistake(now)
		return
	}
	c.estimate = max(c.estimate, p.bitrate)
	c.ceiling, c.raised = p.layer, now
}

// path is what feedback tells of the way to the viewer.
type path struct {
	base, next time.Duration // quickest way of the present and the coming period
	based      time.Time     // when the present period began
	known      bool

	queue  time.Duration // of the newest feedback: the shortest that it tells of
	behind time.Duration // and what the newest packet had in front of it

	busy      bool
	busyFrom  time.Duration // queue at the beginning
	busyTime  time.Duration
	busyRate  int // bits a second of the newest feedback
	busySlow  int // so many of the newest ones told of much less than came on average
	busyBytes int
	busyAgain int // bytes of repeats, which share the link
	busyLost  int
	busyCame  int
	flooded   time.Time // since when the queue has been too long

	groups *[groupSlots]piece // ring of the newest; nil before the first
	count  int
}

type piece struct {
	first, last time.Duration
	bytes       int
}

// restart forgets what was measured of the Layer before, but not the way itself.
func (p *path) restart() {
	p.busy, p.count, p.flooded = false, 0, time.Time{}
}

func (p *path) add(g group, now time.Time) {
	switch {
	case !p.known:
		p.known, p.base, p.next, p.based = true, g.way, g.way, now
	case now.Sub(p.based) > baseTime:
		p.base, p.next, p.based = p.next, g.way, now
	}
	p.base, p.next = min(p.base, g.way), min(p.next, g.way)
	p.queue, p.behind = g.way-p.base, max(g.newest, g.way)-p.base
	p.measure(g)
	if p.groups == nil {
		p.groups = new([groupSlots]piece)
	}
	p.groups[p.count%groupSlots] = piece{g.first, g.last, g.bytes}
	p.count++
	switch {
	case p.queue < floodQueue:
		p.flooded = time.Time{}
	case p.flooded.IsZero():
		p.flooded = now
	}
}

// measure measures the link while it is busy: from the second feedback on, as
// the first one may have begun in peace.
func (p *path) measure(g group) {
	if p.queue < busyQueue || p.count == 0 {
		p.busy = false
		return
	}
	if !p.busy {
		p.busy, p.busyFrom, p.busyTime, p.busyBytes, p.busyAgain, p.busyLost, p.busyCame = true, p.queue, 0, 0, 0, 0, 0
		p.busySlow = 0
		return
	}
	before := p.groups[(p.count-1)%groupSlots]
	if g.last <= before.last {
		return
	}
	p.busyRate = int(float64(g.bytes) * 8 / (g.last - before.last).Seconds())
	p.busyTime += g.last - before.last
	p.busyBytes += g.bytes
	p.busyAgain += min(g.again, g.bytes) // not all of them get through
	p.busyLost += g.lost
	p.busyCame += g.came
	if float64(p.busyRate)*p.busyTime.Seconds() < slowShare*8*float64(p.busyBytes) {
		p.busySlow++
	} else {
		p.busySlow = 0
	}
	if p.busyTime > busyMost {
		p.busyTime, p.busyBytes, p.busyAgain, p.busyLost, p.busyCame = p.busyTime/2, p.busyBytes/2, p.busyAgain/2, p.busyLost/2, p.busyCame/2
	}
}

// overused reports whether the link is too slow for so many bits a second, and
// what it carries.
func (p *path) overused(need int, now time.Time) (capacity int, bad bool) {
	if !p.busy || p.busyTime < busyLeast {
		return 0, false
	}
	capacity = int(float64(p.busyBytes) * 8 / p.busyTime.Seconds())
	carried := int(float64(p.busyBytes+p.busyAgain) * 8 / p.busyTime.Seconds())
	grows := p.queue-p.busyFrom >= risingBy || p.queue >= deepQueue || p.busyLost*10 > p.busyCame
	if carried < need && grows {
		if p.busySlow == 1 {
			return 0, false // the next feedback tells how slow it has become
		}
		if p.busySlow > 1 {
			capacity = p.busyRate
		}
		return capacity, true
	}
	if !p.flooded.IsZero() && now.Sub(p.flooded) > floodTime && p.queue >= p.busyFrom && p.busyAgain*4 < p.busyBytes {
		return min(capacity, int(fitShare*float64(need))), true
	}
	return 0, false
}

// delivered returns the bits a second that came in the last so long or a little
// longer.
func (p *path) delivered(window time.Duration) int {
	n := min(p.count, groupSlots)
	if n < 3 {
		return 0
	}
	newest := p.groups[(p.count-1)%groupSlots]
	bytes := 0
	for i := range n - 1 {
		g := p.groups[(p.count-1-i)%groupSlots]
		before := p.groups[(p.count-2-i)%groupSlots]
		bytes += g.bytes
		if span := newest.last - before.last; span >= window || i == n-2 {
			if span <= 0 {
				return 0
			}
			return int(float64(bytes) * 8 / span.Seconds())
		}
	}
	return 0
}

// lossCount counts packets over the last lossTime, in two halves.
type lossCount struct {
	packets, lost [2]float64
	since         time.Time
}

func (l *lossCount) add(packets, lost int, now time.Time) {
	l.turn(now)
	l.packets[1] += float64(packets)
	l.lost[1] += float64(lost)
}

func (l *lossCount) turn(now time.Time) {
	if d := now.Sub(l.since); d >= lossTime/2 {
		l.packets[0], l.lost[0] = l.packets[1], l.lost[1]
		if d >= lossTime {
			l.packets[0], l.lost[0] = 0, 0
		}
		l.packets[1], l.lost[1], l.since = 0, 0, now
	}
}

// share returns which share of the packets was lost.
func (l lossCount) share(now time.Time) float64 {
	l.turn(now)
	if n := l.packets[0] + l.packets[1]; n > 0 {
		return (l.lost[0] + l.lost[1]) / n
	}
	return 0
}

// above reports whether more than a share is lost, by so many sigmas.
func (l lossCount) above(limit, sigmas float64, now time.Time) bool {
	l.turn(now)
	n := l.packets[0] + l.packets[1]
	if n < 20 {
		return false
	}
	p := (l.lost[0] + l.lost[1]) / n
	return p-sigmas*math.Sqrt(p*(1-p)/n) > limit
}
