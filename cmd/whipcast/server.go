package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/whipcast/whipcast/configs"
)

// Limits of HTTP connections (specs X25).
const (
	headerTime  = 5 * time.Second
	idleTime    = 2 * time.Minute
	headerBytes = 16 << 10
	// h2Streams is how many requests one HTTP/2 connection may have at once. A
	// player needs a dozen: playlists and parts of each rendition, held ones
	// included. A cache before us needs more.
	h2Streams = 250
)

// server is one HTTP server with its port.
type server struct {
	listener net.Listener
	http     *http.Server // set by wire
}

// newServer takes the port. key is the configuration's, for errors.
func newServer(ctx context.Context, key, address string) (*server, error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, bindError(key, address, err)
	}
	return &server{listener: listener}, nil
}

func (s *server) port() int { return s.listener.Addr().(*net.TCPAddr).Port }

// private says whether only this machine reaches the port.
func (s *server) private() bool { return s.listener.Addr().(*net.TCPAddr).IP.IsLoopback() }

// configure returns the http.Server: HTTP/1.1 and HTTP/2, the latter by TLS or
// with prior knowledge (h2c), as proxies use it.
func (s *server) configure(handler http.Handler, secure *tls.Config, log *slog.Logger) *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           handler,
		TLSConfig:         secure,
		Protocols:         &protocols,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: h2Streams},
		ReadHeaderTimeout: headerTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    headerBytes,
		// What it says is about single connections, such as scans of the port.
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// serve answers requests until shutdown. It is a task, whose context only says
// that its end is wanted.
func (s *server) serve(context.Context) error {
	var err error
	if s.http.TLSConfig != nil {
		err = s.http.ServeTLS(s.listener, "", "")
	} else {
		err = s.http.Serve(s.listener)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve %s: %w", s.listener.Addr(), err)
}

// shutdown lets requests end for a second, then cuts them off.
func shutdown(ctx context.Context, servers ...*server) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	errs := make([]error, len(servers))
	var all sync.WaitGroup
	for i, s := range servers {
		all.Go(func() {
			if s.http.Shutdown(ctx) != nil { // time is up
				errs[i] = s.http.Close()
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// bindError says in one line why a port cannot be had.
func bindError(key, address string, err error) error {
	cause := strings.ReplaceAll(err.Error(), "\n", "; ") // joined errors have a line each
	e := &configs.Error{Key: key, Value: address, Cause: cause, Remedy: "choose another address"}
	_, unresolved := errors.AsType[*net.DNSError](err)
	switch {
	case unresolved:
		e.Cause, e.Remedy = "the host's name cannot be resolved", "write its IP address, or none for all"
	case errors.Is(err, syscall.EADDRINUSE):
		e.Cause, e.Remedy = "another program uses this port", "stop it, or choose another port with --"+key
	case errors.Is(err, syscall.EACCES):
		e.Cause, e.Remedy = "ports below 1024 are for privileged programs", "choose a higher port, or give the program CAP_NET_BIND_SERVICE"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		e.Cause, e.Remedy = "this machine has no such address", "name one of its own, or none for all"
	}
	return e
}
