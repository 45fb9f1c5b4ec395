package packager

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Eyevinn/mp4ff/mp4"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"github.com/whipcast/whipcast/internal/hlscheck"
	"github.com/whipcast/whipcast/storage"
	"github.com/whipcast/whipcast/stream"
)

// recorder is a Sink that remembers everything, and checks that what a playlist
// names is there.
type recorder struct {
	mu      sync.Mutex
	now     map[string]storage.Object // last content by key and kind
	history []storage.Object          // every Put
	deleted map[string]time.Time
	faults  []string
	fail    error
	watch   func(o storage.Object) // sees every Put
}

// puts returns every Put so far, and deletions what was deleted.
func (r *recorder) puts() []storage.Object {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.history)
}

func (r *recorder) deletions() map[string]time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.deleted)
}

// observe lets somebody see every Put.
func (r *recorder) observe(watch func(o storage.Object)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watch = watch
}

func newRecorder() *recorder {
	return &recorder{now: map[string]storage.Object{}, deleted: map[string]time.Time{}}
}

func (r *recorder) Put(_ context.Context, o storage.Object) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return r.fail
	}
	if o.Kind&(storage.Playlist|storage.LowLatency|storage.Multivariant) != 0 {
		for _, uri := range named(string(o.Body.Bytes())) {
			// L37, S10: what is listed is wholly there.
			if key := filepath.Join(filepath.Dir(o.Key), uri); !r.has(key) {
				r.faults = append(r.faults, fmt.Sprintf("%s names %s, which is not there", o.Key, key))
			}
		}
	}
	delete(r.deleted, o.Key)
	r.now[slot(o)] = o
	r.history = append(r.history, o)
	if r.watch != nil {
		r.watch(o)
	}
	return nil
}

func slot(o storage.Object) string {
	if o.Kind == storage.LowLatency {
		return o.Key + "?parts"
	}
	return o.Key
}

func (r *recorder) has(key string) bool {
	_, plain := r.now[key]
	_, parts := r.now[key+"?parts"]
	return plain || parts
}

func (r *recorder) Delete(_ context.Context, key string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deleted[key] = time.Now()
	delete(r.now, key)
	delete(r.now, key+"?parts")
	return nil
}

// last returns the newest object of a kind whose key contains part.
func (r *recorder) last(kind storage.Kind, part string) (storage.Object, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range slices.Backward(r.history) {
		if o.Kind == kind && strings.Contains(o.Key, part) {
			return o, true
		}
	}
	return storage.Object{}, false
}

// gone returns when an object was deleted.
func (r *recorder) gone(key string) (time.Time, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at, ok := r.deleted[key]
	return at, ok
}

// kept counts what is there by kind.
func (r *recorder) kept() map[storage.Kind]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	kinds := map[storage.Kind]int{}
	for _, o := range r.now {
		kinds[o.Kind]++
	}
	return kinds
}

// named returns the URIs that a playlist names and that must be there: all but
// gaps and hints.
func named(text string) []string {
	var uris []string
	gap := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "#EXT-X-GAP":
			gap = true
		case strings.HasPrefix(line, "#EXT-X-PART:") && !strings.Contains(line, "GAP=YES"),
			strings.HasPrefix(line, "#EXT-X-MAP:"), strings.HasPrefix(line, "#EXT-X-MEDIA:"),
			strings.HasPrefix(line, "#EXT-X-RENDITION-REPORT:"):
			_, rest, _ := strings.Cut(line, `URI="`)
			uri, _, _ := strings.Cut(rest, `"`)
			if !strings.HasPrefix(line, "#EXT-X-RENDITION-REPORT:") {
				uris = append(uris, uri)
			}
		case line != "" && line[0] != '#':
			if !gap {
				uris = append(uris, line)
			}
			gap = false
		}
	}
	return uris
}

// packet is one of a recording: RTP, or a sender report.
type packet struct {
	after  time.Duration
	kind   stream.Kind
	rid    string
	rtp    *rtp.Packet
	report *rtcp.SenderReport
}

