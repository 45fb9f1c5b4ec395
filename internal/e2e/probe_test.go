package e2e

import (
	"context"
	"fmt"
	"net/http"
	"path"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/whipcast/whipcast/internal/hlscheck"
)

// probe plays a stream the way a low-latency player does: blocking reloads of
// every media playlist, each part once. Every version goes to the checker.
type probe struct {
	base    string // URL of /hls
	checker hlscheck.Checker

	mu     sync.Mutex
	files  map[string][]byte    // below mu; by path
	seen   map[string]time.Time // below mu; when a part was there
	ended  map[string]bool      // below mu; playlists with ENDLIST
	order  map[string][]string  // below mu; segments of a playlist in order
	inits  map[string]string    // below mu; playlist → newest init
	deltas int                  // below mu
	errors []string             // below mu
}

func newProbe(g *gateway) *probe {
	return &probe{
		base: g.url("/hls"), checker: hlscheck.Checker{Lag: 2 * time.Second}, files: make(map[string][]byte), seen: make(map[string]time.Time),
		ended: make(map[string]bool), order: make(map[string][]string), inits: make(map[string]string),
	}
}

// start waits for the multivariant playlist and returns the media playlists.
func (p *probe) start(ctx context.Context, t *testing.T, stream string) []string {
	t.Helper()
	var found []string
	until(t, 15*time.Second, "the stream has a multivariant playlist", func() bool {
		got, err := get(ctx, p.base+"/"+stream+"/index.m3u8")
		if err != nil || got.status != http.StatusOK {
			return false
		}
		found = p.checker.Multivariant(stream+"/index.m3u8", got.body)
		return true
	})
	return found
}

// play follows the media playlists until ctx ends or the stream does.
func (p *probe) play(ctx context.Context, playlists []string) {
	var wg sync.WaitGroup
	for _, uri := range playlists {
		wg.Go(func() { p.follow(ctx, uri) })
	}
	wg.Wait()
}

func (p *probe) fail(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.errors) < 50 {
		p.errors = append(p.errors, fmt.Sprintf(format, args...))
	}
}

// follow reloads one media playlist, version by version.
func (p *probe) follow(ctx context.Context, uri string) {
	query := ""
	for round := 0; ctx.Err() == nil; round++ {
		asked := time.Now()
		got, err := get(ctx, p.base+"/"+uri+query)
		status, body := got.status, got.body
		if ctx.Err() != nil {
			return
		}
		if err != nil || status != http.StatusOK {
			p.fail("GET %s%s: %d %v %.200s", uri, query, status, err, body)
			time.Sleep(200 * time.Millisecond)
			query = ""
			continue
		}
		now := time.Now()
		p.checker.Media(uri, now, body)
		p.checker.Answer(uri, hlscheck.Answer{Query: strings.TrimPrefix(query, "?"), Header: got.header, Asked: asked, Came: now}, body)
		text := string(body)
		p.fetch(ctx, uri, text)
		if round%7 == 3 {
			p.delta(ctx, uri, query, body)
		}
		if strings.Contains(text, "#EXT-X-ENDLIST") {
			p.mu.Lock()
			p.ended[uri] = true
			p.mu.Unlock()
			return
		}
		msn, part := edge(text)
		query = fmt.Sprintf("?_HLS_msn=%d&_HLS_part=%d", msn, part)
	}
}

// delta asks for the delta update of the version just seen; if it has changed
// meanwhile, the full one asked for right after settles nothing, so it is left.
func (p *probe) delta(ctx context.Context, uri, query string, full []byte) {
	separator := "?"
	if query != "" {
		separator = "&"
	}
	got, err := get(ctx, p.base+"/"+uri+query+separator+"_HLS_skip=YES")
	status, body := got.status, got.body
	if err != nil || status != http.StatusOK {
		if ctx.Err() == nil {
			p.fail("delta of %s: %d %v", uri, status, err)
		}
		return
	}
	a, b := edge(string(full))
	c, d := edge(string(body))
	if a == c && b == d && !strings.Contains(string(body), "ENDLIST") {
		p.checker.Delta(uri, full, body)
		if strings.Contains(string(body), "#EXT-X-SKIP") {
			p.mu.Lock()
			p.deltas++
			p.mu.Unlock()
		}
	}
}

