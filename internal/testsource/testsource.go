// Package testsource publishes the test clip to any WHIP server (RFC 9725).
//
// It is a client and knows nothing of our server: one video track, plain or in
// three simulcast layers, and one audio track; all candidates in the offer,
// packets paced by the wall clock, sender reports on one common clock, NACKs
// answered. When the connection is lost it comes back by itself.
//
//	testclip.Loop ──▶ player (pace, packetize) ──▶ link (Pion) ──▶ WHIP server
package testsource

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
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
	// Simulcast publishes the layers of testclip.Ladder; nil: the best one alone.
	Simulcast *Simulcast
}

// Style says whose simulcast is imitated.
type Style int

const (
	// OBS names its layers 0, 1 and 2, the best one first. Equal pictures have
	// equal RTP times in all layers. It has no transport-cc, and keyframes come
	// each second whether they are asked for or not.
	OBS Style = iota
	// Browser names its layers q, h and f, the smallest first. Each has an RTP
	// time base of its own; sender reports tell how they belong together. It
	// numbers packets for transport-cc. The clip's pictures are fixed: after a
	// request the next keyframe comes in its turn, within a second.
	Browser
)

// rids returns the names of the layers of testclip.Ladder, the best one first.
func (s Style) rids() []string {
	if s == Browser {
		return []string{"f", "h", "q"}
	}
	return []string{"0", "1", "2"}
}

// Simulcast says how layers are sent. The zero value imitates OBS.
type Simulcast struct {
	Style Style
	// Silent says whether a layer, by its index in testclip.Ladder, sends nothing
	// at a media time, which begins at 0 with each connection. A layer comes back
	// at a keyframe, with the next sequence number. nil: no layer is ever silent.
	// It is called for each picture, from Run's goroutine.
	Silent func(layer int, media time.Duration) bool
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
	load := testclip.Load
	if config.Simulcast != nil {
		load = testclip.LoadLadder
	}
	clip, err := load()
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
		if errors.Is(err, errNoSimulcast) || errors.As(err, &refused) && refused.permanent() {
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
	l, err := newLink(p.config.Simulcast, loopback(p.target.Hostname()))
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
	source := newPlayer(p.clip.Loop(), len(l.lanes)-1, l)
	source.padTo = p.config.PictureBytes
	var sizes []string
	for _, layer := range testclip.Ladder()[:len(source.lanes)-1] {
		sizes = append(sizes, fmt.Sprintf("%dx%d", layer.Width, layer.Height))
	}
	if s := p.config.Simulcast; s != nil {
		source.silent = s.Silent
		if s.Style == OBS {
			source.oneBase()
		}
	}
	p.config.Say(fmt.Sprintf("publishing %s H264 and Opus to %s", strings.Join(sizes, ", "), p.target.Redacted()))
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