// recording reads what a real client sent.
func recording(tb testing.TB, name string) []packet {
	tb.Helper()
	file, err := os.ReadFile(filepath.Join("testdata", name+".rtpdump"))
	if err != nil {
		tb.Fatal(err)
	}
	_, dump, _ := bytes.Cut(file, []byte("\n"))
	kinds := map[uint32]stream.Kind{}
	var all []packet
	for dump = dump[16:]; len(dump) > 0; {
		size := binary.BigEndian.Uint16(dump)
		after := time.Duration(binary.BigEndian.Uint32(dump[4:])) * time.Millisecond
		body := dump[8:size]
		rtcpPacket := binary.BigEndian.Uint16(dump[2:]) == 0
		dump = dump[size:]
		if rtcpPacket {
			compound, err := rtcp.Unmarshal(body)
			if err != nil {
				tb.Fatal(err)
			}
			for _, c := range compound {
				if sr, ok := c.(*rtcp.SenderReport); ok {
					all = append(all, packet{after: after, report: sr})
				}
			}
			continue
		}
		p := &rtp.Packet{}
		if err := p.Unmarshal(body); err != nil {
			tb.Fatal(err)
		}
		kind := stream.Video
		if p.PayloadType == 111 {
			kind = stream.Audio
		}
		kinds[p.SSRC] = kind
		all = append(all, packet{after: after, kind: kind, rtp: p})
	}
	for i := range all {
		if all[i].report != nil {
			all[i].kind = kinds[all[i].report.SSRC]
		}
	}
	return all
}

func video(codec string) stream.Layer {
	return stream.Layer{ID: stream.LayerID{Kind: stream.Video}, Codec: stream.Codec{Name: codec, ClockRate: 90000}}
}

func audio() stream.Layer {
	return stream.Layer{
		ID:    stream.LayerID{Kind: stream.Audio},
		Codec: stream.Codec{Name: "Opus", ClockRate: 48000, Channels: 2},
	}
}

// send writes a recording at its own pace.
func send(x *stream.Session, packets []packet) {
	begin := time.Now()
	for _, p := range packets {
		time.Sleep(time.Until(begin.Add(p.after)))
		id := stream.LayerID{Kind: p.kind, RID: p.rid}
		if p.report != nil {
			x.Report(id, p.report.NTPTime, p.report.RTPTime, time.Now())
			continue
		}
		x.Write(id, stream.Packet{
			Arrival: time.Now(), Timestamp: p.rtp.Timestamp, Sequence: p.rtp.SequenceNumber,
			Marker: p.rtp.Marker, Payload: p.rtp.Payload,
		})
	}
}

// bench is a packager at work on one stream.
type bench struct {
	hub     *stream.Hub
	stream  *stream.Stream
	sink    *recorder
	pack    *Packager
	logs    *bytes.Buffer
	cancel  context.CancelFunc
	done    chan error
	excused string        // an item that does not hold here
	frame   time.Duration // of the audio, if that is long
}

// setUp starts a packager; it must be called inside a synctest bubble.
func setUp(t testing.TB, cfg Config) *bench {
	t.Helper()
	b := &bench{hub: stream.NewHub(stream.Config{}), sink: newRecorder(), logs: &bytes.Buffer{}, done: make(chan error, 1)}
	if cfg.Audio == "" {
		cfg.Audio = Opus // AAC costs much time; who tests it says so
	}
	s, err := b.hub.Stream("show")
	if err != nil {
		t.Fatal(err)
	}
	b.stream = s
	b.pack = New(cfg, b.sink, slog.New(slog.NewTextHandler(b.logs, nil)))
	ctx, cancel := context.WithCancel(t.Context())
	b.cancel = cancel
	go func() { b.done <- b.pack.Run(ctx, s) }()
	return b
}

