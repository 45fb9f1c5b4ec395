package certificate

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"time"
)

// Limits of a request to the authority (specs X30).
const (
	requestTime = 30 * time.Second
	answerBytes = 1 << 20
)

// line carries requests to the authority, and can be cut: autocert's own context
// lasts five minutes, whatever becomes of the gateway.
type line struct {
	next  *http.Transport
	life  func(stop func()) (detach func() bool) // calls stop when the line is cut
	sever context.CancelFunc
}

func newLine() *line {
	whole, sever := context.WithCancel(context.Background())
	return &line{
		next:  &http.Transport{Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: requestTime, ForceAttemptHTTP2: true},
		life:  func(stop func()) func() bool { return context.AfterFunc(whole, stop) },
		sever: sever,
	}
}

// cut ends all requests, and those to come.
func (l *line) cut() {
	l.sever()
	l.next.CloseIdleConnections()
}

// RoundTrip implements http.RoundTripper. It reads the whole answer.
func (l *line) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(r.Context(), requestTime)
	defer cancel()
	defer l.life(cancel)()
	res, err := l.next.RoundTrip(r.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, answerBytes))
	_ = res.Body.Close()
	if err != nil {
		return nil, err
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	return res, nil
}
