package rtsp

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/bluenviron/gortsplib/v5"
	"github.com/bluenviron/gortsplib/v5/pkg/base"
	"github.com/bluenviron/gortsplib/v5/pkg/liberrors"

	"github.com/whipcast/whipcast/internal/limit"
	"github.com/whipcast/whipcast/internal/problem"
)

var (
	errFull = problem.Problem{
		Status: http.StatusServiceUnavailable, Title: "Too many sessions",
		Detail: "the gateway has as many sessions as it may: try again later", RetryAfter: 5 * time.Second,
	}
	errFast = problem.Problem{
		Status: http.StatusServiceUnavailable, Title: "Too many requests",
		Detail: "this address asks too fast: wait before the next attempt", RetryAfter: 2 * time.Second,
	}
	errName = problem.Problem{
		Status: http.StatusNotFound, Title: "No such stream",
		Detail: "a stream's name has 1 to 64 letters, digits, dots, dashes and underscores, and begins with a letter or digit",
	}
)

// handler gets the callbacks of the protocol.
type handler struct {
	server   *Server
	protocol *gortsplib.Server
	// start runs a goroutine that Run waits for, and returns what ends its context.
	start   func(run func(ctx context.Context)) context.CancelCauseFunc
	waken   func(stream string)
	expired func() error // the Server stops
}

// ask says who asks, and for what.
func (h *handler) ask(conn *gortsplib.ServerConn, req *base.Request, path, query string, kind direction) (Request, error) {
	s := h.server
	remote := conn.NetConn().RemoteAddr().String()
	if !s.requests.Allow(limit.Address(remote), time.Now()) {
		s.refused.Requests.Add(1)
		return Request{}, errFast
	}
	name := nameOf(path)
	if !s.cfg.ValidName(name) {
		return Request{}, errName
	}
	who := s.cfg.Watch
	if kind == publishing {
		who = s.cfg.Publish
	}
	caller, err := who(claim(req, query, remote, headerToken(conn, req, s.cfg.Passwords)), name)
	return Request{Stream: name, Caller: caller}, err
}

// answer turns an error into a response. The connection of a request that was
// refused is closed, but that of one without credentials: it is asked for them.
func (h *handler) answer(conn *gortsplib.ServerConn, req *base.Request, err error) (*base.Response, error) {
	p, ok := errors.AsType[problem.Problem](err)
	if !ok {
		h.server.log.Error("RTSP request failed", "method", string(req.Method), "error", err)
		p = problem.Problem{Status: http.StatusInternalServerError, Title: "Internal error", Detail: "the gateway's log has the cause"}
	}
	res := &base.Response{
		StatusCode:    base.StatusCode(p.Status),
		StatusMessage: strings.Join(strings.Fields(p.Title+": "+p.Detail), " "),
	}
	if p.Status == http.StatusUnauthorized {
		conn.VerifyCredentials(req, "any", "") // makes the nonce
		return res, liberrors.ErrServerAuth{}
	}
	return res, err
}

func fine() *base.Response { return &base.Response{StatusCode: base.StatusOK} }

// OnDescribe answers DESCRIBE.
func (h *handler) OnDescribe(c *gortsplib.ServerHandlerOnDescribeCtx) (*base.Response, *gortsplib.ServerStream, error) {
	stream, _, err := h.describe(c.Conn, c.Request, c.Path, c.Query)
	if err != nil {
		res, err := h.answer(c.Conn, c.Request, err)
		return res, nil, err
	}
	// The SETUP that follows plays what was described, whatever is published then.
	c.Conn.SetUserData(&described{stream: stream, path: c.Path})
	return fine(), stream, nil
}

// described is what a connection was told last.
type described struct {
	stream *gortsplib.ServerStream
	path   string
}

func (h *handler) describe(conn *gortsplib.ServerConn, req *base.Request, path, query string) (*gortsplib.ServerStream, Request, error) {
	q, err := h.ask(conn, req, path, query, watching)
	if err != nil {
		return nil, q, err
	}
	h.waken(q.Stream)
	d, err := h.server.egress.Describe(q)
	if err != nil {
		return nil, q, err
	}
	stream := &gortsplib.ServerStream{Server: h.protocol, Desc: d}
	if err := stream.Initialize(); err != nil {
		return nil, q, problem.Problem{Status: http.StatusUnsupportedMediaType, Title: "Stream cannot be played by RTSP", Detail: err.Error()}
	}
	return stream, q, nil
}

// OnAnnounce answers ANNOUNCE.
func (h *handler) OnAnnounce(c *gortsplib.ServerHandlerOnAnnounceCtx) (*base.Response, error) {
	q, err := h.ask(c.Conn, c.Request, c.Path, c.Query, publishing)
	if err == nil {
		err = h.server.ingest.Announce(c.Description)
	}
	if err == nil {
		err = h.server.take(publishing)
	}
	if err != nil {
		return h.answer(c.Conn, c.Request, err)
	}
	h.open(c.Session, q, publishing)
	return fine(), nil
}

// open notes who a session is of.
func (h *handler) open(ss *gortsplib.ServerSession, q Request, kind direction) *session {
	id := newID()
	x := &session{
		id: id, request: q, kind: kind, begun: time.Now(), wire: ss,
		log: h.server.log.With("stream", q.Stream, "session", id[:7]), reasons: h.server.reasons,
	}
	ss.SetUserData(x)
	return x
}