func (b *bench) publish(t testing.TB, layers ...stream.Layer) *stream.Session {
	t.Helper()
	x, err := b.stream.Publish(stream.Offer{Principal: "host", Layers: layers})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// stop ends the packager as a graceful stop does.
func (b *bench) stop(t testing.TB) {
	t.Helper()
	b.cancel()
	if err := <-b.done; !errors.Is(err, context.Canceled) {
		t.Fatalf("Run returned %v, want %v", err, context.Canceled)
	}
	b.check(t)
}

// check tests what must hold for everything that was ever put.
func (b *bench) check(t testing.TB) {
	t.Helper()
	for _, f := range b.sink.faults {
		t.Error(f)
	}
	var targets []string
	for _, o := range b.sink.history {
		if o.Kind == storage.LowLatency {
			for line := range strings.Lines(string(o.Body.Bytes())) {
				if strings.HasPrefix(line, "#EXT-X-TARGETDURATION") || strings.HasPrefix(line, "#EXT-X-PART-INF") {
					targets = append(targets, strings.Split(o.Key, "/")[1]+line)
				}
			}
		}
	}
	seen := map[string]bool{}
	for _, line := range targets {
		seen[line] = true
	}
	presentations := max(int(b.pack.Metrics().Presentations.Load()), 1) // or one from before a restart
	if len(seen) > 2*presentations {
		t.Errorf("L15, L42: the constants changed: %v", seen)
	}
	b.checkParts(t)
	b.conform(t)
	if strings.Contains(b.logs.String(), "level=ERROR") {
		t.Error(b.logs.String())
	}
}

// conform gives everything that was ever put to the project's conformance suite.
func (b *bench) conform(t testing.TB) {
	t.Helper()
	checkers := map[string]*hlscheck.Checker{}
	checker := func(key, kind string, static bool) *hlscheck.Checker {
		key = strings.Split(key, "/")[1] + kind
		if checkers[key] == nil {
			checkers[key] = &hlscheck.Checker{Static: static, Frame: max(b.frame, 25*time.Millisecond)}
		}
		return checkers[key]
	}
	for _, o := range b.sink.history {
		body := o.Body.Bytes()
		switch o.Kind {
		case storage.Multivariant:
			id, _, _ := strings.Cut(named(string(body))[0], "/")
			checker("show/"+id, "", false).Multivariant("/"+o.Key, body)
			checker("show/"+id, " plain", true).Multivariant("/"+o.Key, body)
		case storage.Playlist:
			checker(o.Key, " plain", true).Media("/"+o.Key, o.Modified, body)
		case storage.LowLatency:
			checker(o.Key, "", false).Media("/"+o.Key, o.Modified, body)
			if len(o.Delta) > 0 {
				checker(o.Key, "", false).Delta("/"+o.Key, body, o.Delta.Bytes())
			}
		default:
			checker(o.Key, "", false).File("/"+o.Key, body)
		}
	}
	for key, at := range b.sink.deleted {
		checker(key, "", false).Gone("/"+key, at)
		checker(key, " plain", true).Gone("/"+key, at)
	}
	for key, c := range checkers {
		c.CheckFiles()
		for i, v := range c.Violations() {
			if i < 10 && v.Item != b.excused {
				t.Errorf("%s: %s", key, v)
			}
		}
	}
}

// checkParts tests L3, L43, L44, L15 on the last playlist of each rendition.
func (b *bench) checkParts(t testing.TB) {
	t.Helper()
	last := map[string]storage.Object{}
	objects := map[string]storage.Object{}
	for _, o := range b.sink.history {
		if o.Kind == storage.LowLatency {
			last[o.Key] = o
		} else {
			objects[o.Key] = o
		}
	}
	for key, o := range last {
		dir := filepath.Dir(key)
		target, part := 0.0, 0.0
		var body []byte
		type line struct {
			duration  float64
			exempt    bool
			partsText string
		}
		var parts []line
		for text := range strings.Lines(string(o.Body.Bytes())) {
			text = strings.TrimSpace(text)
			switch {
			case strings.HasPrefix(text, "#EXT-X-TARGETDURATION:"):
				target = number(t, strings.TrimPrefix(text, "#EXT-X-TARGETDURATION:"))
			case strings.HasPrefix(text, "#EXT-X-PART-INF:PART-TARGET="):
				part = number(t, strings.TrimPrefix(text, "#EXT-X-PART-INF:PART-TARGET="))
			case strings.HasPrefix(text, "#EXT-X-PART:"):
				d := number(t, strings.TrimPrefix(strings.Split(text, ",")[0], "#EXT-X-PART:DURATION="))
				gap := strings.Contains(text, "GAP=YES")
				if gap && len(parts) > 0 {
					parts[len(parts)-1].exempt = true
				}
				if d > part {
					t.Errorf("L43: %s in %s, PART-TARGET %v", text, key, part)
				}
				parts = append(parts, line{d, gap || strings.Contains(text, "INDEPENDENT=YES"), text})
				if !gap {
					uri, _, _ := strings.Cut(strings.SplitN(text, `URI="`, 2)[1], `"`)
					body = append(body, objects[dir+"/"+uri].Body.Bytes()...)
				}
			case strings.HasPrefix(text, "#EXTINF:"):
				if d := number(t, strings.TrimSuffix(strings.TrimPrefix(text, "#EXTINF:"), ",")); d >= target+0.5 {
					t.Errorf("L15: %s in %s, TARGETDURATION %v", text, key, target)
				}
			case strings.HasPrefix(text, "s0"):
				for i, p := range parts {
					if p.duration < 0.85*part-1e-9 && !p.exempt && i < len(parts)-1 {
						t.Errorf("L44: %s in %s, PART-TARGET %v", p.partsText, key, part)
					}
				}
				if len(parts) > 0 && !bytes.Equal(body, objects[dir+"/"+text].Body.Bytes()) {
					t.Errorf("L3: %s/%s is not its parts", dir, text)
				}
				parts, body = nil, nil
			}
		}
	}
}

func number(t testing.TB, text string) float64 {
	t.Helper()
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// run is media between two discontinuities: its init segment and all segments.
type continuous struct {
	file     []byte
	segments [][]byte
}

// content returns the media that the last plain playlist of a rendition names.
func (r *recorder) content(t testing.TB, name string) []continuous {
	t.Helper()
	o, ok := r.last(storage.Playlist, "/"+name+"/")
	if !ok {
		t.Fatalf("no playlist of %s", name)
	}
	var all []continuous
	dir := filepath.Dir(o.Key)
	objects := map[string]storage.Object{}
	for _, object := range r.history {
		objects[object.Key] = object
	}
	var init []byte
	fresh := true
	for line := range strings.Lines(string(o.Body.Bytes())) {
		line = strings.TrimSpace(line)
		switch {
		case line == "#EXT-X-DISCONTINUITY":
			fresh = true
		case strings.HasPrefix(line, "#EXT-X-MAP:"):
			uri, _, _ := strings.Cut(strings.SplitN(line, `URI="`, 2)[1], `"`)
			init = objects[dir+"/"+uri].Body.Bytes()
		case line != "" && line[0] != '#':
			if fresh {
				all = append(all, continuous{file: bytes.Clone(init)})
				fresh = false
			}
			c := &all[len(all)-1]
			segment := objects[dir+"/"+line].Body.Bytes()
			c.segments = append(c.segments, segment)
			c.file = append(c.file, segment...)
		}
	}
	return all
}

// span is where a run begins and ends, in ticks.
type span struct{ from, to, samples int64 }

// continuity parses a run with mp4ff and tests that every fragment begins where
// the one before it ended (L5), except for holes up to the given ticks.
func (c *continuous) continuity(t testing.TB, hole int64) span {
	t.Helper()
	f, err := mp4.DecodeFile(bytes.NewReader(c.file))
	if err != nil {
		t.Fatal(err)
	}
	var s span
	first := true
	for _, segment := range f.Segments {
		for _, fragment := range segment.Fragments {
			traf := fragment.Moof.Traf
			at := int64(traf.Tfdt.BaseMediaDecodeTime())
			if first {
				s.from, s.to, first = at, at, false
			}
			if at < s.to || at > s.to+hole {
				t.Errorf("L5: fragment begins at %d, the one before it ended at %d", at, s.to)
			}
			s.to = at
			traf.Trun.AddSampleDefaultValues(traf.Tfhd, f.Init.Moov.Mvex.Trex)
			for _, sample := range traf.Trun.Samples {
				s.to += int64(sample.Dur)
				s.samples++
			}
		}
	}
	return s
}

// decode lets FFmpeg decode a run; it must not complain.
func (c *continuous) decode(t testing.TB) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "run.mp4")
	if err := os.WriteFile(path, c.file, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "ffmpeg", "-v", "warning", "-xerror", "-i", path,
		"-fps_mode", "passthrough", "-enc_time_base", "-1", "-f", "null", "-").CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("ffmpeg: %v\n%s", err, out)
	}
}

