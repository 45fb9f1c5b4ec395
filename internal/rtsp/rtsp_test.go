package rtsp_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v5"
	"github.com/bluenviron/gortsplib/v5/pkg/base"
	"github.com/bluenviron/gortsplib/v5/pkg/description"
	"github.com/bluenviron/gortsplib/v5/pkg/format"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"go.uber.org/goleak"

	"github.com/whipcast/whipcast/internal/problem"
	"github.com/whipcast/whipcast/internal/rtsp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const token = "rtsp-token-0123456789"

// desk is both sides of the server: it takes and plays one video.
type desk struct {
	refuse  error
	packets chan *rtp.Packet
	ended   chan error
	asked   chan rtsp.Request
}

func newDesk() *desk {
	return &desk{packets: make(chan *rtp.Packet, 100), ended: make(chan error, 10), asked: make(chan rtsp.Request, 10)}
}

func describe() *description.Session {
	return &description.Session{Medias: []*description.Media{{
		Type: description.MediaTypeVideo, Formats: []format.Format{&format.H264{PayloadTyp: 96, PacketizationMode: 1}},
	}}}
}

func (d *desk) Announce(*description.Session) error { return d.refuse }

func (d *desk) Record(q rtsp.Request, _ *description.Session, s rtsp.Recording) (rtsp.Run, error) {
	d.asked <- q
	s.OnPacketRTPAny(func(_ *description.Media, _ format.Format, p *rtp.Packet) { d.packets <- p })
	return d.wait, nil
}

func (d *desk) wait(ctx context.Context) ([]slog.Attr, error) {
	<-ctx.Done()
	d.ended <- context.Cause(ctx)
	return []slog.Attr{slog.Int("told", 1)}, context.Cause(ctx)
}

func (d *desk) Describe(rtsp.Request) (*description.Session, error) { return describe(), d.refuse }

func (d *desk) Play(q rtsp.Request, o *rtsp.Outlet) (rtsp.Run, error) {
	d.asked <- q
	return func(ctx context.Context) ([]slog.Attr, error) {
		m := o.Medias()[0]
		o.Report(m, &rtcp.SenderReport{SSRC: o.SSRC(m), NTPTime: 1 << 40})
		for i := range 50 {
			o.Send(m, &rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: 96, SequenceNumber: uint16(i)}, Payload: []byte{0x65, byte(i)}})
		}
		return d.wait(ctx)
	}, nil
}

// revoked is what all Callers ask.
var revoked atomic.Bool

