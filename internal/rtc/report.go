package rtc

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/pion/webrtc/v4"
)

// Report says in words how the two sides of a Session reach each other, or why they do
// not. No text has an address of the other side's private network.
type Report struct {
	Words      string   // one line, without a stop
	Remedy     string   // what to do about it; "" where nothing is wrong
	Advertised []string // what the other side was told
	Offered    []string // what it offered
	Tried      []string // pairs of addresses, and how it went
}

// way is how media goes.
type way uint8

const (
	nowhere way = iota // not connected yet
	byUDP
	byTCP
	byRelay
)

// String is what logs call it.
func (w way) String() string { return [...]string{"", "udp", "tcp", "relay"}[w] }

func (w way) words() string {
	return [...]string{"not connected", "connected directly by UDP", "connected by TCP", "relayed by TURN"}[w]
}

// course is how far a Session is.
type course uint8

const (
	under    course = iota // way: it connects still
	arrived                // media flows
	never                  // it did not connect
	vanished               // it was lost
)

// facts are what a Report is made of.
type facts struct {
	course     course
	way        way // how media goes, or went
	advertised []netip.Addr
	port       int
	tcp        bool       // also by TCP
	publicIPs  bool       // advertised is media.public_ips
	from       netip.Addr // where the POST came from; of IPv6 its network
	servers    bool       // the other side was told of TURN servers
	heard      []string   // candidates of the other side as they were, without doubles
	pairs      []pair
	blind      bool // what was tried is not known any more
}

// pair is two addresses and what went between them.
type pair struct {
	tcp                      bool
	local, remote            string // where we wait; what kind the other side is
	sent, answered, received uint64 // checks of ours, answers to them, checks of theirs
	succeeded                bool
}

// report says what the facts mean. It is pure.
func (f facts) report() Report {
	r := Report{Offered: f.offered()}
	for _, a := range f.advertised {
		at := netip.AddrPortFrom(a, uint16(f.port)).String() //nolint:gosec // a port
		r.Advertised = append(r.Advertised, "udp "+at)
		if f.tcp {
			r.Advertised = append(r.Advertised, "tcp "+at)
		}
	}
	for _, p := range f.pairs {
		r.Tried = append(r.Tried, p.words())
	}
	switch f.course {
	case arrived:
		r.Words, r.Remedy = f.way.words(), ""
		if f.way == byTCP {
			r.Words += ": UDP is blocked between it and us, or came later"
			r.Remedy = fmt.Sprintf("open UDP port %d in the firewalls between: over TCP each lost packet delays all that follow", f.port)
		}
	case vanished:
		r.Words = fmt.Sprintf("it was %s, then nothing came for half a minute", f.way.words())
		r.Remedy = "its network went away or changed: a program that restarts ICE, or our pages, come back by themselves"
	case under:
		r.Words = "not connected yet"
	case never:
		r.Words, r.Remedy = f.failure()
	}
	return r
}

// failure says why no connection came about.
func (f facts) failure() (words, remedy string) {
	var done, received bool
	for _, p := range f.pairs {
		done = done || p.succeeded
		received = received || p.received > 0
	}
	told := "nothing"
	if len(f.advertised) > 0 {
		told = list(f.advertised)
	}
	open := fmt.Sprintf("open UDP and TCP port %d in the firewalls before this machine, and forward both on its router", f.port)
	switch {
	case done:
		return "packets went both ways, but the other side did not finish DTLS", "try another program there; a firewall between may drop long UDP packets"
	case received:
		return "its packets come, but ours do not reach it", fmt.Sprintf("let answers out: UDP from port %d of this machine to everywhere", f.port)
	case f.blind:
		return "advertised " + told + ", and no pair of addresses worked", open
	}
	return f.silence("advertised "+told, open)
}

// silence says why nothing came to where it was told.
func (f facts) silence(told, open string) (words, remedy string) {
	switch {
	case !f.publicIPs && all(f.advertised, near) && f.from.IsValid() && !near(f.from):
		return told + ", which the client cannot reach: it comes from another network" + f.aside(),
			"set media.public_ips to the address that it reaches this machine by"
	case !f.publicIPs && all(f.advertised, near):
		return told + ", and nothing came there" + f.aside(),
			"if others reach this machine by another address, as behind NAT or in a container, set media.public_ips; else " + open
	}
	remedy = open
	if f.publicIPs {
		remedy += "; is media.public_ips right?"
	}
	if f.servers {
		return told + ", and nothing came there, by UDP, TCP or TURN" + f.aside(), remedy + "; and the ports of the TURN servers: whipcast check tries them"
	}
	return told + ", and nothing came there, by UDP or TCP" + f.aside(), remedy + "; a client whose network blocks both needs media.turn"
}

