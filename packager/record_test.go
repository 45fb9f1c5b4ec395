package packager

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/whipcast/whipcast/packager/hls"
	"github.com/whipcast/whipcast/storage"
)

// diary is a Record in memory.
type diary struct {
	mu    sync.Mutex
	calls []string // Begin and End
	lines []byte
	fails error
}

func (d *diary) Begin(_ context.Context, stream, id string) error { return d.call("begin", stream, id) }
func (d *diary) End(_ context.Context, stream, id string) error   { return d.call("end", stream, id) }

func (d *diary) call(verb, stream, id string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls = append(d.calls, verb+" "+stream+" "+id)
	return d.fails
}

func (d *diary) Append(_ context.Context, _, _ string, lines []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, lines...)
	return d.fails
}

// read returns all entries by rendition and number, and what the renditions are.
func (d *diary) read(t *testing.T) (map[string]map[uint64]hls.Entry, map[string]hls.Description) {
	t.Helper()
	entries, descriptions := map[string]map[uint64]hls.Entry{}, map[string]hls.Description{}
	for line := range bytes.Lines(d.lines) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		if hls.IsDescription(line) {
			is, err := hls.ParseDescription(line)
			if err != nil {
				t.Fatal(err)
			}
			descriptions[is.Rendition] = is
			continue
		}
		e, err := hls.ParseEntry(line)
		if err != nil {
			t.Fatal(err)
		}
		if descriptions[e.Rendition].Codecs == "" {
			t.Errorf("%s comes before what it is", line)
		}
		if entries[e.Rendition] == nil {
			entries[e.Rendition] = map[uint64]hls.Entry{}
		}
		entries[e.Rendition][e.MSN] = e
	}
	return entries, descriptions
}

// offered returns what the plain playlists of a rendition have ever listed: by
// number a segment's lines.
func (b *bench) offered(t *testing.T, rendition string) map[uint64]string {
	t.Helper()
	all := map[uint64]string{}
	for _, o := range b.sink.history {
		if o.Kind != storage.Playlist || !strings.Contains(o.Key, "/"+rendition+"/") {
			continue
		}
		var msn uint64
		var lines []string
		for line := range strings.Lines(string(o.Body.Bytes())) {
			line = strings.TrimSuffix(line, "\n")
			number, is := strings.CutPrefix(line, "#EXT-X-MEDIA-SEQUENCE:")
			switch {
			case is:
				var err error
				if msn, err = strconv.ParseUint(number, 10, 64); err != nil {
					t.Fatal(err)
				}
			case strings.HasPrefix(line, "#EXTINF:"), line == "#EXT-X-GAP", strings.HasPrefix(line, "#EXT-X-PROGRAM"):
				lines = append(lines, line)
			case line != "" && line[0] != '#':
				all[msn] = strings.Join(append(lines, line), " ")
				lines = nil
				msn++
			}
		}
	}
	return all
}

// TestRecord: the record has every segment of all renditions as the playlists have
// shown it, with its size, also over a kill; and what the renditions are.
func TestRecord(t *testing.T) {
	var first, second *bench
	d := &diary{}
	synctest.Test(t, func(t *testing.T) {
		cfg := Config{Ledger: newNotebook(), Record: d, Audio: Both, Grace: 10 * time.Second}
		first = setUp(t, cfg)
		h := first.build(t, browser())
		h.run(t, 15*time.Second)
		second = first.restarted(t, cfg, func(n *notebook) *notebook { return n.copied() })
		h.x.Close(nil)
		time.Sleep(3 * time.Second)
		h = second.build(t, browser())
		h.run(t, 9*time.Second)
		h.x.Close(nil)
		time.Sleep(time.Minute) // it ends, and its playlists are there still
		second.cancel()
		<-second.done
		second.check(t)
	})
	id := second.presentations()[0]
	if want := []string{"begin show " + id, "begin show " + id, "end show " + id}; !slices.Equal(d.calls, want) {
		t.Errorf("told %q, want %q", d.calls, want)
	}
	entries, descriptions := d.read(t)
	sizes := map[string]int64{}
	for _, b := range []*bench{first, second} {
		for _, o := range b.sink.history {
			if o.Kind == storage.Segment {
				sizes[o.Key] = int64(o.Body.Len())
			}
		}
	}
	for _, name := range []string{"video", "video-2", "video-3", "aac", "audio"} {
		want := first.offered(t, name)
		maps.Copy(want, second.offered(t, name)) // what comes later counts
		got := map[uint64]string{}
		for msn, e := range entries[name] {
			gap := ""
			if e.Gap {
				gap = "#EXT-X-GAP "
			}
			got[msn] = fmt.Sprintf("#EXT-X-PROGRAM-DATE-TIME:%s %s#EXTINF:%.5f, %s", e.Time.Format("2006-01-02T15:04:05.000Z"), gap, e.Duration.Seconds(), e.URI)
			key := "show/" + id + "/" + name + "/" + e.URI
			if e.Bytes != sizes[key] || e.Gap != (sizes[key] == 0) {
				t.Errorf("%s has %d bytes in the record, %d stored", key, e.Bytes, sizes[key])
			}
		}
		if len(got) < 12 || !maps.Equal(got, want) {
			for _, msn := range slices.Sorted(maps.Keys(want)) {
				if got[msn] != want[msn] {
					t.Errorf("%s, segment %d: record %q, shown %q", name, msn, got[msn], want[msn])
				}
			}
			t.Errorf("%s: %d segments in the record, %d shown", name, len(got), len(want))
		}
	}
	if v := descriptions["video"]; v.Width != 1280 || v.Height != 720 || v.FrameRate != 30 || v.Target != 2*time.Second || !strings.HasPrefix(v.Codecs, "vp09") || v.Channels != 0 {
		t.Errorf("video: %+v", v)
	}
	if a := descriptions["aac"]; a.Codecs != "mp4a.40.2" || a.Channels != 2 || a.Width != 0 {
		t.Errorf("aac: %+v", a)
	}
}

// TestRecordThatFails: the stream goes on, and it is said once.
func TestRecordThatFails(t *testing.T) {
	var b *bench
	synctest.Test(t, func(t *testing.T) {
		b = setUp(t, Config{Record: &diary{fails: errors.New("no space left on device")}})
		c := newCamera(b.publish(t, video("VP9"), audio()))
		c.run(0, 10*time.Second)
		c.x.Close(nil)
		b.cancel()
		<-b.done
	})
	if n := strings.Count(b.logs.String(), "no space left on device"); n != 1 {
		t.Errorf("said %d times:\n%s", n, b.logs)
	}
	if len(b.offered(t, "video")) < 4 {
		t.Error("the stream does not go on")
	}
}

// TestRecordOfWhatIsStale: what cannot go on after a restart has ended.
func TestRecordOfWhatIsStale(t *testing.T) {
	d := &diary{}
	synctest.Test(t, func(t *testing.T) {
		cfg := Config{Ledger: newNotebook(), Record: d}
		b := setUp(t, cfg)
		c := newCamera(b.publish(t, video("VP9"), audio()))
		c.run(0, 5*time.Second)
		notes := cfg.Ledger.(*notebook).copied()
		b.cancel()
		<-b.done
		c.x.Close(nil)
		time.Sleep(time.Hour)
		cfg.Ledger = notes
		next := setUp(t, cfg)
		time.Sleep(time.Second)
		next.cancel()
		<-next.done
	})
	if len(d.calls) != 2 || !strings.HasPrefix(d.calls[1], "end show ") || d.calls[1][4:] != d.calls[0][6:] {
		t.Errorf("told %q", d.calls)
	}
}
