package e2e

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"net"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	crowdSize  = 500
	crowdJoins = 4 * time.Second // in which viewers come one after the other
	crowdTime  = 8 * time.Second // that is measured
)

// crowd is many low-latency viewers of one stream: each reloads two media
// playlists, held, and fetches each part when it is listed.
type crowd struct {
	address string
	lists   []string // paths of the media playlists
	light   bool     // viewers fetch no media
	seed    maphash.Seed

	steps    sync.Map // what playlists say, by the hash of their bytes: read once for all
	failures atomic.Int64
	failure  atomic.Pointer[error]
	parts    atomic.Int64
}

// step is what a version of a playlist tells a viewer to do.
type step struct {
	query string   // of the reload that comes next
	parts []string // paths, in order
}

// sample is one held reload that was answered.
type sample struct {
	target string // path and query
	at     time.Time
}

func newCrowd(address string, lists []string) *crowd {
	return &crowd{address: address, lists: lists, seed: maphash.MakeSeed()}
}

// watch lets players of one playlist each come, and returns what they saw.
func (c *crowd) watch(ctx context.Context, players int, join time.Duration) []sample {
	seen := make([][]sample, players)
	var all sync.WaitGroup
	for i := range seen {
		all.Go(func() {
			select {
			case <-time.After(time.Duration(i) * join / time.Duration(len(seen))):
			case <-ctx.Done():
				return
			}
			if err := c.follow(ctx, c.lists[i%len(c.lists)], &seen[i]); err != nil && ctx.Err() == nil {
				c.failures.Add(1)
				c.failure.Store(&err)
			}
		})
	}
	all.Wait()
	return slices.Concat(seen...)
}

// follow plays one media playlist until ctx ends.
func (c *crowd) follow(ctx context.Context, list string, seen *[]sample) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.address)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	w := &wire{conn: conn, in: bufio.NewReaderSize(conn, 4<<10)}
	target, last := list, ""
	for {
		body, err := w.get(target)
		if err != nil {
			return fmt.Errorf("GET %s: %w", target, err)
		}
		if target != list {
			*seen = append(*seen, sample{target, time.Now()})
		}
		s, err := c.read(list, body)
		if err != nil {
			return fmt.Errorf("read %s: %w", target, err)
		}
		for i, part := range s.parts {
			if c.light || part <= last || last == "" && i < len(s.parts)-1 {
				continue
			}
			if _, err := w.get(part); err != nil {
				return fmt.Errorf("GET %s: %w", part, err)
			}
			c.parts.Add(1)
			last = part
		}
		target = list + s.query
	}
}

// read returns what a playlist says.
func (c *crowd) read(list string, body []byte) (*step, error) {
	hash := maphash.Bytes(c.seed, body)
	if s, ok := c.steps.Load(hash); ok {
		return s.(*step), nil
	}
	if bytes.HasPrefix(body, []byte{0x1f, 0x8b}) {
		unzip, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		if body, err = io.ReadAll(unzip); err != nil {
			return nil, err
		}
	}
	text := string(body)
	if !strings.HasPrefix(text, "#EXTM3U\n") {
		return nil, fmt.Errorf("%.40q is no playlist", text)
	}
	msn, part := edge(text)
	s := &step{query: fmt.Sprintf("?_HLS_msn=%d&_HLS_part=%d&_HLS_skip=YES", msn, part)}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#EXT-X-PART:") {
			if m := uriAttribute.FindStringSubmatch(line); m != nil {
				s.parts = append(s.parts, path.Join(path.Dir(list), m[1]))
			}
		}
	}
	c.steps.Store(hash, s)
	return s, nil
}

// wire is one HTTP/1.1 connection. It does little, so that many of them leave
// the machine to those who are measured.
type wire struct {
	conn net.Conn
	in   *bufio.Reader
	out  []byte
	body []byte
}

var errWire = errors.New("an answer that this test does not read")

// get returns a body, which is valid until the next call.
func (w *wire) get(target string) ([]byte, error) {
	w.out = append(w.out[:0], "GET "...)
	w.out = append(w.out, target...)
	w.out = append(w.out, " HTTP/1.1\r\nHost: crowd\r\nAccept-Encoding: gzip\r\n\r\n"...)
	if _, err := w.conn.Write(w.out); err != nil {
		return nil, err
	}
	line, err := w.in.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) {
		return nil, fmt.Errorf("%q: %w", line, errWire)
	}
	length := -1
	for {
		if line, err = w.in.ReadSlice('\n'); err != nil {
			return nil, err
		}
		if len(line) <= 2 {
			break
		}
		name, value, _ := bytes.Cut(bytes.TrimSpace(line), []byte(": "))
		if bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(value)); err != nil {
				return nil, err
			}
		}
	}
	if length >= 0 {
		w.body = slices.Grow(w.body[:0], length)[:length]
		_, err = io.ReadFull(w.in, w.body)
		return w.body, err
	}
	return w.chunks()
}

// chunks reads a body of chunked transfer coding.
func (w *wire) chunks() ([]byte, error) {
	w.body = w.body[:0]
	for {
		line, err := w.in.ReadSlice('\n')
		if err != nil {
			return nil, err
		}
		size, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 16, 31)
		if err != nil {
			return nil, err
		}
		at := len(w.body)
		w.body = slices.Grow(w.body, int(size)+2)[:at+int(size)+2]
		if _, err := io.ReadFull(w.in, w.body[at:]); err != nil {
			return nil, err
		}
		w.body = w.body[:at+int(size)]
		if size == 0 {
			return w.body, nil
		}
	}
}