// auth knows one token, as that of HTTP does.
func auth(r *http.Request, _ string) (rtsp.Caller, error) {
	given := sha256.Sum256([]byte(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")))
	if want := sha256.Sum256([]byte(token)); subtle.ConstantTimeCompare(given[:], want[:]) == 1 {
		return rtsp.Caller{Principal: "owner", Revoked: revoked.Load}, nil
	}
	return rtsp.Caller{}, problem.Problem{Status: http.StatusUnauthorized, Title: "token needed", Detail: "send one"}
}

// running is a server that runs until the test's end.
type running struct {
	*rtsp.Server
	stop func()
	logs *logs
}

type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func serve(t *testing.T, cfg rtsp.Config, d *desk) *running {
	t.Helper()
	r := &running{logs: &logs{}}
	cfg.Address, cfg.Publish, cfg.Watch = "127.0.0.1:0", auth, auth
	cfg.Passwords = []string{token}
	cfg.Logger = slog.New(slog.NewTextHandler(r.logs, nil))
	cfg.ValidName = func(name string) bool { return len(name) > 0 && len(name) < 9 }
	s, err := rtsp.New(t.Context(), cfg, d, d)
	if err != nil {
		t.Fatal(err)
	}
	r.Server = s
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(func() {
		r.stop()
		if strings.Contains(r.logs.String(), token) {
			t.Error("the token is in the log")
		}
	})
	return r
}

func (r *running) url(user, path string) string {
	return fmt.Sprintf("rtsp://%s127.0.0.1:%d/%s", user, r.Port(), path)
}

// camera returns something that speaks RTSP to a server.
func camera(t *testing.T, address string, protocol gortsplib.Protocol) (*gortsplib.Client, *base.URL) {
	t.Helper()
	u, err := base.ParseURL(address)
	if err != nil {
		t.Fatal(err)
	}
	c := &gortsplib.Client{
		Scheme: u.Scheme, Host: u.Host, Protocol: &protocol, TLSConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // a test's certificate
		OnPacketsLost: func(n uint64) { t.Errorf("%d packets lost", n) }, OnDecodeError: func(err error) { t.Error(err) },
	}
	return c, u
}

// announce publishes, and returns what ends it.
func announce(t *testing.T, address string, protocol gortsplib.Protocol) (*gortsplib.Client, *description.Session, error) {
	t.Helper()
	c, u := camera(t, address, protocol)
	d := describe()
	if err := c.StartRecording(u.String(), d); err != nil {
		return nil, nil, err
	}
	return c, d, nil
}

func TestRecord(t *testing.T) {
	for _, protocol := range []gortsplib.Protocol{gortsplib.ProtocolTCP, gortsplib.ProtocolUDP} {
		d := newDesk()
		r := serve(t, rtsp.Config{}, d)
		c, desc, err := announce(t, r.url("any:"+token+"@", "door"), protocol)
		if err != nil {
			t.Fatal(err)
		}
		if q := <-d.asked; q.Stream != "door" || q.Principal != "owner" {
			t.Errorf("asked %+v", q)
		}
		for i := range 20 {
			if err := c.WritePacketRTP(desc.Medias[0], &rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: 96, SequenceNumber: uint16(i)}, Payload: []byte{0x65, byte(i)}}); err != nil {
				t.Fatal(err)
			}
			if p := <-d.packets; p.SequenceNumber != uint16(i) || p.Payload[1] != byte(i) {
				t.Errorf("packet %d is %+v", i, p)
			}
		}
		if publishers, viewers := r.Counts(); publishers != 1 || viewers != 0 {
			t.Errorf("%d publishers, %d viewers", publishers, viewers)
		}
		c.Close()
		if err := <-d.ended; !errors.Is(err, rtsp.ErrTeardown) {
			t.Errorf("ended with %v", err)
		}
		r.stop()
		if publishers, _ := r.Counts(); publishers != 0 {
			t.Errorf("%d publishers are left", publishers)
		}
		for _, want := range []string{"session ended", "stream=door", "ended by TEARDOWN", "told=1"} {
			if !strings.Contains(r.logs.String(), want) {
				t.Errorf("the log has no %q: %s", want, r.logs)
			}
		}
	}
}

// TestPlay: a viewer gets the first packet that is sent to it, over both
// transports, after a sender report.
func TestPlay(t *testing.T) {
	for _, protocol := range []gortsplib.Protocol{gortsplib.ProtocolTCP, gortsplib.ProtocolUDP} {
		d := newDesk()
		r := serve(t, rtsp.Config{}, d)
		c, u := camera(t, r.url("any:"+token+"@", "door"), protocol)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		desc, _, err := c.Describe(u)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.SetupAll(desc.BaseURL, desc.Medias); err != nil {
			t.Fatal(err)
		}
		reports := make(chan uint32, 10)
		c.OnPacketRTPAny(func(_ *description.Media, _ format.Format, p *rtp.Packet) { d.packets <- p })
		c.OnPacketRTCPAny(func(_ *description.Media, p rtcp.Packet) {
			if sr, ok := p.(*rtcp.SenderReport); ok {
				reports <- sr.SSRC
			}
		})
		if _, err := c.Play(nil); err != nil {
			t.Fatal(err)
		}
		ssrc := <-reports
		for i := range 50 {
			if p := <-d.packets; p.SequenceNumber != uint16(i) || p.SSRC != ssrc {
				t.Fatalf("packet %d is %+v", i, p)
			}
		}
		if _, viewers := r.Counts(); viewers != 1 {
			t.Errorf("%d viewers", viewers)
		}
		all := r.Sessions()
		if len(all) != 1 || all[0].Publishes || all[0].Stream != "door" || all[0].ID[0] != 'r' || time.Since(all[0].Since) > time.Minute {
			t.Fatalf("sessions: %+v", all)
		}
		one, sums, ok := r.Session(all[0].ID)
		if transport := map[gortsplib.Protocol]string{gortsplib.ProtocolTCP: "tcp", gortsplib.ProtocolUDP: "udp"}[protocol]; !ok || one != all[0] ||
			sums.Transport != transport || sums.PacketsSent < 50 || sums.BytesSent == 0 {
			t.Errorf("%+v %+v %v", one, sums, ok)
		}
		r.stop()
		if err := <-d.ended; !errors.Is(err, rtsp.ErrShutdown) {
			t.Errorf("ended with %v", err)
		}
		c.Close()
	}
}

