package testsource

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	requestTime = 10 * time.Second
	maxAnswer   = 64 << 10
	maxHops     = 5
	maxRetry    = time.Minute // a longer Retry-After is not waited for
)

// refusal is an answer other than 201.
type refusal struct {
	status     int
	words      string // of the server, may be empty
	retryAfter time.Duration
}

func (r *refusal) Error() string {
	s := fmt.Sprintf("WHIP server answered %d %s", r.status, http.StatusText(r.status))
	if r.words != "" {
		s += ": " + r.words
	}
	if r.status == http.StatusUnauthorized {
		s += "; check --token"
	}
	return s
}

// permanent says whether the same request would be refused again.
func (r *refusal) permanent() bool {
	switch r.status {
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	default:
		return r.status < 500
	}
}

func newHTTP(pinned []byte) *http.Client {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true}
	if pinned != nil {
		transport.TLSClientConfig = &tls.Config{
			MinVersion:         tls.VersionTLS12,
			InsecureSkipVerify: true, //nolint:gosec // VerifyConnection asks for more than a name
			VerifyConnection: func(state tls.ConnectionState) error {
				if !bytes.Equal(state.PeerCertificates[0].Raw, pinned) {
					return errors.New("the server shows another certificate than expected")
				}
				return nil
			},
		}
	}
	return &http.Client{
		Timeout:   requestTime,
		Transport: transport,
		// RFC 9725 §4.5: only 307 (308 by analogy) moves a POST. net/http would
		// turn it into a GET for the others. It leaves the Authorization header
		// out when the host changes.
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) > maxHops {
				return errors.New("too many redirects")
			}
			if r.Method != via[0].Method {
				return http.ErrUseLastResponse
			}
			return nil
		},
	}
}

// post offers and returns the session's URL and the answer.
func (p *publisher) post(ctx context.Context, offer string) (*url.URL, string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.target.String(), strings.NewReader(offer))
	if err != nil {
		return nil, "", fmt.Errorf("make WHIP request: %w", err)
	}
	request.Header.Set("Content-Type", "application/sdp")
	p.authorize(request)
	response, err := p.http.Do(request)
	if err != nil {
		return nil, "", fmt.Errorf("reach WHIP server: %w", err)
	}
	defer response.Body.Close() //nolint:errcheck // only read
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, "", fmt.Errorf("read answer of WHIP server: %w", err)
	}
	if response.StatusCode != http.StatusCreated {
		return nil, "", &refusal{status: response.StatusCode, words: words(response.Header, body), retryAfter: retryAfter(response.Header)}
	}
	location := response.Header.Get("Location")
	if location == "" {
		return nil, "", errors.New("WHIP server gave no Location: not a session that could be ended")
	}
	session, err := response.Request.URL.Parse(location)
	if err != nil {
		return nil, "", fmt.Errorf("read Location of WHIP server: %w", err)
	}
	return session, string(body), nil
}

// delete ends the session. There is nothing to do about a failure: the server
// notices by itself that nobody is there.
func (p *publisher) delete(ctx context.Context, session *url.URL) {
	request, err := http.NewRequestWithContext(ctx, http.MethodDelete, session.String(), http.NoBody)
	if err != nil {
		return
	}
	// The token goes to no other host than the one it is for.
	if session.Host == p.target.Host {
		p.authorize(request)
	}
	response, err := p.http.Do(request)
	if err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, maxAnswer))
	_ = response.Body.Close()
}

func (p *publisher) authorize(request *http.Request) {
	if p.config.Token != "" {
		request.Header.Set("Authorization", "Bearer "+p.config.Token)
	}
}

// words returns what a problem document (RFC 9457) says, or the first line of text.
func words(header http.Header, body []byte) string {
	kind, _, _ := mime.ParseMediaType(header.Get("Content-Type"))
	if kind == "application/problem+json" || kind == "application/json" {
		var problem struct{ Title, Detail string }
		if json.Unmarshal(body, &problem) == nil {
			return printable(strings.TrimPrefix(strings.TrimSuffix(problem.Title+": "+problem.Detail, ": "), ": "))
		}
	}
	if kind == "text/plain" {
		line, _, _ := strings.Cut(string(body), "\n")
		return printable(line)
	}
	return ""
}

// printable keeps a server from writing control characters to the terminal.
func printable(s string) string {
	const longest = 300
	s = strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return -1
		}
		return r
	}, s)
	return s[:min(len(s), longest)]
}

func retryAfter(header http.Header) time.Duration {
	seconds, err := strconv.ParseUint(header.Get("Retry-After"), 10, 31)
	if err != nil {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, maxRetry)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
