package packager

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Eyevinn/mp4ff/mp4"
	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"

	"github.com/whipcast/whipcast/storage"
	"github.com/whipcast/whipcast/stream"
)

// picture is an access unit as an encoder made it, in decoding order.
type picture struct {
	pts     int64 // of 90 kHz, the first one shown is 0
	content []byte
}

// encoded makes four seconds of video, 30 pictures a second.
func encoded(t *testing.T, options []string, filter string) []picture {
	t.Helper()
	dir := t.TempDir()
	file, raw := filepath.Join(dir, "clip.mkv"), filepath.Join(dir, "raw")
	ffmpeg := func(args ...string) []byte {
		cmd := exec.CommandContext(t.Context(), "ffmpeg", append([]string{"-nostdin", "-v", "error", "-y"}, args...)...)
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("ffmpeg %v: %v", args, err)
		}
		return out
	}
	ffmpeg(append(append([]string{"-f", "lavfi", "-i", "testsrc2=size=256x144:rate=30", "-t", "4"}, options...), file)...)
	copied := []string{"-map", "0:v", "-c", "copy"}
	if filter != "" {
		copied = append(copied, "-bsf:v", filter)
	}
	list := ffmpeg(slices.Concat([]string{"-copyts", "-i", file}, copied, []string{"-f", "framecrc", "-"}, copied, []string{"-f", "data", raw})...)
	content, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	var all []picture
	for line := range strings.Lines(string(list)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Split(line, ",")
		number := func(i int) int64 {
			n, err := strconv.ParseInt(strings.TrimSpace(fields[i]), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		size := number(4)
		index := (number(2)*30 + 500) / 1000 // milliseconds
		all = append(all, picture{pts: index * 3000, content: content[:size]})
		content = content[size:]
	}
	if len(all) != 120 || len(content) > 0 {
		t.Fatalf("%d pictures, %d bytes left", len(all), len(content))
	}
	return all
}

// broadcast publishes pictures, each when its encoder has all that it needs, and
// sound of the same instants. RTP timestamps are presentation times (RFC 6184 §5.1).
func broadcast(x *stream.Session, pictures []picture, payloader rtp.Payloader) {
	const base = 0xfffe0000 // it wraps after a second and a half
	id := stream.LayerID{Kind: stream.Video}
	begin, captured := time.Now(), int64(0)
	sequence, sounds := uint16(65500), 0
	for _, p := range pictures {
		captured = max(captured, p.pts)
		at := fromTicks(captured, videoRate)
		for ; time.Duration(sounds)*20*time.Millisecond <= at; sounds++ {
			heard := time.Duration(sounds) * 20 * time.Millisecond
			time.Sleep(time.Until(begin.Add(heard)))
			speak(x, uint16(sounds), uint32(sounds*960), heard)
			if sounds%25 == 1 {
				x.Report(stream.LayerID{Kind: stream.Audio}, ntp(heard), uint32(toTicks(heard, opusRate)), time.Now())
				x.Report(id, ntp(heard), base+uint32(toTicks(heard, videoRate)), time.Now())
			}
		}
		time.Sleep(time.Until(begin.Add(at)))
		payloads := payloader.Payload(1000, p.content)
		for i, payload := range payloads {
			x.Write(id, stream.Packet{
				Arrival: time.Now(), Timestamp: base + uint32(p.pts), Sequence: sequence, Marker: i == len(payloads)-1, Payload: payload,
			})
			sequence++
		}
	}
}

// TestCodecs: what encoders make becomes HLS that says what it is: CODECS, sample
// entry, colour and aspect from the bitstream. B-frames are shown at the times they
// were captured at, with the sound of that instant (R9, R13, R24, R52, L6, L7, L84 to
// L89).
func TestCodecs(t *testing.T) {
	h264 := []string{"-c:v", "libx264", "-preset", "veryfast", "-g", "60", "-pix_fmt", "yuv420p"}
	for _, tt := range []struct {
		name, codec string
		options     []string
		filter      string
		payloader   rtp.Payloader
		codecs      string // in the multivariant playlist, its beginning
		vRange      string
		look        look
	}{
		{
			"H264 with B-frames", "H264",
			append(h264, "-profile:v", "high", "-bf", "3", "-vf", "setsar=4/3",
				"-x264-params", "b-adapt=0:b-pyramid=normal:repeat-headers=1:colorprim=bt709:transfer=bt709:colormatrix=bt709"),
			"h264_mp4toannexb", &codecs.H264Payloader{}, "avc1.6400", "SDR",
			look{"avc1", [3]uint16{1, 1, 1}, [2]uint32{4, 3}, true},
		},
		{
			"H264 baseline", "H264",
			append(h264, "-profile:v", "baseline", "-x264-params", "repeat-headers=1"),
			"h264_mp4toannexb", &codecs.H264Payloader{}, "avc1.42c0", "SDR",
			look{"avc1", [3]uint16{}, [2]uint32{1, 1}, false},
		},
		{
			"H265 in HDR with B-frames", "H265",
			[]string{
				"-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p10le", "-x265-params",
				"log-level=error:keyint=60:min-keyint=60:bframes=3:b-adapt=0:open-gop=0:repeat-headers=1:" +
					"colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc",
			},
			"hevc_mp4toannexb", &codecs.H265Payloader{}, "hvc1.2.4.L", "PQ",
			look{"hvc1", [3]uint16{9, 16, 9}, [2]uint32{1, 1}, true},
		},
		{
			"VP9", "VP9",
			[]string{
				"-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-g", "60", "-lag-in-frames", "0",
				"-auto-alt-ref", "0", "-pix_fmt", "yuv420p", "-colorspace", "bt709",
			},
			"", &codecs.VP9Payloader{}, "vp09.00.", "SDR",
			look{"vp09", [3]uint16{1, 1, 1}, [2]uint32{1, 1}, false},
		},
		{
			"AV1", "AV1",
			[]string{
				"-c:v", "libaom-av1", "-usage", "realtime", "-cpu-used", "8", "-g", "60", "-lag-in-frames", "0", "-pix_fmt", "yuv420p",
				"-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709",
			},
			"", &codecs.AV1Payloader{}, "av01.0.0", "SDR",
			look{"av01", [3]uint16{1, 1, 1}, [2]uint32{1, 1}, false},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pictures := encoded(t, tt.options, tt.filter)
			var b *bench
			synctest.Test(t, func(t *testing.T) {
				b = setUp(t, Config{})
				x := b.publish(t, video(tt.codec), audio())
				broadcast(x, pictures, tt.payloader)
				time.Sleep(300 * time.Millisecond)
				x.Close(nil)
				time.Sleep(100 * time.Millisecond)
				b.stop(t)
			})
			master := b.master(t)
			for _, want := range []string{`CODECS="` + tt.codecs, "RESOLUTION=256x144", "FRAME-RATE=30.000", "VIDEO-RANGE=" + tt.vRange} {
				if tt.look.aspect[0] != tt.look.aspect[1] && strings.HasPrefix(want, "RESOLUTION") {
					want = "RESOLUTION=341x144"
				}
				if !strings.Contains(master, want) {
					t.Errorf("the multivariant playlist has no %s:\n%s", want, master)
				}
			}
			runs := b.sink.content(t, "video")
			if len(runs) != 1 {
				t.Fatalf("%d runs, want 1", len(runs))
			}
			runs[0].decode(t)
			shown := b.shown(t, &runs[0], tt.look)
			decoded(t, &runs[0], shown)
			if t.Failed() {
				display(t, b)
			}
		})
	}
}

