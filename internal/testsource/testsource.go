// Package testsource publishes the test clip to any WHIP server (RFC 9725).
//
// It is a client and knows nothing of our server: one video and one audio
// track, all candidates in the offer, packets paced by the wall clock, sender
// reports on one common clock, NACKs answered. When the connection is lost it
// comes back by itself.
//
//	testclip.Loop ──▶ player (pace, packetize) ──▶ link (Pion) ──▶ WHIP server
package testsource

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/whipcast/whipcast/internal/testclip"
)

// Config says where to publish.
type Config struct {
	URL   string            // of the WHIP endpoint, http or https
	Token string            // bearer token; empty sends none
	Say   func(line string) // called with words for the terminal, from Run's goroutine; nil is quiet
	// Certificate is the one (DER) that an https server must show, for servers
	// whose certificate has another name. nil: the usual checks.
	Certificate []byte
	// PictureBytes, for load tests: pictures are padded to so many bytes at least.
	// What is padded cannot be decoded any more, but is packaged and sent.
	PictureBytes int
}

const (
	firstPause  = 500 * time.Millisecond // before the second try
	longestWait = 8 * time.Second        // between tries
	goodAfter   = 10 * time.Second       // a link that lasted this long starts the pauses anew
	byeTime     = 2 * time.Second        // for DELETE at the end
)

// Run publishes until ctx ends, then ends its session and returns nil. It tries
// again when the server cannot be reached, is busy or goes away; it returns an
// error when trying again cannot help, such as for a wrong token.
func Run(ctx context.Context, config Config) error {
	target, err := url.Parse(config.URL)
	if err != nil || target.Host == "" || target.Scheme != "http" && target.Scheme != "https" {
		return fmt.Errorf("WHIP URL %q is not usable: write it like https://example.com/whip/name", config.URL)
	}
	clip, err := testclip.Load()
	if err != nil {
		return err
	}
	p := publisher{config: config, target: target, clip: clip, http: newHTTP(config.Certificate)}
	defer p.http.CloseIdleConnections()
	if config.Say == nil {
		p.config.Say = func(string) {}
	}
	return p.run(ctx)
}

type publisher struct {
	config Config
	target *url.URL
	clip   *testclip.Clip
	http   *http.Client
}

func (p *publisher) run(ctx context.Context) error {
	pause := firstPause
	for ctx.Err() == nil {
		start := time.Now()
		err := p.once(ctx)
		var refused *refusal
		if errors.As(err, &refused) && refused.permanent() {
			return err
		}
		if ctx.Err() != nil {
			break
		}
		if time.Since(start) >= goodAfter {
			pause = firstPause
		}
		wait := pause
		if refused != nil && refused.retryAfter > wait {
			wait = refused.retryAfter
		}
		p.config.Say(fmt.Sprintf("%v; again in %v", err, wait))
		sleep(ctx, wait)
		pause = min(2*pause, longestWait)
	}
	return nil //nolint:nilerr // told to end: not an error
}

// once publishes until the link ends. It never returns nil.
func (p *publisher) once(ctx context.Context) error {
	l, err := newLink(loopback(p.target.Hostname()))
	if err != nil {
		return err
	}
	defer l.close()
	offer, err := l.offer(ctx)
	if err != nil {
		return err
	}
	session, answer, err := p.post(ctx, offer)
	if err != nil {
		return err
	}
	defer func() {
		// The session must end at the server also when ctx has ended.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), byeTime)
		defer cancel()
		p.delete(ctx, session)
	}()
	if err := l.accept(ctx, answer); err != nil {
		return err
	}
	p.config.Say(fmt.Sprintf("publishing %dx%d H264 and Opus to %s", testclip.Width, testclip.Height, p.target.Redacted()))
	source := newPlayer(p.clip.Loop(), l)
	source.padTo = p.config.PictureBytes
	return source.run(ctx)
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
