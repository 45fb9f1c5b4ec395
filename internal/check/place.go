package check

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"time"

	"github.com/whipcast/whipcast/internal/fault"
	"github.com/whipcast/whipcast/storage"
)

// Place is where streams are stored besides memory: a bucket, a folder, a
// server that takes PUT.
type Place struct {
	Name string // for people, such as s3-1
	Sink storage.Sink
	// Read reads what was put; nil: the place cannot be read.
	Read func(ctx context.Context, key string) (storage.Object, error)
	// MustRead says that a place which does not let itself be read is worth a
	// warning. Ingests of CDNs are none.
	MustRead bool
	Keeps    bool // nothing is ever deleted by Sink

	URL   string      // of the server, without secrets; "": there is none
	TLS   *tls.Config // of the connection to it; nil: as usual
	Signs bool        // requests are signed with the time: the clock must be right
	// ByHost says that the bucket's name is part of the host's, at a store that is
	// not AWS: few have names for that.
	ByHost bool
	// Public is the URL behind which viewers read the files; "": they do not.
	Public string
	// Folder is where the files are; "": not on this machine.
	Folder string
}

// Time limits of one step, so that each says for itself that it takes too long.
const (
	reachTime = 8 * time.Second
	callTime  = 10 * time.Second
	lastTime  = 2 * time.Second // to delete the file when all is to end
)

// Check looks at the way to the place, the clocks, and whether a file can be
// written, read and deleted. The file is small, has a name of its own below
// whipcast-check, and is gone afterwards.
func (p Place) Check(ctx context.Context) []Finding {
	var found []Finding
	if p.URL != "" {
		way, err := p.reach(ctx)
		found = append(found, p.connection(way, err))
		if err != nil {
			return append(found, Finding{Name: p.Name + " write", State: Skipped, Cause: "there is no connection"})
		}
		if !way.date.IsZero() {
			found = append(found, Clock(p.Name+" clock", way.date, way.sent, way.received, p.Signs))
		}
	}
	if p.Folder != "" {
		found = append(found, FreeSpace(p.Name+" space", p.Folder))
	}
	o := p.probe()
	if err := p.put(ctx, o); err != nil {
		return append(found, p.finding("write", err))
	}
	found = append(found, Finding{Name: p.Name + " write", Cause: "a file can be stored"})
	if p.Read != nil {
		found = append(found, p.readBack(ctx, o))
	}
	if p.Public != "" {
		found = append(found, p.publicRead(ctx, o)...)
	}
	return append(found, p.remove(ctx, o))
}

// Touch only writes a file and deletes it: what a start may cost.
func (p Place) Touch(ctx context.Context) []Finding {
	o := p.probe()
	if err := p.put(ctx, o); err != nil {
		return []Finding{p.finding("write", err)}
	}
	return []Finding{{Name: p.Name + " write", Cause: "a file can be stored"}, p.remove(ctx, o)}
}

// probe is the file. Where nothing is deleted it has always the same name.
func (p Place) probe() storage.Object {
	name := "probe"
	if !p.Keeps {
		name = strings.ToLower(rand.Text()[:12])
	}
	return storage.Object{
		Key: "whipcast-check/" + name + ".m3u8", Kind: storage.Playlist, Type: "application/vnd.apple.mpegurl",
		Body:     storage.Body{[]byte("#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:2\n#EXT-X-ENDLIST\n")},
		Position: storage.Position{Ended: true, Target: 2 * time.Second}, Modified: time.Now(),
	}
}

func (p Place) put(ctx context.Context, o storage.Object) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	return p.Sink.Put(ctx, o)
}

// readBack compares what the place gives with what it got.
func (p Place) readBack(ctx context.Context, o storage.Object) Finding {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	got, err := p.Read(ctx, o.Key)
	name := p.Name + " read"
	switch {
	case err != nil && !p.MustRead:
		return Finding{Name: name, State: Skipped, Cause: "the server takes files and gives none: " + words(err).Cause}
	case errors.Is(err, storage.ErrNotFound):
		return Finding{name, Failed, "what was stored a moment ago is not there", "look at what stands before the store: a cache, a proxy, a rule that deletes"}
	case err != nil:
		f := p.finding("read", err)
		f.State = Warning
		return f
	case !bytes.Equal(got.Body.Bytes(), o.Body.Bytes()):
		return Finding{name, Failed, fmt.Sprintf("%d bytes were stored, %d others come back", o.Body.Len(), got.Body.Len()), "look whether this is the store itself: a web server or a proxy may answer for it"}
	case got.Type != "" && mediaType(got.Type) != o.Type:
		return Finding{name, Warning, "stored as " + o.Type + ", it comes back as " + printable(got.Type), "let the place keep the Content-Type: players look at it"}
	}
	return Finding{Name: name, Cause: "it comes back as it was stored"}
}

