package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/whipcast/whipcast/internal/hlscheck"
)

// observer polls all playlists of a stream in a store by HTTP, as players do, all
// the time. It fails on each URI that is listed and cannot be read (specs S10), on
// a media sequence number that goes back, on a line that changes (specs S12), and
// on what hlscheck finds besides.
type observer struct {
	t      *testing.T
	base   string // URL of the store's prefix
	stream string
	every  time.Duration
	client *http.Client
	check  hlscheck.Checker

	look sync.Mutex // held while it looks
	away bool       // guarded by look

	polls  atomic.Int64
	newest atomic.Int64 // media sequence number of the newest video segment, -1: none
	gaps   atomic.Int64 // in the video's window
	ended  atomic.Bool  // the video's playlist is

	// Of the goroutine that looks.
	read  map[string]bool             // what was read whole
	lines map[string]map[int64]string // what was said of each segment, by playlist
	first map[string]int64            // media sequence number of each playlist
}

// observe starts to look every so often at a stream; the test's end stops it.
func observe(t *testing.T, base, stream string, every time.Duration) *observer {
	w := &observer{
		t: t, base: base, stream: stream, every: every, client: &http.Client{Timeout: 20 * time.Second},
		check: hlscheck.Checker{Static: true, Lag: time.Minute},
		read:  map[string]bool{}, lines: map[string]map[int64]string{}, first: map[string]int64{},
	}
	w.newest.Store(-1)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if err := w.glance(ctx); err != nil && ctx.Err() == nil {
				t.Errorf("S10: %s: %v", base, err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(every):
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		w.client.CloseIdleConnections()
	})
	return w
}

// pause makes it look away until resume: the store itself is gone.
func (w *observer) pause()  { w.turn(true) }
func (w *observer) resume() { w.turn(false) }

func (w *observer) turn(away bool) {
	w.look.Lock()
	defer w.look.Unlock()
	w.away = away
}

// glance polls, unless it looks away.
func (w *observer) glance(ctx context.Context) error {
	w.look.Lock()
	defer w.look.Unlock()
	if w.away {
		return nil
	}
	return w.poll(ctx)
}

// verdict says what hlscheck found, and that it looked often enough.
func (w *observer) verdict(polls int64) {
	w.t.Helper()
	for i, v := range w.check.Violations() {
		if i < 10 {
			w.t.Errorf("%s: %v", w.base, v)
		}
	}
	if n := w.polls.Load(); n < polls {
		w.t.Errorf("%s: looked %d times, want %d", w.base, n, polls)
	}
}

func (w *observer) poll(ctx context.Context) error {
	key := w.stream + "/index.m3u8"
	got, err := w.fetch(ctx, http.MethodGet, key)
	if got.status == http.StatusNotFound && !w.read[key] {
		return nil // it has not begun
	}
	if err != nil {
		return err
	}
	w.read[key] = true
	if err := w.fields(key, got.header); err != nil {
		return err
	}
	for _, media := range uris(string(got.body)) {
		if err := w.media(ctx, path.Join(path.Dir(key), media)); err != nil {
			return err
		}
	}
	w.polls.Add(1)
	return nil
}

// media looks at a media playlist, and at all that it lists.
func (w *observer) media(ctx context.Context, key string) error {
	got, err := w.fetch(ctx, http.MethodGet, key)
	if err != nil {
		return err
	}
	text := string(got.body)
	w.check.Media(key, time.Now(), got.body)
	if err := errors.Join(w.fields(key, got.header), w.compare(key, text)); err != nil {
		return err
	}
	for _, uri := range uris(text) {
		uri = path.Join(path.Dir(key), uri)
		method := http.MethodHead
		if !w.read[uri] {
			method = http.MethodGet
		}
		got, err := w.fetch(ctx, method, uri)
		if err != nil {
			return fmt.Errorf("%s lists what cannot be read: %w", key, err)
		}
		if method == http.MethodGet {
			if len(got.body) == 0 {
				return fmt.Errorf("%s is empty", uri)
			}
			if err := w.fields(uri, got.header); err != nil {
				return err
			}
			w.read[uri] = true
		}
	}
	return nil
}

