package main

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"path/filepath"

	"github.com/whipcast/whipcast/configs"
	"github.com/whipcast/whipcast/internal/certificate"
	"github.com/whipcast/whipcast/internal/forwarded"
)

// secureFor is how long browsers remember that a host speaks TLS only: half a year.
const secureFor = "max-age=15768000"

// openCertificate returns where the certificate of the public address comes from,
// nil without TLS.
func openCertificate(config configs.Config, log *slog.Logger) (*certificate.Source, error) {
	files := config.HTTP.TLS
	if !files.On() {
		return nil, nil //nolint:nilnil // no TLS
	}
	source, err := certificate.Open(certificate.Config{
		Certificate: files.Certificate, Key: files.Key,
		Host: files.ACMEHost, Cache: filepath.Join(config.DataDir, "acme"), Logger: log,
	})
	if err != nil {
		return nil, &configs.Error{
			Key: "http.tls.certificate", Value: files.Certificate, Cause: "cannot be used with http.tls.key " + files.Key + ": " + err.Error(),
			Remedy: "name PEM files that belong together",
		}
	}
	return source, nil
}

// secure returns the TLS configuration of the public address, nil without TLS.
func secure(source *certificate.Source) *tls.Config {
	if source == nil {
		return nil
	}
	return source.TLS()
}

// front is what stands before the public address's handlers: who asks is known
// behind proxies (specs X34), and browsers learn to ask a host that is ours by name
// over TLS only (specs X33). A host that has its certificate from elsewhere may
// have it for trying things out: nothing is promised for it.
func front(config configs.HTTP, all *crowd, next http.Handler) http.Handler {
	next = all.limit(next)
	if host := config.TLS.ACMEHost; host != "" {
		inner := next
		next = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.TLS != nil && r.TLS.ServerName == host {
				w.Header().Set("Strict-Transport-Security", secureFor)
			}
			inner.ServeHTTP(w, r)
		})
	}
	return forwarded.Trust(config.Proxies, next)
}

// certificate returns the certificate that the public address shows, nil without
// one.
func (g *gateway) certificate() []byte {
	if g.tls == nil {
		return nil
	}
	now, ok := g.tls.Current()
	if !ok {
		return nil
	}
	return now.Certificate[0]
}