// ask sends one request and returns the answer's status line and headers.
func ask(t *testing.T, r *running, request string) string {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", r.Port()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte(strings.ReplaceAll(request, "\n", "\r\n"))); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	answer := make([]byte, 4096)
	n, err := c.Read(answer)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer[:n])
}

// TestCredentials: the token is taken as the password of any user, by Basic and
// Digest, as a bearer token, and in the URL; X1 nothing else is.
func TestCredentials(t *testing.T) {
	d := newDesk()
	r := serve(t, rtsp.Config{}, d)
	describeAs := func(query, header string) string {
		return fmt.Sprintf("DESCRIBE %s%s RTSP/1.0\nCSeq: 1\n%s\n", r.url("", "door"), query, header)
	}
	for name, tt := range map[string]struct{ query, header, want string }{
		"none":         {"", "", "401"},
		"in the URL":   {"?token=" + token, "", "200"},
		"wrong in URL": {"?token=wrong-token", "", "401"},
		"bearer":       {"", "Authorization: Bearer " + token + "\n", "200"},
		"basic":        {"", "Authorization: Basic YW55OnJ0c3AtdG9rZW4tMDEyMzQ1Njc4OQ==\n", "200"}, // any:token
		"wrong basic":  {"", "Authorization: Basic YW55Ondyb25n\n", "401"},
		"malformed":    {"", "Authorization: Basic ###\n", "401"},
		"foreign":      {"", "Authorization: Negotiate abc\n", "401"},
	} {
		got := ask(t, r, describeAs(tt.query, tt.header))
		if !strings.HasPrefix(got, "RTSP/1.0 "+tt.want) {
			t.Errorf("%s: %s", name, got)
		}
		if tt.want == "401" && tt.header == "" && (!strings.Contains(got, "Basic realm=") || !strings.Contains(got, "Digest realm=")) {
			t.Errorf("%s: no challenge: %s", name, got)
		}
	}
	c, u := camera(t, r.url("any:"+token+"@", "door"), gortsplib.ProtocolTCP) // it prefers Digest
	var methods []string
	c.OnRequest = func(q *base.Request) { methods = append(methods, q.Header["Authorization"]...) }
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	_, _, err := c.Describe(u)
	c.Close()
	if err != nil || !strings.HasPrefix(strings.Join(methods, " "), "Digest ") {
		t.Errorf("digest: %v %v", err, methods)
	}
	if _, _, err := announce(t, r.url("any:wrong@", "door"), gortsplib.ProtocolTCP); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("digest with a wrong password: %v", err)
	}
}

// TestRefusals: what is refused is told in words.
func TestRefusals(t *testing.T) {
	d := newDesk()
	r := serve(t, rtsp.Config{MaxSessions: 1}, d)
	address := r.url("any:"+token+"@", "door")
	for want, do := range map[string]func() error{
		"404": func() error {
			_, _, err := announce(t, r.url("any:"+token+"@", "a-name-too-long"), gortsplib.ProtocolTCP)
			return err
		},
		"Codec not acceptable: no such codec": func() error {
			d.refuse = problem.Problem{Status: http.StatusUnsupportedMediaType, Title: "Codec not acceptable", Detail: "no such\ncodec"}
			_, _, err := announce(t, address, gortsplib.ProtocolTCP)
			d.refuse = nil
			return err
		},
		"Internal error": func() error {
			d.refuse = errors.New("secret of the inside")
			_, _, err := announce(t, address, gortsplib.ProtocolTCP)
			d.refuse = nil
			return err
		},
	} {
		if err := do(); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	c, _, err := announce(t, address, gortsplib.ProtocolTCP)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := announce(t, address, gortsplib.ProtocolTCP); err == nil || !strings.Contains(err.Error(), "Too many sessions") {
		t.Errorf("a session too many: %v", err)
	}
	c.Close()
	<-d.ended
	many := ""
	for range 150 { // X23
		if many = ask(t, r, "DESCRIBE "+r.url("", "door")+" RTSP/1.0\nCSeq: 1\n\n"); strings.Contains(many, "Too many requests") {
			break
		}
	}
	if !strings.HasPrefix(many, "RTSP/1.0 503") {
		t.Errorf("150 requests in a row: %s", many)
	}
	if refused := r.Refused(); refused.Sessions.Load() != 1 || refused.Requests.Load() != 1 {
		t.Errorf("%d sessions and %d requests are counted as refused, want 1 and 1", refused.Sessions.Load(), refused.Requests.Load())
	}
}

// TestTLS: RTSPS takes publishers over the same connection, and no UDP.
func TestTLS(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	d := newDesk()
	r := serve(t, rtsp.Config{
		TLSAddress: "127.0.0.1:0",
		TLS:        &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{certificate}, PrivateKey: key}}},
	}, d)
	address := fmt.Sprintf("rtsps://any:%s@127.0.0.1:%d/door", token, r.TLSPort())
	c, desc, err := announce(t, address, gortsplib.ProtocolTCP)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.WritePacketRTP(desc.Medias[0], &rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: 96, SequenceNumber: 7}, Payload: []byte{0x65, 1}}); err != nil {
		t.Fatal(err)
	}
	if p := <-d.packets; p.SequenceNumber != 7 {
		t.Errorf("got %+v", p)
	}
	c.Close()
	<-d.ended
}