// look is what an init segment says of pictures, and whether they have another order
// than that of decoding.
type look struct {
	entry    string
	colour   [3]uint16 // zero: whatever
	aspect   [2]uint32 // of a pixel
	reorders bool
}

// shown checks the init segment of a run and its times, and returns when its
// pictures are shown, in that order.
func (b *bench) shown(t *testing.T, run *continuous, want look) []int64 {
	t.Helper()
	run.continuity(t, 0)
	f, err := mp4.DecodeFile(bytes.NewReader(run.file))
	if err != nil {
		t.Fatal(err)
	}
	box := f.Init.Moov.Trak.Mdia.Minf.Stbl.Stsd.Children[0].(*mp4.VisualSampleEntryBox)
	if box.Type() != want.entry {
		t.Errorf("sample entry %s, want %s", box.Type(), want.entry)
	}
	var got [3]uint16
	var sar [2]uint32
	for _, child := range box.Children {
		switch c := child.(type) {
		case *mp4.ColrBox:
			got = [3]uint16{c.ColorPrimaries, c.TransferCharacteristics, c.MatrixCoefficients}
		case *mp4.PaspBox:
			sar = [2]uint32{c.HSpacing, c.VSpacing}
		}
	}
	if got != want.colour && want.colour != [3]uint16{} || sar != want.aspect {
		t.Errorf("R24: colour %v and aspect %v, want %v and %v", got, sar, want.colour, want.aspect)
	}
	var times []int64
	reordered := false
	for _, segment := range f.Segments {
		for _, fragment := range segment.Fragments {
			samples, err := fragment.GetFullSamples(f.Init.Moov.Mvex.Trex)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range samples {
				if s.CompositionTimeOffset < 0 || s.CompositionTimeOffset > 5*3000 {
					t.Errorf("R13: a picture is shown %d ticks after it is decoded", s.CompositionTimeOffset)
				}
				reordered = reordered || s.CompositionTimeOffset > 0
				times = append(times, s.PresentationTime())
			}
		}
	}
	if reordered != want.reorders {
		t.Errorf("R13: reordered: %v, want %v", reordered, want.reorders)
	}
	slices.Sort(times)
	for i := range times {
		if times[i]-times[0] != int64(i)*3000 {
			t.Fatalf("R13: picture %d is shown %d ticks after the first one, want %d", i, times[i]-times[0], i*3000)
		}
	}
	// Picture 0 was captured at 0, and sounds tell when they were.
	if d := fromTicks(times[0], videoRate) - b.lag(t, "audio", opusRate); d.Abs() > 10*time.Millisecond || len(times) != 120 {
		t.Errorf("R52: %d pictures, the first one is shown %v after its sound", len(times), d)
	}
	return times
}

