// Package certificate keeps the certificate that a TLS server shows (specs X33).
//
// It comes from two files, which are read again when they change, or from a
// certificate authority by ACME (RFC 8555), proved by TLS on the server's own port
// (RFC 8737). A new one counts for new connections; nothing that runs is cut.
//
//	files ──poll──▶ Source ──TLS()──▶ server
//	ACME  ─────────▶
package certificate

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

// Config names the files, or the host. One of the two must be given.
type Config struct {
	Certificate string // PEM file, the whole chain
	Key         string // PEM file

	Host      string // name that the authority certifies
	Cache     string // folder for account and certificates; made 0700 when missing
	Directory string // URL of the authority; empty: Let's Encrypt

	Logger *slog.Logger // nil: nothing is logged
}

// Times of Run.
const (
	pollFiles = 10 * time.Second
	askACME   = time.Hour
	retryACME = 2 * time.Minute // the authority forgives five failures of a host an hour
	// late is how long before its end a certificate should have been renewed:
	// autocert begins a month before.
	late = 14 * 24 * time.Hour
)

// Source is where a server's certificate comes from. All methods may be called from
// any goroutine.
type Source struct {
	cfg  Config
	acme *autocert.Manager // nil with files
	line *line             // to the authority

	mu      sync.Mutex
	current *tls.Certificate // below mu: of the files, or what ACME gave last
	seen    version          // below mu: the files that were looked at last
	failed  bool             // below mu: those were not usable
}

// Open reads the files. With ACME nothing is asked before Run or the first
// connection. The error says what is wrong with the files.
func Open(cfg Config) (*Source, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Source{cfg: cfg, line: newLine()}
	if cfg.Host != "" {
		s.acme = &autocert.Manager{
			Prompt: autocert.AcceptTOS, Cache: autocert.DirCache(cfg.Cache), HostPolicy: autocert.HostWhitelist(cfg.Host),
			Client: &acme.Client{DirectoryURL: cfg.Directory, UserAgent: "whipcast", HTTPClient: &http.Client{Transport: s.line}},
		}
		return s, nil
	}
	seen, err := look(cfg)
	if err != nil {
		return nil, err
	}
	pair, err := tls.LoadX509KeyPair(cfg.Certificate, cfg.Key)
	if err != nil {
		return nil, err
	}
	s.current, s.seen = &pair, seen
	return s, nil
}

// TLS returns the configuration of a server that shows the certificate: TLS 1.2 or
// newer. It is the caller's to change.
func (s *Source) TLS() *tls.Config {
	config := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: s.get}
	if s.acme != nil {
		config.NextProtos = []string{"h2", "http/1.1", acme.ALPNProto}
	}
	return config
}

// Current returns the certificate that new connections are shown; false before ACME
// gave one.
func (s *Source) Current() (tls.Certificate, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		return tls.Certificate{}, false
	}
	return *s.current, true
}

func (s *Source) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if s.acme != nil {
		return s.acme.GetCertificate(hello)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current, nil
}

// Run reads the files again when they change, or gets and renews the certificate,
// until ctx ends. It logs what it does and what fails; it ends for nothing else. The
// server must run: the authority asks it.
func (s *Source) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, s.line.cut)()
	every := pollFiles
	if s.acme != nil {
		every = s.obtain(ctx)
	}
	timer := time.NewTimer(every)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		if s.acme != nil {
			every = s.obtain(ctx)
		} else {
			s.reload(ctx)
		}
		timer.Reset(every)
	}
}

// version tells one pair of files from the next.
type version struct {
	certificate, key os.FileInfo
}

func look(cfg Config) (version, error) {
	certificate, err := os.Stat(cfg.Certificate)
	if err != nil {
		return version{}, err
	}
	key, err := os.Stat(cfg.Key)
	return version{certificate, key}, err
}

func (v version) equal(o version) bool {
	same := func(a, b os.FileInfo) bool {
		if a == nil || b == nil {
			return a == b
		}
		return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
	}
	return same(v.certificate, o.certificate) && same(v.key, o.key)
}

// reload takes changed files. Ones that are not usable, as between the writing of
// the two, change nothing: that is said once for each of their versions, and they
// are tried again.
func (s *Source) reload(ctx context.Context) {
	seen, err := look(s.cfg)
	s.mu.Lock()
	same, failed := seen.equal(s.seen), s.failed
	s.mu.Unlock()
	if same && !failed {
		return
	}
	var pair tls.Certificate
	if err == nil {
		pair, err = tls.LoadX509KeyPair(s.cfg.Certificate, s.cfg.Key)
	}
	s.mu.Lock()
	s.seen, s.failed = seen, err != nil
	if err == nil {
		s.current = &pair
	}
	s.mu.Unlock()
	switch {
	case err == nil:
		s.cfg.Logger.InfoContext(ctx, "certificate was read again", "file", s.cfg.Certificate, "until", end(&pair))
	case !same || !failed:
		s.cfg.Logger.WarnContext(ctx, "changed certificate cannot be used, the former one stays: name PEM files that belong together",
			"file", s.cfg.Certificate, "error", err)
	}
}

// obtain sees that there is a certificate, and returns when to do so again. autocert
// renews on its own, without a word.
func (s *Source) obtain(ctx context.Context) time.Duration {
	before, had := s.Current()
	hello := &tls.ClientHelloInfo{ServerName: s.cfg.Host, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}}
	pair, err := s.acme.GetCertificate(hello)
	if ctx.Err() != nil {
		return askACME
	}
	if err != nil {
		s.cfg.Logger.WarnContext(ctx, "no certificate from the authority: it must reach this host by its name on TCP port 443",
			"host", s.cfg.Host, "error", err)
		return retryACME
	}
	s.mu.Lock()
	s.current = pair
	s.mu.Unlock()
	until := end(pair)
	if !had || !end(&before).Equal(until) {
		s.cfg.Logger.InfoContext(ctx, "certificate from the authority", "host", s.cfg.Host, "until", until)
	} else if time.Until(until) < late {
		s.cfg.Logger.WarnContext(ctx, "certificate is not renewed: the authority must reach this host by its name on TCP port 443",
			"host", s.cfg.Host, "until", until)
	}
	return askACME
}

// end returns until when a certificate is good.
func end(pair *tls.Certificate) time.Time {
	if pair.Leaf != nil {
		return pair.Leaf.NotAfter
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return time.Time{}
	}
	return leaf.NotAfter
}
