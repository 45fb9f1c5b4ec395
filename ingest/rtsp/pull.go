package rtsp

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bluenviron/gortsplib/v5"
	"github.com/bluenviron/gortsplib/v5/pkg/base"
	"github.com/bluenviron/gortsplib/v5/pkg/description"
	"github.com/bluenviron/gortsplib/v5/pkg/liberrors"

	"github.com/whipcast/whipcast/internal/rtsp"
	"github.com/whipcast/whipcast/stream"
)

const (
	dialTimeout = 10 * time.Second
	readTimeout = 10 * time.Second
	// Between two attempts: the first wait, and the longest.
	firstWait   = time.Second
	longestWait = 30 * time.Second
	// worked is how long a source must have been fetched for its next failure to be
	// the first.
	worked = 30 * time.Second
	// look is how often it is seen whether somebody watches.
	look = time.Second
)

// Source is one stream that is fetched from an RTSP server.
type Source struct {
	Stream    string
	URL       string // rtsp:// or rtsps://, with user and password where needed
	Transport string // "tcp", "udp", or "auto": UDP, then TCP if nothing comes
	OnDemand  bool   // fetched only while somebody watches
	// Trusted says that the operator chose it: it may be in a private network, as
	// cameras are. Others may be on the public Internet only, over TCP (specs X29).
	Trusted bool
	// Fingerprint is the SHA-256 of the certificate that the server of an rtsps:// URL
	// shows, in hex. Empty: it must be one that the system believes.
	Fingerprint string
}

// Demand tells whether somebody wants a stream. Its methods may be called from any
// goroutine.
type Demand interface {
	// Await waits until somebody wants it; the error is the context's.
	Await(ctx context.Context, stream string) error
	// Wanted reports whether somebody wants it still.
	Wanted(stream string) bool
}

// Status is how a Source does.
type Status struct {
	Stream string
	State  State
	Since  time.Time // of the State
	Error  string    // why the last attempt failed, without credentials; empty while fetching
	Failed int       // attempts that failed in a row
}

// State of a Source.
type State string

// The states of a Source.
const (
	Waiting    State = "waiting"    // for somebody to watch
	Connecting State = "connecting" // to its server
	Fetching   State = "fetching"
	Failing    State = "failing" // and tried again in a while
)

// Puller fetches Sources. Run must run for it to do so. All methods may be called
// from any goroutine.
type Puller struct {
	hub    *stream.Hub
	demand Demand
	log    *slog.Logger
	kick   chan struct{} // a Source has come

	mu  sync.Mutex
	all []*pull // below mu
}

// NewPuller returns a Puller. demand may be nil if no Source is ever fetched on
// demand.
// Errors name the stream and never the URL.
func NewPuller(sources []Source, hub *stream.Hub, demand Demand, log *slog.Logger) (*Puller, error) {
	p := &Puller{hub: hub, demand: demand, log: log, kick: make(chan struct{}, 1)}
	for _, s := range sources {
		if err := p.Set(s); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// Set adds a Source, or takes it in place of the one of the same stream, which
// ends. The error names the stream and never the URL.
func (p *Puller) Set(s Source) error {
	one, err := newPull(s, p)
	if err != nil {
		return err
	}
	p.mu.Lock()
	at := p.find(s.Stream)
	if at < 0 {
		p.all = append(p.all, one)
	} else {
		p.all[at].stop()
		p.all[at] = one
	}
	p.mu.Unlock()
	select {
	case p.kick <- struct{}{}:
	default:
	}
	return nil
}

// Remove ends the fetching of a stream, and says whether it was fetched.
func (p *Puller) Remove(stream string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := p.find(stream)
	if at < 0 {
		return false
	}
	p.all[at].stop()
	p.all = slices.Delete(p.all, at, at+1)
	return true
}

// find returns the place of a stream's Source, -1 without one. Call it with mu.
func (p *Puller) find(stream string) int {
	return slices.IndexFunc(p.all, func(one *pull) bool { return one.source.Stream == stream })
}

// Run fetches until ctx ends.
func (p *Puller) Run(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	for {
		p.mu.Lock()
		for _, one := range p.all {
			if one.end == nil {
				var life context.Context
				life, one.end = context.WithCancel(ctx)
				all.Go(func() { one.run(life) })
			}
		}
		p.mu.Unlock()
		select {
		case <-p.kick:
		case <-ctx.Done():
			return nil
		}
	}
}

// Status returns how all Sources do, in their order.
func (p *Puller) Status() []Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]Status, 0, len(p.all))
	for _, one := range p.all {
		one.mu.Lock()
		all = append(all, one.status)
		one.mu.Unlock()
	}
	return all
}