// compare holds that no number goes back and no segment's lines change.
func (w *observer) compare(key, text string) error {
	said := w.lines[key]
	if said == nil {
		said = map[int64]string{}
		w.lines[key] = said
	}
	first, segments := blocks(w.t, text)
	if first < w.first[key] {
		return fmt.Errorf("%s: media sequence number %d after %d", key, first, w.first[key])
	}
	w.first[key] = first
	gaps := int64(0)
	for i, block := range segments {
		msn := first + int64(i)
		if before, known := said[msn]; known && before != block {
			return fmt.Errorf("%s: the lines of segment %d changed from\n%sto\n%s", key, msn, before, block)
		}
		said[msn] = block
		gaps += int64(strings.Count(block, "#EXT-X-GAP\n"))
	}
	if strings.Contains(key, "/video/") {
		newest := first + int64(len(segments)) - 1
		if before := w.newest.Load(); newest < before {
			return fmt.Errorf("%s ends at %d after %d", key, newest, before)
		}
		w.newest.Store(newest)
		w.gaps.Store(gaps)
		w.ended.Store(strings.Contains(text, "#EXT-X-ENDLIST"))
	}
	return nil
}

// blocks returns the media sequence number of a playlist, and for each segment the
// lines that are about it alone.
func blocks(t *testing.T, text string) (first int64, all []string) {
	block := ""
	for line := range strings.Lines(text) {
		number, isFirst := strings.CutPrefix(line, "#EXT-X-MEDIA-SEQUENCE:")
		switch {
		case isFirst:
			first = atoi(t, strings.TrimSpace(number))
		case line[0] != '#':
			all = append(all, block+line)
			block = ""
		case strings.HasPrefix(line, "#EXTINF:"), strings.HasPrefix(line, "#EXT-X-GAP"), strings.HasPrefix(line, "#EXT-X-PROGRAM-DATE-TIME:"):
			block += line
		}
	}
	return first, all
}

// fields holds that an object has the right type and freshness (specs S29).
func (w *observer) fields(key string, h http.Header) error {
	kind, fresh := "/mp4", "immutable"
	if strings.HasSuffix(key, ".m3u8") {
		kind, fresh = "application/vnd.apple.mpegurl", "public, max-age="
	}
	if !strings.HasSuffix(h.Get("Content-Type"), kind) || !strings.Contains(h.Get("Cache-Control"), fresh) {
		return fmt.Errorf("S29: %s has type %q and freshness %q", key, h.Get("Content-Type"), h.Get("Cache-Control"))
	}
	return nil
}

func (w *observer) fetch(ctx context.Context, method, key string) (reply, error) {
	req, err := http.NewRequestWithContext(ctx, method, w.base+"/"+key, http.NoBody)
	if err != nil {
		return reply{}, err
	}
	res, err := w.client.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: status %d", method, key, res.StatusCode)
	}
	return reply{res.StatusCode, res.Header, body}, err
}

func atoi(t *testing.T, digits string) int64 {
	n := int64(0)
	for _, d := range digits {
		if d < '0' || d > '9' {
			t.Errorf("%q is no number", digits)
			return 0
		}
		n = 10*n + int64(d-'0')
	}
	return n
}

// uris returns what a playlist offers.
func uris(text string) []string {
	var all []string
	gap := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "#EXT-X-GAP":
			gap = true
		case strings.HasPrefix(line, "#EXT-X-MAP:") || strings.HasPrefix(line, "#EXT-X-MEDIA:"):
			_, uri, _ := strings.Cut(line, `URI="`)
			uri, _, _ = strings.Cut(uri, `"`)
			all = append(all, uri)
		case line != "" && line[0] != '#':
			if !gap {
				all = append(all, line)
			}
			gap = false
		}
	}
	return all
}