func mediaType(s string) string {
	kind, _, _ := strings.Cut(s, ";")
	return strings.TrimSpace(kind)
}

// remove deletes the file, also when the time of the check is over.
func (p Place) remove(ctx context.Context, o storage.Object) Finding {
	if p.Keeps {
		return Finding{Name: p.Name + " delete", State: Skipped, Cause: "no_delete is set: " + o.Key + " stays there"}
	}
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTime)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(lastTime, cancel) })
	defer stop()
	if err := p.Sink.Delete(within, o.Key); err != nil {
		f := p.finding("delete", err)
		f.Cause += "; " + o.Key + " stays there"
		return f
	}
	return Finding{Name: p.Name + " delete", Cause: "it can be deleted"}
}

// finding is that of a call that failed.
func (p Place) finding(verb string, err error) Finding {
	f := words(err)
	return Finding{p.Name + " " + verb, Failed, f.Cause, f.Remedy}
}

// words returns what an error means: sinks say that themselves.
func words(err error) fault.Fault {
	type worded interface {
		error
		Cause() string
		Remedy() string
	}
	if e, ok := errors.AsType[worded](err); ok {
		return fault.Fault{Cause: e.Cause(), Remedy: e.Remedy()}
	}
	if f, ok := fault.File(err); ok {
		return f
	}
	if f, step := fault.Network(err); step != fault.Unknown {
		return f
	}
	if errors.Is(err, context.Canceled) {
		return fault.Fault{Cause: "ended before it was done"}
	}
	return fault.Fault{Cause: strings.ReplaceAll(err.Error(), "\n", "; ")}
}

// way is how the server was reached.
type way struct {
	address  string // of the server, or of the proxy before it
	proxied  bool
	secured  *tls.ConnectionState
	status   int
	date     time.Time // of the server; zero: it does not say
	sent     time.Time
	received time.Time
}

// reach sends one request without credentials, whatever the answer is.
func (p Place) reach(ctx context.Context) (way, error) {
	ctx, cancel := context.WithTimeout(ctx, reachTime)
	defer cancel()
	var w way
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { w.address, w.sent = info.Conn.RemoteAddr().String(), time.Now() },
	})
	r, err := http.NewRequestWithContext(ctx, http.MethodHead, p.URL, http.NoBody)
	if err != nil {
		return w, fmt.Errorf("make request: %w", err)
	}
	if proxy, err := http.ProxyFromEnvironment(r); err == nil && proxy != nil {
		w.proxied = true
	}
	const step = 5 * time.Second
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: p.TLS.Clone(), ForceAttemptHTTP2: true, DisableKeepAlives: true,
		DialContext: (&net.Dialer{Timeout: step}).DialContext, TLSHandshakeTimeout: step, ResponseHeaderTimeout: step,
	}
	defer transport.CloseIdleConnections()
	answer, err := transport.RoundTrip(r) // no redirects
	if err != nil {
		return w, fmt.Errorf("ask %s: %w", r.URL.Host, err)
	}
	_ = answer.Body.Close() // of a HEAD: it has none
	w.received, w.status, w.secured = time.Now(), answer.StatusCode, answer.TLS
	if date, err := http.ParseTime(answer.Header.Get("Date")); err == nil {
		w.date = date
	}
	return w, nil
}

// connection says how the server is reached.
func (p Place) connection(w way, err error) Finding {
	f := Finding{Name: p.Name + " connection"}
	if err != nil {
		why := words(err)
		_, step := fault.Network(err)
		if _, named := errors.AsType[x509.HostnameError](err); p.ByHost && (step == fault.Name || named) {
			why.Remedy = "set path_style: true, or correct the endpoint"
		}
		f.State, f.Cause, f.Remedy = Failed, why.Cause, why.Remedy
		return f
	}
	f.Cause = w.address
	if w.proxied {
		f.Cause += " (the proxy that the environment names)"
	}
	if w.secured == nil {
		f.Cause += ", not encrypted"
		return f
	}
	f.Cause += ", " + tls.VersionName(w.secured.Version)
	if certificates := w.secured.PeerCertificates; len(certificates) > 0 {
		end := certificates[0].NotAfter
		if time.Until(end) < soon {
			f.State, f.Remedy = Warning, "see that the server's certificate is renewed in time"
		}
		f.Cause += ", its certificate is good until " + end.UTC().Format(time.DateOnly)
	}
	return f
}

// printable returns a text of the other side as it may be shown.
func printable(s string) string {
	const most = 60
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, s)
	return s[:min(len(s), most)]
}