// pull fetches one Source. One goroutine runs it.
type pull struct {
	source Source
	url    *base.URL
	at     string // host:port
	puller *Puller
	log    *slog.Logger
	end    context.CancelFunc // below the Puller's mu; nil until it runs

	mu     sync.Mutex
	status Status // below mu
}

// errURL does not show the URL: it may have a password.
var errURL = errors.New("its URL is not one of RTSP")

// CheckURL says whether a text is the URL of an RTSP server: rtsp:// or rtsps://.
func CheckURL(text string) error {
	_, err := parse(text)
	return err
}

func parse(text string) (*base.URL, error) {
	u, err := base.ParseURL(text)
	if err != nil || u.Hostname() == "" || u.Scheme != "rtsp" && u.Scheme != "rtsps" {
		return nil, errURL
	}
	return u, nil
}

func newPull(s Source, p *Puller) (*pull, error) {
	u, err := parse(s.URL)
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", s.Stream, err)
	}
	port := u.Port()
	if port == "" {
		port = "554"
		if u.Scheme == "rtsps" {
			port = "322"
		}
	}
	return &pull{
		source: s, url: u, at: net.JoinHostPort(u.Hostname(), port), puller: p, log: p.log.With("stream", s.Stream),
		status: Status{Stream: s.Stream, State: Connecting, Since: time.Now()},
	}, nil
}

// stop ends it if it runs. Call it with the Puller's mu.
func (p *pull) stop() {
	if p.end != nil {
		p.end()
	}
}

// errUnwanted ends what nobody watches any more.
var errUnwanted = errors.New("nobody watches")

func (p *pull) run(ctx context.Context) {
	for ctx.Err() == nil {
		if p.source.OnDemand {
			p.now(Waiting, nil)
			if p.puller.demand.Await(ctx, p.source.Stream) != nil {
				return
			}
		}
		begun := time.Now()
		p.now(Connecting, nil)
		err := p.once(ctx)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, errUnwanted) {
			p.log.Info("source is not fetched any more", "reason", err.Error())
			continue
		}
		failed := p.fail(err, time.Since(begun))
		select {
		case <-time.After(backoff(failed, rand.Float64())): //nolint:gosec // no secret
		case <-ctx.Done():
		}
	}
}

// backoff returns how long to wait after so many failures in a row. Chance, from 0
// to 1, keeps many sources of one server apart.
func backoff(failed int, chance float64) time.Duration {
	wait := longestWait
	if failed < 6 {
		wait = min(firstWait<<max(failed-1, 0), longestWait)
	}
	return time.Duration(float64(wait) * (0.5 + chance/2))
}

// now notes a State.
func (p *pull) now(s State, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status.State, p.status.Since = s, time.Now()
	switch {
	case err != nil:
		p.status.Error = err.Error()
	case s != Connecting:
		p.status.Error = ""
	}
}

// fail notes a failure and returns how many there were in a row. It is logged when
// it is news.
func (p *pull) fail(err error, after time.Duration) int {
	err = p.plain(err)
	p.mu.Lock()
	news := p.status.Error != err.Error()
	if after >= worked {
		p.status.Failed = 0
	}
	p.status.Failed++
	failed := p.status.Failed
	p.mu.Unlock()
	if news || failed == 1 {
		p.log.Warn("source cannot be fetched and is tried again", "error", err)
	}
	p.now(Failing, err)
	return failed
}

// plain returns an error without anything of the URL but its host (specs X29): some
// have the whole request in their text.
func (p *pull) plain(err error) error {
	if _, ok := errors.AsType[liberrors.ErrClientBadStatusCode](err); !ok && errors.Is(err, ErrForbidden) {
		return ErrForbidden
	}
	text := err.Error()
	secrets := []string{p.source.URL, p.url.String(), p.url.RequestURI()}
	if p.url.User != nil {
		password, _ := p.url.User.Password()
		secrets = append(secrets, p.url.User.String(), password, p.url.User.Username())
	}
	secrets = append(secrets, p.url.RawQuery)
	for _, secret := range secrets {
		if len(secret) > 1 {
			text = strings.ReplaceAll(text, secret, "…")
		}
	}
	return errors.New(strings.Join(strings.Fields(text), " "))
}