// TestRecordedClients packages what real programs sent and decodes the result.
func TestRecordedClients(t *testing.T) {
	for _, tt := range []struct {
		name, codec string
		onRequest   bool
		runs        int // between discontinuities
		frames      int // of video, at least
	}{
		{name: "obs-h264", codec: "H264", runs: 1, frames: 80},
		{name: "ffmpeg-h264", codec: "H264", runs: 1, frames: 70},
		{name: "chromium-h264", codec: "H264", onRequest: true, frames: 100},
		{name: "chromium-vp9", codec: "VP9", onRequest: true, frames: 100},
		{name: "chromium-av1", codec: "AV1", onRequest: true, frames: 100},
	} {
		t.Run(tt.name, func(t *testing.T) {
			packets := recording(t, tt.name)
			var b *bench
			synctest.Test(t, func(t *testing.T) {
				b = setUp(t, Config{})
				layer := video(tt.codec)
				layer.OnRequest = tt.onRequest
				x := b.publish(t, layer, audio())
				send(x, packets)
				x.Close(nil)
				time.Sleep(time.Second)
				b.stop(t)
			})
			frames := int64(0)
			videos, audios := b.sink.content(t, "video"), b.sink.content(t, "audio")
			if len(videos) != len(audios) || tt.runs > 0 && len(videos) != tt.runs {
				t.Errorf("L24: %d continuous runs of video, %d of audio, want %d", len(videos), len(audios), tt.runs)
			}
			for i := range videos {
				videos[i].decode(t)
				audios[i].decode(t)
				v, a := videos[i].continuity(t, 45000), audios[i].continuity(t, 0)
				frames += v.samples
				if d := v.from*8/15 - a.from; d > 960 || d < -960 {
					t.Errorf("R10: video begins at %d, audio at %d", v.from, a.from)
				}
				if d := v.to*8/15 - a.to; d > 4800 || d < -4800 {
					t.Errorf("video ends at %d, audio at %d", v.to*8/15, a.to)
				}
			}
			if frames < int64(tt.frames) {
				t.Errorf("%d frames, want at least %d", frames, tt.frames)
			}
			if t.Failed() {
				display(t, b)
			}
		})
	}
}

// display logs what a person needs to understand a failure.
func display(t testing.TB, b *bench) {
	t.Helper()
	t.Log(b.logs.String())
	for _, name := range []string{"/video/", "/audio/"} {
		if o, ok := b.sink.last(storage.LowLatency, name); ok {
			t.Logf("%s\n%s", o.Key, o.Body.Bytes())
		}
	}
	if o, ok := b.sink.last(storage.Multivariant, ""); ok {
		t.Logf("%s\n%s", o.Key, o.Body.Bytes())
	}
}