// decoded lets FFmpeg decode a run: pictures come out in order, at the given times.
func decoded(t *testing.T, run *continuous, want []int64) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "run.mp4")
	if err := os.WriteFile(path, run.file, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", "frame=pts",
		"-of", "csv=p=0", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(out)) {
		if pts := strings.Trim(line, ",\n"); pts != "" { // lines of side data are
			got = append(got, pts)
		}
	}
	for i := range want {
		if i >= len(got) || got[i] != fmt.Sprint(want[i]) {
			t.Fatalf("R13: FFmpeg shows %d pictures at %v, want %d at %v", len(got), got[:min(len(got), i+2)], len(want), want[:i+1])
		}
	}
	if len(got) != len(want) {
		t.Errorf("FFmpeg shows %d pictures, want %d", len(got), len(want))
	}
}

// talk publishes Opus packets of the given bytes at the times they are for.
func talk(x *stream.Session, begin time.Time, at time.Duration, sequence uint16, payload []byte) {
	time.Sleep(time.Until(begin.Add(at)))
	x.Write(stream.LayerID{Kind: stream.Audio}, stream.Packet{
		Arrival: time.Now(), Timestamp: 1<<32 - 48000 + uint32(toTicks(at, opusRate)), Sequence: sequence, Marker: true, Payload: payload,
	})
}