// aside says what is odd about what the other side offered.
func (f facts) aside() string {
	names := 0
	for _, line := range f.heard {
		if kindOfCandidate(line) == mdnsName {
			names++
		}
	}
	switch {
	case len(f.heard) == 0:
		return "; the client offered no address, so it must reach us first"
	case names == len(f.heard):
		return "; the client offered mDNS names only, which mean nothing outside of its network, so it must reach us first"
	}
	return ""
}

const mdnsName = "mDNS name"

// offered counts what the other side offered, by kind.
func (f facts) offered() []string {
	var kinds []string
	counts := map[string]int{}
	for _, line := range f.heard {
		kind := kindOfCandidate(line)
		if counts[kind] == 0 {
			kinds = append(kinds, kind)
		}
		counts[kind]++
	}
	for i, kind := range kinds {
		kinds[i] = fmt.Sprintf("%d × %s", counts[kind], kind)
	}
	return kinds
}

// kindOfCandidate says what a candidate line, without "candidate:", is.
func kindOfCandidate(line string) string {
	f := strings.Fields(line)
	if len(f) < 8 {
		return "unreadable"
	}
	kind := map[string]string{"host": "its own address", "srflx": "address outside of its NAT", "prflx": "address that was seen", "relay": "address of a relay"}[f[7]]
	if kind == "" {
		kind = "unknown kind"
	}
	a, err := netip.ParseAddr(f[4])
	switch {
	case strings.HasSuffix(strings.ToLower(f[4]), ".local"):
		kind = mdnsName
	case err != nil:
		kind = "name"
	case near(a.Unmap()):
		kind += ", private"
	}
	if strings.EqualFold(f[2], "tcp") {
		kind += ", TCP"
	}
	return kind
}

// near reports whether an address is of this machine or of a private network.
func near(a netip.Addr) bool { return a.IsLoopback() || a.IsLinkLocalUnicast() || inside(a) }

func all(addresses []netip.Addr, is func(netip.Addr) bool) bool {
	return !slices.ContainsFunc(addresses, func(a netip.Addr) bool { return !is(a) })
}

func list(addresses []netip.Addr) string {
	var texts []string
	for _, a := range addresses {
		texts = append(texts, a.String())
	}
	return strings.Join(texts, ", ")
}

func (p pair) words() string {
	outcome := "no packet came"
	switch {
	case p.succeeded:
		outcome = "works"
	case p.answered > 0:
		outcome = "works, but was not chosen"
	case p.received > 0:
		outcome = "its checks came, ours were not answered"
	case p.sent == 0:
		outcome = "not checked yet"
	}
	protocol := "udp"
	if p.tcp {
		protocol = "tcp"
	}
	return fmt.Sprintf("%s %s and %s: %s (%d checks sent, %d received)", protocol, p.local, p.remote, outcome, p.sent, p.received)
}

// maxTried is how many pairs a Report tells of: those that went farthest.
const maxTried = 16

// trying reports whether ICE has not given up. Then Pion knows the pairs; it must not be
// asked for them later, when it closes the connection by itself.
func (x *Session) trying() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return !x.gaveUp
}

// used returns the pair that worked, of a connection that failed with it.
func (x *Session) used() []pair {
	selected, err := x.pc.SCTP().Transport().ICETransport().GetSelectedCandidatePair()
	if err != nil || selected == nil {
		return nil
	}
	return []pair{{
		tcp: selected.Local.Protocol == webrtc.ICEProtocolTCP, local: fmt.Sprintf("%s port %d", selected.Local.Address, selected.Local.Port),
		remote:    kindOfCandidate(fmt.Sprintf("1 1 udp 1 %s %d typ %s", selected.Remote.Address, selected.Remote.Port, selected.Remote.Typ)),
		succeeded: true,
	}}
}

