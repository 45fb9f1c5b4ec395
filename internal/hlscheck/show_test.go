package hlscheck_test

import (
	"bytes"
	"fmt"
	"math"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Eyevinn/mp4ff/aac"
	"github.com/Eyevinn/mp4ff/avc"
	"github.com/Eyevinn/mp4ff/mp4"

	"github.com/whipcast/whipcast/internal/hlscheck"
)

// A presentation of two video renditions and two audio groups, generated as a
// publisher would: parts of half a second in segments of 2 s, 14 of them, of which 9
// stay listed. Segment 5 follows a discontinuity of 1 s with new init segments
// for the pictures; of the smaller one segment 7 is lost. Date ranges come, get
// their end, and go.
const (
	segments, window = 14, 9
	breakAt, lostAt  = 5, 7
	target           = 2
	partTarget       = 0.52 // AAC frames do not fit into half a second
	root             = "show/index.m3u8"
)

// track is one rendition of the show.
type track struct {
	name      string
	audio     bool
	timescale uint32
	frame     uint32
	inits     [2][]byte // before and after the discontinuity
	size      int       // bytes of a sample

	segments []*cut
	parts    int // published

	// What a test makes different.
	window  int           // segments that stay listed
	delay   int           // parts that it is published later
	offset  int           // ticks that its media begins late
	redated time.Duration // added to its dates
	renamed bool          // the same init segment gets another name after the discontinuity
}

// cut is one segment of a track.
type cut struct {
	msn    int
	disc   bool
	gap    bool
	init   int
	start  uint64 // ticks
	frames []int  // of the parts
	bodies [][]byte
}

// event is one thing that is published.
type event struct {
	kind string // multivariant, media, delta, file
	uri  string
	at   time.Time
	body string
	full string // of a delta
	n    int    // which of its URI and kind, from 1
}

func (k *track) dir() string   { return "show/p1/" + k.name }
func (k *track) index() string { return k.dir() + "/index.m3u8" }
func (k *track) initURI(n int) string {
	if k.audio && !k.renamed {
		n = 0
	}
	return fmt.Sprintf("init-%d.mp4", n)
}

func (k *track) seconds(ticks uint64) float64 { return float64(ticks) / float64(k.timescale) }

// when is the date of a time in the media.
func (k *track) when(ticks uint64) string {
	at := noon().Add(k.redated).Add(time.Duration(math.Round(k.seconds(ticks)*1000)) * time.Millisecond)
	return at.Format("2006-01-02T15:04:05.000Z")
}