// TestOpusPackets: packets of 2.5 to 120 ms, mono and stereo in turn, pauses of
// DTX, and loss: the sound is contiguous, at its true time, and the number of
// channels stays (R45 to R48, R50, L5).
func TestOpusPackets(t *testing.T) {
	ms := func(f float64) time.Duration { return time.Duration(f * float64(time.Millisecond)) }
	for _, tt := range []struct {
		name    string
		toc     []byte // of the packets, in turn; they last as long as they say
		each    []time.Duration
		pause   time.Duration // between the packets of the second and third second: DTX
		lose    int           // one packet of so many; 0: none
		silence bool
	}{
		{"2.5 ms", []byte{0xe4}, []time.Duration{ms(2.5)}, 0, 0, false},
		{"5 ms", []byte{0xec}, []time.Duration{ms(5)}, 0, 0, false},
		{"10 ms", []byte{0xf4}, []time.Duration{ms(10)}, 0, 0, false},
		{"40 ms", []byte{0x14}, []time.Duration{ms(40)}, 0, 0, false},
		{"60 ms", []byte{0x1c}, []time.Duration{ms(60)}, 0, 0, false},
		{"120 ms", []byte{0x1d}, []time.Duration{ms(120)}, 0, 0, false},
		{"mono and stereo", []byte{0xf8, 0xfc, 0x7c}, []time.Duration{ms(20), ms(20), ms(20)}, 0, 0, false},
		{"all lengths in turn", []byte{0xe4, 0x1d, 0xf4, 0x18, 0xfc}, []time.Duration{ms(2.5), ms(120), ms(10), ms(60), ms(20)}, 0, 0, false},
		{"DTX", []byte{0xfc}, []time.Duration{ms(20)}, ms(400), 0, true},
		{"1 % loss", []byte{0xfc}, []time.Duration{ms(20)}, 0, 100, true},
		{"5 % loss", []byte{0xfc}, []time.Duration{ms(20)}, 0, 20, true},
		{"20 % loss", []byte{0xfc}, []time.Duration{ms(20)}, 0, 5, true},
		{"20 % loss of 60 ms", []byte{0x1c}, []time.Duration{ms(60)}, 0, 5, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := scenario(t, Config{}, func(t *testing.T, b *bench) {
				b.frame = slices.Max(tt.each) + ms(5)
				x := b.publish(t, video("VP9"), audio())
				c := newCamera(x)
				c.audio = false
				done := make(chan struct{})
				go func() { c.run(0, 6*time.Second); close(done) }()
				begin, sequence := time.Now(), uint16(65000)
				for i, at := 0, time.Duration(0); at < 6*time.Second; i++ {
					k := i % len(tt.toc)
					if tt.lose == 0 || i%tt.lose != tt.lose-1 {
						payload := stamp([]byte{tt.toc[k], 0, 0, 0, 0, 0, 0, 0, 0}, 1, at)
						talk(x, begin, at, sequence, payload)
					}
					if tt.pause == 0 || at < 2*time.Second || at > 4*time.Second {
						at += tt.each[k]
					} else {
						at += tt.pause
					}
					sequence++
				}
				<-done
				time.Sleep(400 * time.Millisecond)
				x.Close(nil)
				b.stop(t)
			})
			b.level(t, "video")
			if n := b.tags(t, "audio", "#EXT-X-DISCONTINUITY\n") + len(b.gaps(t, "audio")); n > 0 {
				t.Errorf("%d discontinuities and gaps, want none", n)
			}
			inits := 0
			for _, o := range b.sink.history {
				if o.Kind == storage.Init && strings.Contains(o.Key, "/audio/") {
					inits++
				}
			}
			runs := b.sink.content(t, "audio")
			if len(runs) != 1 || inits != 1 {
				t.Fatalf("R46: %d runs, %d init segments, want 1", len(runs), inits)
			}
			runs[0].continuity(t, 0)
			silence := false
			for _, m := range b.moments(t, "audio") {
				silence = silence || m.silence > 0
				if d := (m.at - m.captured).Abs(); d > ms(10) {
					t.Errorf("R45: the sound of segment %d is %v beside its time", m.msn, d)
				}
			}
			if silence != tt.silence {
				t.Errorf("R47, R48: silence: %v, want %v", silence, tt.silence)
			}
		})
	}
}