// tried returns the pairs of a connection.
func (x *Session) tried() []pair {
	report := x.pc.GetStats()
	var pairs []pair
	for _, one := range report {
		s, ok := one.(webrtc.ICECandidatePairStats)
		if !ok {
			continue
		}
		local, _ := report[s.LocalCandidateID].(webrtc.ICECandidateStats)
		remote, _ := report[s.RemoteCandidateID].(webrtc.ICECandidateStats)
		p := pair{
			tcp: local.Protocol == "tcp", local: fmt.Sprintf("%s port %d", local.IP, local.Port),
			sent: s.RequestsSent, answered: s.ResponsesReceived, received: s.RequestsReceived,
			succeeded: s.Nominated && s.State == webrtc.StatsICECandidatePairStateSucceeded,
		}
		p.remote = kindOfCandidate(fmt.Sprintf("1 1 udp 1 %s %d typ %s", remote.IP, remote.Port, remote.CandidateType))
		pairs = append(pairs, p)
	}
	slices.SortFunc(pairs, func(a, b pair) int {
		return cmp.Or(cmp.Compare(b.answered, a.answered), cmp.Compare(b.received, a.received), cmp.Compare(b.sent, a.sent), cmp.Compare(a.words(), b.words()))
	})
	return pairs[:min(len(pairs), maxTried)]
}

// facts gathers what a Report is made of.
func (x *Session) facts(c course) facts {
	e := x.registry.engine
	f := facts{
		course: c, advertised: e.Advertised(), port: e.port, tcp: e.tcp != nil, publicIPs: e.public,
		from: x.opening.Address, servers: x.told.Load(),
	}
	if x.trying() {
		f.pairs = x.tried()
	} else {
		f.pairs = x.used()
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	f.heard, f.way = x.heard, x.way
	switch {
	case len(f.pairs) > 0:
		x.pairs = f.pairs
	case x.pairs != nil:
		f.pairs = x.pairs // Pion forgets them when it gives up
	default:
		f.blind = c == never && x.gaveUp
	}
	return f
}

// report is that of the present.
func (x *Session) report() Report {
	c := under
	select {
	case <-x.connected:
		c = arrived
	default:
	}
	return x.facts(c).report()
}

// explain adds to ErrNeverConnected and ErrLost why, and notes the rest for the log.
func (x *Session) explain(reason error) error {
	c := never
	if errors.Is(reason, ErrLost) {
		c = vanished
	}
	r := x.facts(c).report()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.reason == nil {
		x.cause = r
	}
	return fmt.Errorf("%w: %s", reason, r.Words)
}

// notes are for the log line at a Session's end.
func (r Report) notes(w way) []slog.Attr {
	var notes []slog.Attr
	if w != nowhere {
		notes = append(notes, slog.String("way", w.String()))
	}
	if r.Remedy != "" {
		notes = append(notes, slog.String("remedy", r.Remedy), slog.Any("offered", r.Offered))
	}
	return notes
}

// noteWay notes how media goes now. It is called when the Session is connected, also
// after a restart.
func (x *Session) noteWay() {
	selected, err := x.pc.SCTP().Transport().ICETransport().GetSelectedCandidatePair()
	if err != nil || selected == nil {
		return
	}
	w := byUDP
	remote, _ := netip.ParseAddr(selected.Remote.Address)
	relayed := x.registry.cfg.Relayed
	switch {
	case selected.Remote.Typ == webrtc.ICECandidateTypeRelay, relayed != nil && relayed(netip.AddrPortFrom(remote, selected.Remote.Port)):
		w = byRelay
	case selected.Local.Protocol == webrtc.ICEProtocolTCP:
		w = byTCP
	}
	x.mu.Lock()
	if x.way != w {
		x.way, x.wayAt = w, time.Now()
	}
	x.mu.Unlock()
}

// Detour says that the publisher of a stream is connected, but not in the best way, and
// since when; false if there is nothing to say. It is quick.
func (g *Registry) Detour(stream string) (Report, time.Time, bool) {
	g.mu.Lock()
	x := g.publishers[stream]
	g.mu.Unlock()
	if x == nil {
		return Report{}, time.Time{}, false
	}
	x.mu.Lock()
	w, at := x.way, x.wayAt
	x.mu.Unlock()
	if w != byTCP && w != byRelay {
		return Report{}, time.Time{}, false
	}
	return facts{course: arrived, way: w, port: g.engine.port}.report(), at, true
}