// edge returns media sequence number and part index that come next.
func edge(playlist string) (msn, part int) {
	for line := range strings.Lines(playlist) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "#EXT-X-MEDIA-SEQUENCE:"):
			msn, _ = strconv.Atoi(strings.TrimPrefix(line, "#EXT-X-MEDIA-SEQUENCE:"))
		case strings.HasPrefix(line, "#EXT-X-SKIP:SKIPPED-SEGMENTS="):
			skipped, _, _ := strings.Cut(strings.TrimPrefix(line, "#EXT-X-SKIP:SKIPPED-SEGMENTS="), ",")
			n, _ := strconv.Atoi(skipped)
			msn += n
		case strings.HasPrefix(line, "#EXT-X-PART:"):
			part++
		case line != "" && line[0] != '#':
			msn++
			part = 0
		}
	}
	return msn, part
}

var uriAttribute = regexp.MustCompile(`URI="([^"]+)"`)

// fetch gets all media that a version names for the first time. Gaps have none.
func (p *probe) fetch(ctx context.Context, uri, playlist string) {
	gap := false
	for line := range strings.Lines(playlist) {
		line = strings.TrimSpace(line)
		if line == "#EXT-X-GAP" {
			gap = true
		}
		if gap && line != "" && line[0] != '#' {
			gap = false
			continue
		}
		name := ""
		switch {
		case strings.HasPrefix(line, "#EXT-X-PART:"), strings.HasPrefix(line, "#EXT-X-MAP:"):
			if m := uriAttribute.FindStringSubmatch(line); m != nil {
				name = m[1]
			}
		case line != "" && line[0] != '#':
			name = line
		}
		if name == "" || strings.Contains(line, "GAP=YES") {
			continue
		}
		file := path.Join(path.Dir(uri), name)
		if strings.Contains(name, "://") {
			file = name
		}
		p.file(ctx, uri, file)
		if line[0] != '#' {
			p.mu.Lock()
			if o := p.order[uri]; len(o) == 0 || o[len(o)-1] < name {
				p.order[uri] = append(o, name)
			}
			p.mu.Unlock()
		}
		if strings.HasPrefix(line, "#EXT-X-MAP:") {
			p.mu.Lock()
			p.inits[uri] = name
			p.mu.Unlock()
		}
	}
}

func (p *probe) file(ctx context.Context, uri, file string) {
	p.mu.Lock()
	_, have := p.files[file]
	p.mu.Unlock()
	if have {
		return
	}
	url := file
	if !strings.Contains(file, "://") {
		url = p.base + "/" + file
	}
	got, err := get(ctx, url)
	status, header, body := got.status, got.header, got.body
	if ctx.Err() != nil {
		return
	}
	if err != nil || status != http.StatusOK {
		p.fail("GET %s, named in %s: %d %v", file, uri, status, err)
		return
	}
	if kind := header.Get("Content-Type"); kind != "video/mp4" && kind != "audio/mp4" {
		p.fail("GET %s: Content-Type %q", file, kind) // L101
	}
	p.checker.File(file, body)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.files[file], p.seen[file] = body, time.Now()
}

// joined returns init and all complete segments of a playlist as one file.
func (p *probe) joined(uri string) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	dir := path.Dir(uri)
	whole := append([]byte(nil), p.files[path.Join(dir, p.inits[uri])]...)
	for _, name := range p.order[uri] {
		whole = append(whole, p.files[path.Join(dir, name)]...)
	}
	return whole
}

// verdict fails the test with all that was wrong.
func (p *probe) verdict(t *testing.T) {
	t.Helper()
	compared := p.checker.CheckFiles()
	for _, v := range p.checker.Violations() {
		t.Error(v)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.errors {
		t.Error(e)
	}
	if compared == 0 {
		t.Error("no segment could be compared with its parts") // L3
	}
}