// outcome is what a crowd saw.
type outcome struct {
	versions      int // of all playlists
	answers       int
	p50, p95, p99 time.Duration // after the first one who has the version
}

// measure lets the crowd watch, and compares when each had a version with when
// the first one had it: one of them, or a viewer at the gateway itself.
func (c *crowd) measure(t *testing.T, g *gateway, name string) outcome {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), crowdJoins+crowdTime)
	defer stop()
	measured := time.Now().Add(crowdJoins)
	observer := newCrowd(g.address, c.lists)
	var (
		both  sync.WaitGroup
		truth []sample
	)
	both.Go(func() { truth = observer.watch(ctx, len(c.lists), 0) })
	samples := c.watch(ctx, crowdSize*len(c.lists), crowdJoins*3/4)
	both.Wait()
	for _, c := range []*crowd{observer, c} {
		if n := c.failures.Load(); n > 0 {
			t.Errorf("%s: %d viewers failed, one of them: %v", name, n, *c.failure.Load())
		}
	}
	first := make(map[string]time.Time)
	for _, s := range append(truth, samples...) {
		if at, ok := first[s.target]; !ok || s.at.Before(at) {
			first[s.target] = s.at
		}
	}
	var o outcome
	var delays []time.Duration
	asked := make(map[string]bool)
	for _, s := range samples {
		if at := first[s.target]; at.After(measured) {
			asked[s.target] = true
			delays = append(delays, s.at.Sub(at))
		}
	}
	slices.Sort(delays)
	o.versions, o.answers = len(asked), len(delays)
	if o.answers == 0 {
		t.Fatalf("%s: no answers", name)
	}
	o.p50, o.p95, o.p99 = delays[o.answers/2], delays[o.answers*95/100], delays[o.answers*99/100]
	t.Logf("%s: %d held requests: %d answers of %d versions, %.1f parts each; p50 %v, p95 %v, p99 %v after the first one", name,
		crowdSize*len(c.lists), o.answers, o.versions, float64(c.parts.Load())/float64(crowdSize*len(c.lists)),
		o.p50.Round(time.Millisecond), o.p95.Round(time.Millisecond), o.p99.Round(time.Millisecond))
	return o
}

// TestCrowd: five hundred viewers come within three seconds and wait for each
// version of a picture's and a sound's playlist. Through Varnish they cost the
// origin one or two requests for each version and each part (specs L97). Through
// nginx each of their held requests is one at the origin, but media is not.
//
// How late they are is logged only: they share the processors with what they measure.
func TestCrowd(t *testing.T) {
	g := serveWith(t, plainBinary)
	publish(t, g.url("/whip/show"))
	var lists []string
	for _, uri := range newProbe(g).start(t.Context(), t, "show") {
		if !strings.Contains(uri, "/audio/") { // AAC is enough
			lists = append(lists, "/hls/"+uri)
		}
	}
	y := newTally(t, g.address)
	varnish := startVarnish(t, y.address)
	// Playlists alone, of one rendition: what the cache adds, with the least of what
	// the viewers themselves take.
	light := func(address string) *crowd {
		c := newCrowd(address, lists[:1])
		c.light = true
		return c
	}
	direct := light(g.address).measure(t, g, "gateway, one playlist")
	through := light(varnish).measure(t, g, "Varnish, one playlist")
	t.Logf("Varnish adds %v to p50 and %v to p95", (through.p50 - direct.p50).Round(time.Millisecond), (through.p95 - direct.p95).Round(time.Millisecond))

	newCrowd(g.address, lists).measure(t, g, "gateway")
	o := newCrowd(varnish, lists).measure(t, g, "Varnish")
	if o.answers < crowdSize*o.versions/2 {
		t.Errorf("Varnish: %d viewers had %d answers of %d versions", crowdSize, o.answers, o.versions)
	}
	for _, what := range []string{`\?_HLS_msn=`, `/p[0-9]+\.m4s$`} {
		requests, files := y.count(what)
		t.Logf("Varnish: %d requests at the origin for %d of %s", requests, files, what)
		if requests > 2*files || files < 20 {
			t.Errorf("Varnish: %d requests at the origin for %d of %s; at most 2 are allowed for each of 20 or more", requests, files, what)
		}
	}

	log := ""
	newCrowd(startNginx(t, g.address, &log), lists).measure(t, g, "nginx")
	for _, what := range []string{`\S+\?_HLS_msn=`, `\S+/p[0-9]+\.m4s`} {
		requests, missed, files := nginxLog(t, log, what)
		t.Logf("nginx: %d of %d requests for %d of %s went to the origin: %.1f for each", missed, requests, files, what, float64(missed)/float64(max(files, 1)))
		if strings.Contains(what, "/p") && (missed > requests/2 || files < 10) {
			t.Errorf("nginx: %d of %d requests for %d parts went to the origin", missed, requests, files)
		}
	}
}

// nginxLog counts requests for what matches: all, those that went to the origin,
// and how many different ones there were of the latter.
func nginxLog(t *testing.T, log, pattern string) (requests, missed, targets int) {
	t.Helper()
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	different := make(map[string]bool)
	for _, m := range regexp.MustCompile(`(?m)^(\S+) (`+pattern+`\S*)$`).FindAllStringSubmatch(string(text), -1) {
		requests++
		if m[1] != "HIT" {
			missed++
			different[m[2]] = true
		}
	}
	return requests, missed, len(different)
}
