package check

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/whipcast/whipcast/internal/fault"
	"github.com/whipcast/whipcast/storage"
)

// viewerOrigin is where the page of a viewer's player may come from.
const viewerOrigin = "https://viewer.example"

// publicRead reads a file as viewers do: without credentials, behind Public, from
// a page of another host.
func (p Place) publicRead(ctx context.Context, o storage.Object) []Finding {
	name := p.Name + " public"
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	got, err := p.view(ctx, o.Key)
	if err != nil {
		f := words(err)
		return []Finding{{name, Failed, f.Cause, f.Remedy}}
	}
	if f := p.viewed(got, o); f.State != OK {
		return []Finding{f}
	}
	found := []Finding{{Name: name, Cause: "viewers can read it: media type, CORS and Cache-Control are right"}}
	miss, err := p.view(ctx, o.Key+".none")
	if err != nil {
		return found
	}
	if fresh := freshness(miss.fields.Get("Cache-Control")); miss.status >= 400 && fresh > time.Second {
		found = append(found, Finding{
			name, Warning, fmt.Sprintf("that a file is not there is kept for %s: who asks a moment too early waits for so long", fault.Span(fresh)),
			"let the CDN keep errors for a second at most",
		})
	}
	return found
}

// viewed says what a viewer's player makes of an answer.
func (p Place) viewed(got view, o storage.Object) Finding {
	name := p.Name + " public"
	cache := storage.CacheControl(o, 0)
	switch {
	case got.status == http.StatusNotFound:
		return Finding{name, Failed, "what was stored is not at " + p.Public + " (status 404)", "correct public_url: it must lead to what prefix or path or url names"}
	case got.status == http.StatusUnauthorized, got.status == http.StatusForbidden:
		return Finding{
			name, Failed, fmt.Sprintf("viewers may not read at %s (status %d)", p.Public, got.status),
			"let everybody read there: by a policy of the bucket, or by the CDN's own credentials",
		}
	case got.status != http.StatusOK:
		return Finding{name, Failed, fmt.Sprintf("%s answers with status %d", p.Public, got.status), "correct public_url, or look at the CDN"}
	case !bytes.Equal(got.body, o.Body.Bytes()):
		return Finding{name, Failed, "something else is at " + p.Public, "correct public_url: it must lead to what prefix or path or url names"}
	case mediaType(got.fields.Get("Content-Type")) != o.Type:
		return Finding{
			name, Warning, "viewers get " + o.Type + " as " + strconv.Quote(printable(got.fields.Get("Content-Type"))),
			"let the place and the CDN keep the Content-Type: players look at it",
		}
	case got.fields.Get("Access-Control-Allow-Origin") != "*" && got.fields.Get("Access-Control-Allow-Origin") != viewerOrigin:
		return Finding{
			name, Warning, "there is no Access-Control-Allow-Origin: players in pages of other hosts cannot read it",
			"allow GET and HEAD from all origins in the CORS settings of the bucket or of the CDN",
		}
	case got.fields.Get("Cache-Control") != cache:
		return Finding{
			name, Warning, fmt.Sprintf("stored with Cache-Control %q, viewers get %q", cache, printable(got.fields.Get("Cache-Control"))),
			"let the place and the CDN keep Cache-Control: live playlists must not be kept for long",
		}
	}
	return Finding{Name: name}
}

// view is what a viewer gets.
type view struct {
	status int
	fields http.Header
	body   []byte
}

func (p Place) view(ctx context.Context, key string) (view, error) {
	at, err := url.JoinPath(p.Public, key)
	if err != nil {
		return view{}, fmt.Errorf("make URL: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at, http.NoBody)
	if err != nil {
		return view{}, fmt.Errorf("make request: %w", err)
	}
	r.Header.Set("Origin", viewerOrigin)
	r.Header.Set("Accept-Encoding", "identity")
	const step = 5 * time.Second
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, DisableKeepAlives: true,
		DialContext: (&net.Dialer{Timeout: step}).DialContext, TLSHandshakeTimeout: step, ResponseHeaderTimeout: step,
	}
	defer transport.CloseIdleConnections()
	answer, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		return view{}, fmt.Errorf("read %s: %w", r.URL.Host, err)
	}
	defer answer.Body.Close() //nolint:errcheck // only read
	body, err := io.ReadAll(io.LimitReader(answer.Body, 64<<10))
	return view{answer.StatusCode, answer.Header, body}, err
}

// freshness returns how long a shared cache keeps an answer; 0: not at all, or as
// it likes (RFC 9111 §5.2.2).
func freshness(control string) time.Duration {
	var age time.Duration
	for part := range strings.SplitSeq(strings.ToLower(control), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		seconds, err := strconv.Atoi(strings.Trim(value, `"`))
		switch {
		case name == "no-store" || name == "no-cache" || name == "private":
			return 0
		case name == "s-maxage" && err == nil:
			return time.Duration(seconds) * time.Second
		case name == "max-age" && err == nil:
			age = time.Duration(seconds) * time.Second
		}
	}
	return age
}