// OnSetup answers SETUP.
func (h *handler) OnSetup(c *gortsplib.ServerHandlerOnSetupCtx) (*base.Response, *gortsplib.ServerStream, error) {
	if c.Session.State() == gortsplib.ServerSessionStatePreRecord {
		return fine(), nil, nil
	}
	if x, ok := c.Session.UserData().(*session); ok {
		return fine(), x.outlet.stream, nil
	}
	stream, q, err := h.setup(c)
	if err == nil {
		err = h.server.take(watching)
	}
	if err != nil {
		res, err := h.answer(c.Conn, c.Request, err)
		return res, nil, err
	}
	x := h.open(c.Session, q, watching)
	x.outlet = &Outlet{stream: stream, session: c.Session}
	return fine(), stream, nil
}

// setup returns what a new viewer gets.
func (h *handler) setup(c *gortsplib.ServerHandlerOnSetupCtx) (*gortsplib.ServerStream, Request, error) {
	if d, ok := c.Conn.UserData().(*described); ok && d.path == c.Path {
		q, err := h.ask(c.Conn, c.Request, c.Path, c.Query, watching)
		c.Conn.SetUserData(nil)
		return d.stream, q, err
	}
	return h.describe(c.Conn, c.Request, c.Path, c.Query)
}

// OnRecord answers RECORD.
func (h *handler) OnRecord(c *gortsplib.ServerHandlerOnRecordCtx) (*base.Response, error) {
	x, ok := c.Session.UserData().(*session)
	if !ok || h.expired() != nil {
		return h.answer(c.Conn, c.Request, errFull)
	}
	run, err := h.server.ingest.Record(x.request, c.Session.AnnouncedDescription(), c.Session)
	if err != nil {
		return h.answer(c.Conn, c.Request, err)
	}
	h.launch(c.Session, x, run)
	return fine(), nil
}

// OnPlay answers PLAY. Some clients send it twice.
func (h *handler) OnPlay(c *gortsplib.ServerHandlerOnPlayCtx) (*base.Response, error) {
	x, ok := c.Session.UserData().(*session)
	if !ok || h.expired() != nil {
		return h.answer(c.Conn, c.Request, errFull)
	}
	if c.Session.State() == gortsplib.ServerSessionStatePlay {
		return fine(), nil
	}
	run, err := h.server.egress.Play(x.request, x.outlet)
	if err != nil {
		return h.answer(c.Conn, c.Request, err)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.play = run
	return fine(), nil
}

// OnResponse is called before each response is sent. After that to PLAY packets
// reach the viewer; before, they would be lost.
func (h *handler) OnResponse(c *gortsplib.ServerConn, res *base.Response) {
	ss := c.Session()
	if ss == nil || res.StatusCode != base.StatusOK || ss.State() != gortsplib.ServerSessionStatePlay {
		return
	}
	x, ok := ss.UserData().(*session)
	if !ok {
		return
	}
	x.mu.Lock()
	run := x.play
	x.play = nil
	x.mu.Unlock()
	if run != nil {
		h.launch(ss, x, run)
	}
}

// launch starts what serves a session.
func (h *handler) launch(ss *gortsplib.ServerSession, x *session, run Run) {
	log := x.log.With("transport", transportOf(ss))
	leave := h.server.enter(x)
	x.mu.Lock()
	x.cancel = h.start(func(ctx context.Context) {
		defer leave()
		x.serve(ctx, log, run, ss.Close)
	})
	if x.closed {
		x.cancel(ErrGone)
	}
	x.mu.Unlock()
	x.endIfRevoked() // between the request and now
}

// OnSessionClose is called when nothing more comes of a session.
func (h *handler) OnSessionClose(c *gortsplib.ServerHandlerOnSessionCloseCtx) {
	x, ok := c.Session.UserData().(*session)
	if !ok {
		return
	}
	h.server.give(x.kind)
	if x.outlet != nil {
		x.outlet.stream.Close()
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.closed = true
	if x.cancel != nil {
		x.cancel(h.reason(c.Error))
	}
}

// reason says why the protocol ended a session. Its own words may have addresses.
func (h *handler) reason(err error) error {
	if h.expired() != nil {
		return ErrShutdown
	}
	if _, ok := errors.AsType[liberrors.ErrServerSessionTornDown](err); ok {
		return ErrTeardown
	}
	if _, ok := errors.AsType[liberrors.ErrServerSessionTimedOut](err); ok {
		return ErrSilent
	}
	return ErrGone
}

// OnPacketsLost is called for lost packets: the stream's own books tell of them.
func (h *handler) OnPacketsLost(*gortsplib.ServerHandlerOnPacketsLostCtx) {}

// OnDecodeError is called for malformed packets: the stream's own books tell of
// them.
func (h *handler) OnDecodeError(*gortsplib.ServerHandlerOnDecodeErrorCtx) {}

// OnStreamWriteError is called within Outlet.Send when a packet has no room.
func (h *handler) OnStreamWriteError(c *gortsplib.ServerHandlerOnStreamWriteErrorCtx) {
	if x, ok := c.Session.UserData().(*session); ok && x.outlet != nil {
		x.outlet.full.Add(1)
	}
}

func transportOf(ss *gortsplib.ServerSession) string {
	if t := ss.Transport(); t != nil {
		return protocolName(t.Protocol)
	}
	return ""
}

func protocolName(p gortsplib.Protocol) string {
	switch p {
	case gortsplib.ProtocolTCP:
		return "tcp"
	case gortsplib.ProtocolUDP:
		return "udp"
	default:
		return "multicast"
	}
}