// pictureInit returns an init segment of H.264.
func pictureInit(t *testing.T, width, height uint16, level byte) []byte {
	t.Helper()
	init := mp4.CreateEmptyInit()
	init.AddEmptyTrack(90000, "video", "und")
	config := &mp4.AvcCBox{DecConfRec: avc.DecConfRec{AVCProfileIndication: 0x42, ProfileCompatibility: 0xc0, AVCLevelIndication: level}}
	init.Moov.Trak.Mdia.Minf.Stbl.Stsd.AddChild(mp4.CreateVisualSampleEntryBox("avc1", width, height, config))
	var b bytes.Buffer
	if err := init.Encode(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// soundInit returns an init segment of AAC or Opus.
func soundInit(t *testing.T, codec string) []byte {
	t.Helper()
	init := mp4.CreateEmptyInit()
	init.AddEmptyTrack(48000, "audio", "und")
	if codec == "aac" {
		if err := init.Moov.Trak.SetAACDescriptor(aac.AAClc, 48000); err != nil {
			t.Fatal(err)
		}
	} else {
		dops := &mp4.DopsBox{OutputChannelCount: 2, PreSkip: 312, InputSampleRate: 48000}
		init.Moov.Trak.Mdia.Minf.Stbl.Stsd.AddChild(mp4.CreateAudioSampleEntryBox("Opus", 2, 16, 48000, dops))
	}
	var b bytes.Buffer
	if err := init.Encode(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// fragment returns one moof and mdat of a track.
func (k *track) fragment(t *testing.T, decode uint64, frames int, flags func(i int) uint32) []byte {
	t.Helper()
	f, err := mp4.CreateFragment(1, mp4.DefaultTrakID)
	if err != nil {
		t.Fatal(err)
	}
	for i := range frames {
		f.AddFullSample(mp4.FullSample{
			Sample:     mp4.NewSample(flags(i), k.frame, uint32(k.size), 0),
			DecodeTime: decode + uint64(i)*uint64(k.frame), Data: make([]byte, k.size),
		})
	}
	s := mp4.NewMediaSegmentWithoutStyp()
	s.AddFragment(f)
	var b bytes.Buffer
	if err := s.Encode(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// tracks returns the renditions with all their media. shape is called before
// the media is made, and after.
func tracks(t *testing.T, shape func([]*track)) []*track {
	t.Helper()
	all := []*track{
		{name: "video", timescale: 90000, frame: 9000, size: 1000, inits: [2][]byte{pictureInit(t, 1280, 720, 0x1f), pictureInit(t, 1280, 720, 0x20)}},
		{name: "video-m", timescale: 90000, frame: 9000, size: 300, inits: [2][]byte{pictureInit(t, 640, 360, 0x1e), pictureInit(t, 640, 360, 0x1f)}},
		{name: "aac", audio: true, timescale: 48000, frame: 1024, size: 40},
		{name: "opus", audio: true, timescale: 48000, frame: 960, size: 30},
	}
	for _, k := range all {
		if k.audio {
			init := soundInit(t, k.name)
			k.inits = [2][]byte{init, init}
		}
		k.window = window
	}
	shape(all)
	for _, k := range all {
		k.fill(t)
	}
	shape(all)
	return all
}

// fill makes the segments: a boundary is at the first frame that is not before
// the picture's.
func (k *track) fill(t *testing.T) {
	rate := uint64(k.timescale)
	for msn := range segments {
		c := &cut{msn: msn, disc: msn == breakAt, gap: k.name == "video-m" && msn == lostAt}
		epoch, first := uint64(0), 0
		if msn >= breakAt {
			epoch, first, c.init = (breakAt*target+1)*rate, breakAt, 1
		}
		frame := func(part int) uint64 { // the first frame of a part of this epoch
			return (uint64(part)*rate/2 + uint64(k.frame) - 1) / uint64(k.frame)
		}
		epoch += uint64(k.offset)
		for j := range 4 {
			n := 4*(msn-first) + j
			begin := epoch + frame(n)*uint64(k.frame)
			if j == 0 {
				c.start = begin
			}
			frames := int(frame(n+1) - frame(n))
			c.frames = append(c.frames, frames)
			c.bodies = append(c.bodies, k.fragment(t, begin, frames, func(i int) uint32 {
				if k.audio || j == 0 && i == 0 {
					return mp4.SyncSampleFlags
				}
				return mp4.NonSyncSampleFlags
			}))
		}
		k.segments = append(k.segments, c)
	}
}

func (k *track) partURI(msn, j int) string { return fmt.Sprintf("p%d.m4s", 4*msn+j) }

// text writes one segment; parts says how many of its parts are published, shown
// how many are shown, and first which segment is the first that is listed.
func (k *track) text(c *cut, parts, shown, first int) string {
	var b strings.Builder
	if c.disc {
		b.WriteString("#EXT-X-DISCONTINUITY\n")
	}
	if c.disc || c.msn == first || c.init != k.segments[c.msn-1].init {
		fmt.Fprintf(&b, "#EXT-X-MAP:URI=%q\n", k.initURI(c.init))
	}
	fmt.Fprintf(&b, "#EXT-X-PROGRAM-DATE-TIME:%s\n", k.when(c.start))
	ticks := uint64(0)
	for j := range parts {
		length := uint64(c.frames[j]) * uint64(k.frame)
		ticks += length
		if j >= shown {
			continue
		}
		fmt.Fprintf(&b, "#EXT-X-PART:DURATION=%.5f,URI=%q", k.seconds(length), k.partURI(c.msn, j))
		if c.gap {
			b.WriteString(",GAP=YES")
		} else if k.audio || j == 0 {
			b.WriteString(",INDEPENDENT=YES")
		}
		b.WriteString("\n")
	}
	if parts == 4 {
		if c.gap {
			b.WriteString("#EXT-X-GAP\n")
		}
		fmt.Fprintf(&b, "#EXTINF:%.5f,\ns%d.m4s\n", k.seconds(ticks), c.msn)
	}
	return b.String()
}

// playlist writes the version in which k.parts are published. skip is 0 for the
// full one, or the version of the delta update.
func (k *track) playlist(all []*track, skip int) string {
	full := k.parts / 4
	first := max(0, full-k.window)
	skipped := 0
	if skip > 0 {
		skipped = k.skippable(first, full)
	}
	version := []int{6, 9, 10}[skip]
	var b strings.Builder
	fmt.Fprintf(&b, "#EXTM3U\n#EXT-X-VERSION:%d\n#EXT-X-TARGETDURATION:%d\n", version, target)
	b.WriteString("#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.56,CAN-SKIP-UNTIL=12,CAN-SKIP-DATERANGES=YES\n")
	fmt.Fprintf(&b, "#EXT-X-PART-INF:PART-TARGET=%.2f\n#EXT-X-MEDIA-SEQUENCE:%d\n", partTarget, first)
	discs := 0
	for _, c := range k.segments[:first] {
		if c.disc {
			discs++
		}
	}
	fmt.Fprintf(&b, "#EXT-X-DISCONTINUITY-SEQUENCE:%d\n", discs)
	if skip > 0 {
		fmt.Fprintf(&b, "#EXT-X-SKIP:SKIPPED-SEGMENTS=%d", skipped)
		if skip == 2 {
			b.WriteString(`,RECENTLY-REMOVED-DATERANGES=""`)
		}
		b.WriteString("\n")
	}
	if skip < 2 {
		b.WriteString(ranges(full, first))
	}
	for _, c := range k.segments[first+skipped : full] {
		shown := 4
		if c.msn < full-3 {
			shown = 0
		}
		b.WriteString(k.text(c, 4, shown, first))
	}
	if open := k.parts % 4; open > 0 {
		b.WriteString(k.text(k.segments[full], open, open, first))
	}
	if k.parts == 4*segments {
		return b.String() + "#EXT-X-ENDLIST\n"
	}
	fmt.Fprintf(&b, "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=%q\n", k.partURI(k.parts/4, k.parts%4))
	for _, other := range all {
		if last := other.parts - 1; other != k && last >= 0 {
			fmt.Fprintf(&b, "#EXT-X-RENDITION-REPORT:URI=\"../%s/index.m3u8\",LAST-MSN=%d,LAST-PART=%d\n", other.name, last/4, last%4)
		}
	}
	return b.String()
}

// length returns how many ticks a segment lasts.
func (c *cut) length(k *track) uint64 {
	frames := 0
	for _, n := range c.frames {
		frames += n
	}
	return uint64(frames) * uint64(k.frame)
}

// skippable counts the segments that end more than 12 s before the last one.
func (k *track) skippable(first, full int) int {
	rest := uint64(0)
	for i, c := range slices.Backward(k.segments[first:full]) {
		if k.seconds(rest) >= 12 {
			return i + 1
		}
		rest += c.length(k)
	}
	return 0
}

// ranges writes the date range: a break from 3 s on, whose end is told at 6 s,
// until the segment in which it ends has gone.
func ranges(full, first int) string {
	if full < 1 || first > 3 {
		return ""
	}
	text := "#EXT-X-DATERANGE:ID=\"ad\",CLASS=\"ads\",START-DATE=\"2026-11-20T12:00:03.000Z\",SCTE35-OUT=0xFC30\n"
	if full >= 3 {
		text += "#EXT-X-DATERANGE:ID=\"ad\",DURATION=3.0,SCTE35-IN=0xFC31\n"
	}
	return text
}

// multivariant writes the multivariant playlist; bandwidths are what the media
// needs, rounded up.
func multivariant(all []*track) string {
	peak := func(k *track) (bits float64) {
		for _, c := range k.segments {
			bits = max(bits, float64(8*len(bytes.Join(c.bodies, nil)))/k.seconds(c.length(k)))
		}
		return bits
	}
	var b strings.Builder
	b.WriteString("#EXTM3U\n#EXT-X-VERSION:4\n#EXT-X-INDEPENDENT-SEGMENTS\n")
	for _, k := range all[2:] {
		fmt.Fprintf(&b, "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=%q,NAME=\"Audio\",DEFAULT=YES,AUTOSELECT=YES,CHANNELS=\"2\",URI=\"p1/%s/index.m3u8\"\n", k.name, k.name)
	}
	for _, sound := range all[2:] {
		for i, k := range all[:2] {
			bandwidth := int(math.Ceil(peak(k) + peak(sound)))
			fmt.Fprintf(&b, "#EXT-X-STREAM-INF:BANDWIDTH=%d,AVERAGE-BANDWIDTH=%d", bandwidth, bandwidth)
			fmt.Fprintf(&b, ",CODECS=\"%s,%s\"", []string{"avc1.42c020", "avc1.42c01f"}[i], map[string]string{"aac": "mp4a.40.2", "opus": "Opus"}[sound.name])
			fmt.Fprintf(&b, ",RESOLUTION=%s,FRAME-RATE=10.000,VIDEO-RANGE=SDR", []string{"1280x720", "640x360"}[i])
			fmt.Fprintf(&b, ",AUDIO=%q,SCORE=%d\np1/%s/index.m3u8\n", sound.name, 4-i, k.name)
		}
	}
	return b.String()
}

// publication returns all that is published, in order.
func publication(t *testing.T, shape func([]*track)) []event {
	t.Helper()
	all := tracks(t, shape)
	last := 0
	for _, k := range all {
		last = max(last, k.delay)
	}
	var events []event
	counts := map[string]int{}
	put := func(e event) {
		counts[e.kind+e.uri]++
		e.n = counts[e.kind+e.uri]
		events = append(events, e)
	}
	for n := range 4*segments + last {
		at := noon().Add(time.Duration(n+1) * 500 * time.Millisecond)
		if n >= 4*breakAt {
			at = at.Add(time.Second)
		}
		for _, k := range all {
			if mine := n - k.delay; mine >= 0 && mine < 4*segments {
				publish(k, mine, at, all, put)
			}
		}
		if n == 3 || n == 4*segments-1 {
			put(event{kind: "multivariant", uri: root, at: at, body: multivariant(all)})
		}
	}
	return events
}

// publish puts one part of a track and what comes with it.
func publish(k *track, n int, at time.Time, all []*track, put func(event)) {
	msn, j := n/4, n%4
	c := k.segments[msn]
	if n == 0 || n == 4*breakAt {
		for i, init := range k.inits {
			put(event{kind: "file", uri: path.Join(k.dir(), k.initURI(i)), at: at, body: string(init)})
		}
	}
	if !c.gap {
		put(event{kind: "file", uri: path.Join(k.dir(), k.partURI(msn, j)), at: at, body: string(c.bodies[j])})
	}
	if j == 3 && !c.gap {
		put(event{kind: "file", uri: path.Join(k.dir(), fmt.Sprintf("s%d.m4s", msn)), at: at, body: string(bytes.Join(c.bodies, nil))})
	}
	k.parts = n + 1
	full := k.playlist(all, 0)
	put(event{kind: "media", uri: k.index(), at: at, body: full})
	if closed := k.parts / 4; j%2 == 0 && k.skippable(max(0, closed-k.window), closed) > 0 && closed < segments {
		put(event{kind: "delta", uri: k.index(), at: at, body: k.playlist(all, 1), full: full})
		if at.Sub(noon()) > 19*time.Second && at.Sub(noon()) < 24*time.Second { // both tags of the date range are old, and listed
			put(event{kind: "delta2", uri: k.index(), at: at, body: k.playlist(all, 2), full: full})
		}
	}
}

// check gives events to a checker.
func check(c *hlscheck.Checker, events []event) {
	for _, e := range events {
		switch e.kind {
		case "multivariant":
			c.Multivariant(e.uri, []byte(e.body))
		case "media":
			c.Media(e.uri, e.at, []byte(e.body))
		case "delta", "delta2":
			c.Delta(e.uri, []byte(e.full), []byte(e.body))
		case "file":
			c.File(e.uri, []byte(e.body))
		case "restart":
			c.Restart()
		}
	}
	c.CheckFiles()
}

func asIs([]*track) {}

func TestGoodPresentation(t *testing.T) {
	events := publication(t, asIs)
	var c hlscheck.Checker
	check(&c, events)
	if v := c.Violations(); len(v) > 0 {
		t.Fatal(v)
	}
	kinds := map[string]int{}
	for _, e := range events {
		kinds[e.kind]++
	}
	if n := c.CheckFiles(); n != 4*segments-1 {
		t.Errorf("%d segments were compared with their parts", n)
	}
	if kinds["delta"] == 0 || kinds["delta2"] == 0 || kinds["media"] != 4*4*segments {
		t.Errorf("the presentation is not what it should be: %v", kinds)
	}
	// As players see it: later, and not all in order.
	player := hlscheck.Checker{Lag: 2 * time.Second}
	for i, e := range slices.Clone(events) {
		if strings.Contains(e.uri, "aac") {
			events[i].at = e.at.Add(1500 * time.Millisecond)
		}
	}
	slices.SortStableFunc(events, func(a, b event) int { return a.at.Compare(b.at) })
	check(&player, events)
	if v := player.Violations(); len(v) > 0 {
		t.Error(v)
	}
}