// TestRevoked: a session ends when its permission is taken back, and no other does.
func TestRevoked(t *testing.T) {
	d := newDesk()
	r := serve(t, rtsp.Config{}, d)
	if _, _, err := announce(t, r.url("any:"+token+"@", "door"), gortsplib.ProtocolTCP); err != nil {
		t.Fatal(err)
	}
	r.Sweep()
	select {
	case err := <-d.ended:
		t.Fatalf("ended with %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	revoked.Store(true)
	defer revoked.Store(false)
	r.Sweep()
	if err := <-d.ended; !errors.Is(err, rtsp.ErrRevoked) {
		t.Errorf("ended with %v", err)
	}
}

// TestSessions: an operator sees who publishes, ends it, and learns why it ended.
func TestSessions(t *testing.T) {
	for _, tt := range []struct {
		end  func(r *running, id string)
		want error
	}{
		{func(r *running, id string) {
			if r.End("r") || r.End("") || !r.End(id) {
				t.Error("End does not do what it says")
			}
		}, rtsp.ErrEnded},
		{func(r *running, _ string) { r.EndPublishers() }, rtsp.ErrDrained},
	} {
		d := newDesk()
		r := serve(t, rtsp.Config{}, d)
		if _, _, err := announce(t, r.url("any:"+token+"@", "door"), gortsplib.ProtocolTCP); err != nil {
			t.Fatal(err)
		}
		all := r.Sessions()
		if len(all) != 1 || !all[0].Publishes || all[0].Stream != "door" || r.Reason(all[0].ID) != "" {
			t.Fatalf("sessions: %+v", all)
		}
		tt.end(r, all[0].ID)
		if err := <-d.ended; !errors.Is(err, tt.want) {
			t.Errorf("ended with %v", err)
		}
		for len(r.Sessions()) > 0 {
			time.Sleep(time.Millisecond)
		}
		if reason := r.Reason(all[0].ID); reason != tt.want.Error() {
			t.Errorf("reason %q", reason)
		}
		if _, _, ok := r.Session(all[0].ID); ok || r.End(all[0].ID) {
			t.Error("it is there after its end")
		}
		r.stop()
	}
}

// TestPorts: an address that cannot be had is told, and nothing is left open.
func TestPorts(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	d := newDesk()
	_, err = rtsp.New(t.Context(), rtsp.Config{Address: "127.0.0.1:0", TLSAddress: l.Addr().String(), TLS: &tls.Config{MinVersion: tls.VersionTLS12}}, d, d)
	if e, ok := errors.AsType[*rtsp.AddressError](err); !ok || e.Address != l.Addr().String() || errors.Unwrap(err) == nil {
		t.Errorf("got %v", err)
	}
	s, err := rtsp.New(t.Context(), rtsp.Config{Address: "127.0.0.1:0"}, d, d)
	if err != nil || s.Port() == 0 || s.TLSPort() != 0 {
		t.Fatalf("%v", err)
	}
	s.Close()
}