// once fetches until something ends it.
func (p *pull) once(ctx context.Context) error {
	c := p.connection()
	if err := c.Start(); err != nil {
		return err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, c.Close) // what waits for an answer ends with ctx
	defer stop()
	f, err := p.begin(c)
	if err != nil {
		return err
	}
	if _, err := c.Play(nil); err != nil {
		f.session.Close(err)
		return err
	}
	p.now(Fetching, nil)
	p.log.Info("source is fetched", "video", f.has(stream.Video), "audio", f.has(stream.Audio))
	err = p.follow(ctx, c, f)
	f.session.Close(err)
	return err
}

// connection returns what talks to the server.
func (p *pull) connection() *gortsplib.Client {
	s := &p.source
	c := &gortsplib.Client{
		Scheme: p.url.Scheme, Host: p.url.Host, ReadTimeout: readTimeout, WriteTimeout: readTimeout, UserAgent: "whipcast",
		DialContext: s.dialer(p.at), ListenPacket: listenPacket,
		OnTransportSwitch: func(error) { p.log.Info("source sends nothing over UDP: TCP is tried") },
		OnPacketsLost:     func(uint64) {}, // the stream's own books tell of them
		OnDecodeError:     func(error) {},
	}
	protocol := gortsplib.ProtocolTCP
	switch {
	case s.Transport == "tcp" || !s.Trusted || p.url.Scheme == "rtsps":
		c.Protocol = &protocol
	case s.Transport == "udp":
		protocol = gortsplib.ProtocolUDP
		c.Protocol = &protocol
	}
	if p.url.Scheme == "rtsps" {
		c.TLSConfig = s.trust(p.url.Hostname())
	}
	return c
}

// receiveBuffer is asked for of each UDP socket; the system may allow less.
const receiveBuffer = 1 << 20

func listenPacket(network, address string) (net.PacketConn, error) {
	c, err := net.ListenPacket(network, address) //nolint:noctx // the protocol has none
	if u, ok := c.(*net.UDPConn); ok && err == nil {
		_ = u.SetReadBuffer(receiveBuffer)
	}
	return c, err
}

// trust says which certificate a server may show.
func (s *Source) trust(host string) *tls.Config {
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
	if s.Fingerprint == "" {
		return config
	}
	want := strings.ToLower(strings.ReplaceAll(s.Fingerprint, ":", ""))
	config.InsecureSkipVerify = true //nolint:gosec // VerifyConnection does it
	config.VerifyConnection = func(state tls.ConnectionState) error {
		if sum := sha256.Sum256(state.PeerCertificates[0].Raw); hex.EncodeToString(sum[:]) != want {
			return errors.New("the server shows a certificate with another fingerprint")
		}
		return nil
	}
	return config
}

// begin asks what there is, sets it up, and becomes the Stream's publisher.
func (p *pull) begin(c *gortsplib.Client) (*feeder, error) {
	d, _, err := c.Describe(p.url)
	if err != nil {
		return nil, err
	}
	tracks, left := choose(d)
	for _, l := range left {
		p.log.Warn("source has something that is left out", "reason", l.words)
	}
	if len(tracks) == 0 {
		return nil, errors.New("there is nothing that can be taken; " + remedy)
	}
	var medias []*description.Media
	for _, t := range tracks {
		medias = append(medias, t.media)
	}
	if err := c.SetupAll(d.BaseURL, medias); err != nil {
		return nil, err
	}
	// Nobody but the source itself goes on with its session.
	f, err := publish(p.puller.hub, rtsp.Request{Stream: p.source.Stream, Caller: rtsp.Caller{Principal: "source " + p.source.Stream}}, d)
	if err != nil {
		return nil, err
	}
	f.listen(c)
	return f, nil
}

// follow waits for the end.
func (p *pull) follow(ctx context.Context, c *gortsplib.Client, f *feeder) error {
	ended := make(chan error, 1)
	var wait sync.WaitGroup
	wait.Go(func() { ended <- c.Wait() })
	defer wait.Wait()
	defer c.Close()
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for {
		select {
		case err := <-ended:
			return err
		case <-f.session.Done():
			return f.session.Err()
		case <-ctx.Done():
			return rtsp.ErrShutdown
		case <-ticker.C:
			if p.source.OnDemand && !p.puller.demand.Wanted(p.source.Stream) {
				return errUnwanted
			}
		}
	}
}

// has returns the codec of a kind, "" without.
func (f *feeder) has(kind stream.Kind) string {
	for _, t := range f.tracks {
		if t.layer.ID.Kind == kind {
			return t.layer.Codec.Name
		}
	}
	return ""
}
