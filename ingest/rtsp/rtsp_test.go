package rtsp

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v5"
	"github.com/bluenviron/gortsplib/v5/pkg/description"
	"github.com/bluenviron/gortsplib/v5/pkg/format"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/mpeg4audio"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"go.uber.org/goleak"

	"github.com/whipcast/whipcast/internal/problem"
	"github.com/whipcast/whipcast/internal/rtsp"
	"github.com/whipcast/whipcast/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func media(kind description.MediaType, formats ...format.Format) *description.Media {
	return &description.Media{Type: kind, Formats: formats}
}

func aac(change func(f *format.MPEG4Audio)) *format.MPEG4Audio {
	f := &format.MPEG4Audio{
		PayloadTyp: 97, SizeLength: 13, IndexLength: 3, IndexDeltaLength: 3,
		Config: &mpeg4audio.AudioSpecificConfig{Type: mpeg4audio.ObjectTypeAACLC, SampleRate: 44100, ChannelConfig: 2, ChannelCount: 2},
	}
	change(f)
	return f
}

// TestAnnounce: what is published in other codecs is refused in words; metadata is
// no matter.
func TestAnnounce(t *testing.T) {
	h264, same := &format.H264{PayloadTyp: 96, PacketizationMode: 1}, func(*format.MPEG4Audio) {}
	for name, tt := range map[string]struct {
		medias []*description.Media
		want   string // in the refusal; empty: taken
		codecs []string
	}{
		"H264 and AAC":  {[]*description.Media{media("audio", aac(same)), media("video", h264)}, "", []string{"H264", "AAC"}},
		"H265 and Opus": {[]*description.Media{media("video", &format.H265{PayloadTyp: 96}), media("audio", &format.Opus{PayloadTyp: 97, ChannelCount: 2})}, "", []string{"H265", "Opus"}},
		"AV1":           {[]*description.Media{media("video", &format.AV1{PayloadTyp: 96})}, "", []string{"AV1"}},
		"VP9":           {[]*description.Media{media("video", &format.VP9{PayloadTyp: 96})}, "", []string{"VP9"}},
		"metadata":      {[]*description.Media{media("video", h264), media("application", &format.KLV{PayloadTyp: 98})}, "", []string{"H264"}},
		"the second format": {
			[]*description.Media{media("video", &format.VP8{PayloadTyp: 95}, h264)}, "", []string{"H264"},
		},
		"VP8":           {[]*description.Media{media("video", &format.VP8{PayloadTyp: 96})}, "VP8 cannot be taken", nil},
		"MJPEG":         {[]*description.Media{media("video", &format.MJPEG{})}, "cannot be taken", nil},
		"G711":          {[]*description.Media{media("video", h264), media("audio", &format.G711{PayloadTyp: 8, SampleRate: 8000, ChannelCount: 1})}, "PCMA cannot be taken", nil},
		"two videos":    {[]*description.Media{media("video", h264), media("video", h264)}, "more than one video", nil},
		"nothing":       {nil, "neither video nor audio", nil},
		"5.1 Opus":      {[]*description.Media{media("audio", &format.Opus{PayloadTyp: 97, ChannelCount: 6})}, "6 channels", nil},
		"HE-AAC":        {[]*description.Media{media("audio", aac(func(f *format.MPEG4Audio) { f.Config.ExtensionType = mpeg4audio.ObjectTypeSBR }))}, "not AAC-LC", nil},
		"960 samples":   {[]*description.Media{media("audio", aac(func(f *format.MPEG4Audio) { f.Config.FrameLengthFlag = true }))}, "960", nil},
		"no channels":   {[]*description.Media{media("audio", aac(func(f *format.MPEG4Audio) { f.Config.ChannelConfig = 0 }))}, "how many channels", nil},
		"AAC-lbr":       {[]*description.Media{media("audio", aac(func(f *format.MPEG4Audio) { f.SizeLength = 6 }))}, "AAC-hbr", nil},
		"H265 with DON": {[]*description.Media{media("video", &format.H265{PayloadTyp: 96, MaxDONDiff: 1})}, "interleaved", nil},
	} {
		t.Run(name, func(t *testing.T) {
			d := &description.Session{Medias: tt.medias}
			err := New(Config{}, stream.NewHub(stream.Config{})).Announce(d)
			p, ok := errors.AsType[problem.Problem](err)
			if tt.want != "" {
				if !ok || p.Status != http.StatusUnsupportedMediaType || !strings.Contains(p.Detail, tt.want) {
					t.Errorf("got %v, want words with %q", err, tt.want)
				}
				return
			}
			var codecs []string
			tracks, _ := choose(d)
			for _, k := range tracks {
				codecs = append(codecs, k.layer.Codec.Name)
				if k.layer.OnRequest {
					t.Error("key frames are expected on request")
				}
			}
			if err != nil || !slices.Equal(codecs, tt.codecs) {
				t.Errorf("got %v %v, want %v", codecs, err, tt.codecs)
			}
		})
	}
}

// recording is a session without a network.
type recording struct {
	packet  func(m *description.Media, f format.Format, p *rtp.Packet)
	control func(m *description.Media, p rtcp.Packet)
}

func (r *recording) OnPacketRTPAny(cb gortsplib.OnPacketRTPAnyFunc) {
	r.packet = cb
}
func (r *recording) OnPacketRTCPAny(cb gortsplib.OnPacketRTCPAnyFunc) { r.control = cb }

// TestRecord: packets and sender reports go into the Stream, key frames have
// parameter sets, and the same publisher takes over.
func TestRecord(t *testing.T) {
	hub := stream.NewHub(stream.Config{})
	in := New(Config{}, hub)
	sps, pps := []byte{0x67, 1, 2}, []byte{0x68, 3}
	video := media("video", &format.H264{PayloadTyp: 96, PacketizationMode: 1, SPS: sps, PPS: pps})
	sound := media("audio", aac(func(*format.MPEG4Audio) {}))
	d := &description.Session{Medias: []*description.Media{sound, video}}
	var r recording
	run, err := in.Record(rtsp.Request{Stream: "door", Caller: rtsp.Caller{Principal: "owner"}}, d, &r)
	if err != nil {
		t.Fatal(err)
	}
	s, _ := hub.Lookup("door")
	state := s.State()
	if !state.Live || len(state.Sources) != 2 || state.Sources[0].Layer.Codec.Name != "H264" || state.Sources[1].Layer.Codec.Name != "AAC" {
		t.Fatalf("state %+v", state)
	}
	if c := state.Sources[1].Layer.Codec; c.ClockRate != 44100 || !strings.Contains(c.Fmtp, "config=1210") {
		t.Errorf("AAC is %+v", c)
	}
	sub, err := s.Subscribe(stream.LayerID{Kind: stream.Video})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	write := func(m *description.Media, payloadType uint8, sequence uint16, payload ...byte) {
		r.packet(m, m.Formats[0], &rtp.Packet{Header: rtp.Header{PayloadType: payloadType, SequenceNumber: sequence, Timestamp: uint32(sequence) * 3000, Marker: true}, Payload: payload})
	}
	write(video, 96, 65535, 0x65, 0x88)
	write(video, 95, 7, 0x65, 0x88) // of nobody
	write(sound, 97, 1, 0, 16, 0, 8, 1)
	r.control(video, &rtcp.SenderReport{NTPTime: 1 << 40, RTPTime: 65535 * 3000})
	r.control(video, &rtcp.ReceiverReport{})
	packets := make([]stream.Packet, 8)
	n, err := sub.Read(t.Context(), packets)
	if err != nil || n != 2 {
		t.Fatalf("%d packets, %v", n, err)
	}
	want := []byte{0x78, 0, 3, 0x67, 1, 2, 0, 2, 0x68, 3}
	if !slices.Equal(packets[0].Payload, want) || packets[0].Sequence != 65535 || packets[0].Marker || !packets[0].Keyframe {
		t.Errorf("the packet before the key frame: %+v", packets[0])
	}
	if packets[1].Sequence != 0 || !packets[1].Marker || packets[1].Timestamp != packets[0].Timestamp {
		t.Errorf("the key frame: %+v", packets[1])
	}
	if _, ok := state.Sources[0].Report(); !ok {
		t.Error("no sender report")
	}

	_, err = in.Record(rtsp.Request{Stream: "door", Caller: rtsp.Caller{Principal: "other"}}, d, &recording{})
	if p, _ := errors.AsType[problem.Problem](err); p.Status != http.StatusConflict {
		t.Errorf("another publisher: %v", err)
	}
	again, err := in.Record(rtsp.Request{Stream: "door", Caller: rtsp.Caller{Principal: "owner"}}, d, &recording{})
	if err != nil {
		t.Fatal(err)
	}
	notes, reason := run(t.Context())
	if !errors.Is(reason, stream.ErrTakenOver) || len(notes) != 2 {
		t.Errorf("ended with %v %v", notes, reason)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(rtsp.ErrTeardown)
	if _, reason := again(ctx); !errors.Is(reason, rtsp.ErrTeardown) || s.State().Live {
		t.Errorf("ended with %v", reason)
	}
	if _, err := in.Record(rtsp.Request{Stream: "..", Caller: rtsp.Caller{Principal: "owner"}}, d, &recording{}); !errors.Is(err, stream.ErrName) {
		t.Errorf("bad name: %v", err)
	}
	full := New(Config{}, stream.NewHub(stream.Config{MaxStreams: 1}))
	for i, name := range []string{"a", "b"} {
		run, err := full.Record(rtsp.Request{Stream: name}, d, &recording{})
		if p, _ := errors.AsType[problem.Problem](err); i == 1 && p.Status != http.StatusServiceUnavailable {
			t.Errorf("too many streams: %v", err)
		}
		if run != nil {
			_, _ = run(ctx)
		}
	}
}

// TestPrimer: parameter sets come before key frames that have none.
func TestPrimer(t *testing.T) {
	told := &format.H264{SPS: []byte{0x67, 1}, PPS: []byte{0x68, 2}}
	const packet = "\x78\x00\x02\x67\x01\x00\x02\x68\x02"
	type step struct {
		payload   string
		timestamp uint32
		want      string
	}
	for name, tt := range map[string]struct {
		format format.Format
		steps  []step
	}{
		"told":              {told, []step{{"\x65\x88", 1, packet}, {"\x41\x9a", 2, ""}, {"\x65\x88", 3, packet}}},
		"slices":            {told, []step{{"\x65\x88", 1, packet}, {"\x65\x08", 1, ""}, {"\x65\x08", 1, ""}, {"\x65\x88", 2, packet}}},
		"in parts":          {told, []step{{"\x7c\x85\x88", 1, packet}, {"\x7c\x05\x88", 1, ""}, {"\x7c\x45\x88", 1, ""}}},
		"with sets":         {told, []step{{"\x67\x03", 1, ""}, {"\x68\x04", 1, ""}, {"\x65\x88", 1, ""}, {"\x65\x88", 2, "\x78\x00\x02\x67\x03\x00\x02\x68\x04"}}},
		"with joined sets":  {told, []step{{"\x78\x00\x02\x67\x03\x00\x02\x68\x04", 1, ""}, {"\x65\x88", 1, ""}, {"\x41\x88", 2, ""}, {"\x65\x88", 3, "\x78\x00\x02\x67\x03\x00\x02\x68\x04"}}},
		"sets before":       {told, []step{{"\x67\x03", 1, ""}, {"\x68\x04", 1, ""}, {"\x65\x88", 2, ""}}},
		"SEI":               {told, []step{{"\x06\x05", 1, ""}, {"\x65\x88", 1, packet}}},
		"not told":          {&format.H264{}, []step{{"\x65\x88", 1, ""}, {"\x67\x03", 2, ""}, {"\x65\x88", 2, ""}, {"\x65\x88", 3, "\x78\x00\x02\x67\x03"}}},
		"half told":         {&format.H264{SPS: []byte{0x67, 1}}, []step{{"\x65\x88", 1, ""}}},
		"malformed":         {told, []step{{"", 1, ""}, {"\x78", 1, ""}, {"\x78\x00\x09\x67", 1, ""}, {"\x7c", 1, ""}, {"\x65", 1, ""}}},
		"another codec":     {&format.VP9{}, []step{{"\x65\x88", 1, ""}}},
		"H265":              {&format.H265{VPS: []byte{0x40, 1}, SPS: []byte{0x42, 1}, PPS: []byte{0x44, 1}}, []step{{"\x26\x01\xaf", 1, "\x60\x01\x00\x02\x40\x01\x00\x02\x42\x01\x00\x02\x44\x01"}, {"\x02\x01\xd0", 2, ""}, {"\x62\x01\x93\xaf", 3, "\x60\x01\x00\x02\x40\x01\x00\x02\x42\x01\x00\x02\x44\x01"}}},
		"H265 joined":       {&format.H265{VPS: []byte{0x40, 1}, SPS: []byte{0x42, 1}, PPS: []byte{0x44, 1}}, []step{{"\x60\x01\x00\x03\x40\x01\x02\x00\x03\x42\x01\x02\x00\x03\x44\x01\x02\x00\x03\x26\x01\xaf", 1, ""}}},
		"too large for one": {&format.H264{SPS: make([]byte, 1300), PPS: []byte{0x68}}, []step{{"\x65\x88", 1, ""}}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPrimer(tt.format)
			for i, s := range tt.steps {
				if got := string(p.before([]byte(s.payload), s.timestamp)); got != s.want {
					t.Errorf("step %d: %x, want %x", i, got, s.want)
				}
			}
		})
	}
}

// FuzzPrimer: whatever comes, what is put before it is a packet of whole units that
// came or were told, and memory is bounded.
func FuzzPrimer(f *testing.F) {
	f.Add([]byte("\x02\x65\x88\x02\x67\x03\x09\x78\x00\x02\x67\x03\x00\x02\x68\x04"), false)
	f.Add([]byte("\x03\x26\x01\xaf\x0a\x60\x01\x00\x03\x40\x01\x02\x00\x03\x42"), true)
	f.Fuzz(func(t *testing.T, b []byte, h265 bool) {
		p := newPrimer(&format.H264{SPS: []byte{0x67, 1}, PPS: []byte{0x68, 2}})
		if h265 {
			p = newPrimer(&format.H265{VPS: []byte{0x40, 1}, SPS: []byte{0x42, 1}, PPS: []byte{0x44, 1}})
		}
		for at := uint32(0); len(b) > 0; at++ {
			n := min(int(b[0]), len(b)-1)
			payload := b[1 : 1+n]
			b = b[1+n:]
			sets := p.before(payload, at/2)
			if len(p.fresh) > 16 || len(sets) > maxSets {
				t.Fatalf("%d sets, a packet of %d bytes", len(p.fresh), len(sets))
			}
			if sets == nil {
				continue
			}
			units := 0
			p.units(sets[len(p.kinds.head):], func(kind byte, _ []byte) {
				if units++; !p.kinds.set(kind) {
					t.Fatalf("a unit of type %d among the sets", kind)
				}
			})
			if units != len(p.sets) {
				t.Fatalf("%d units of %d", units, len(p.sets))
			}
		}
	})
}

// TestGuard: X29 what a source that no operator chose may be at.
func TestGuard(t *testing.T) {
	for at, want := range map[string]bool{
		"8.8.8.8:554": true, "8.8.8.8:322": true, "8.8.8.8:8554": true, "[2606:4700::1111]:554": true,
		"8.8.8.8:22": false, "8.8.8.8:80": false, "8.8.8.8:0": false, "127.0.0.1:8554": false, "8.8.8.8": false,
	} {
		if err := guard(t.Context(), "tcp", at, nil); (err == nil) != want {
			t.Errorf("%s: %v, want %v", at, err, want)
		}
	}
}

// TestGuardedSource: X29 a source that is not trusted cannot be on this machine,
// whatever its name; a trusted one is dialled, but not where it redirects to.
func TestGuardedSource(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for _, tt := range []struct {
		trusted  bool
		at, dial string
		want     error
	}{
		{false, "127.0.0.1:" + port, "127.0.0.1:" + port, ErrForbidden},
		{false, "localhost:" + port, "localhost:" + port, ErrForbidden},
		{true, "127.0.0.1:" + port, "127.0.0.1:" + port, nil},
		{true, "localhost:" + port, "localhost:" + port, nil},
		{true, "camera.example:554", "127.0.0.1:" + port, ErrForbidden},
	} {
		s := Source{Trusted: tt.trusted}
		c, err := s.dialer(tt.at)(t.Context(), "tcp", tt.dial)
		if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
			t.Errorf("%+v: %v", tt, err)
		}
		if c != nil {
			_ = c.Close()
		}
	}
}

// TestBackoff: waits grow, are bounded and differ.
func TestBackoff(t *testing.T) {
	for failed, want := range map[int]time.Duration{
		0: time.Second, 1: time.Second, 2: 2 * time.Second, 3: 4 * time.Second, 5: 16 * time.Second, 6: 30 * time.Second, 1000: 30 * time.Second,
	} {
		if least, most := backoff(failed, 0), backoff(failed, 1); least != want/2 || most != want {
			t.Errorf("after %d failures: %v to %v, want up to %v", failed, least, most, want)
		}
	}
}

// TestNoSecrets: no error of a source has anything of its URL but the host.
func TestNoSecrets(t *testing.T) {
	p, err := newPull(Source{Stream: "door", URL: "rtsp://admin:s3cr%23et@camera.example/live?key=abcdef"}, &Puller{log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if p.at != "camera.example:554" {
		t.Errorf("dials %s", p.at)
	}
	for _, text := range []string{
		"cannot do rtsp://admin:s3cr%23et@camera.example/live?key=abcdef", "wrong password s3cr#et", "no user admin", "no key=abcdef",
		"two\nlines of rtsp://admin:s3cr%23et@camera.example",
	} {
		got := p.plain(errors.New(text)).Error()
		for _, secret := range []string{"s3cr#et", "s3cr%23et", "abcdef", "admin", "\n"} {
			if strings.Contains(got, secret) {
				t.Errorf("%q becomes %q", text, got)
			}
		}
	}
	for _, url := range []string{"http://admin:s3cret@camera/1", "rtsp://", "s3cret", "rtsp://admin:s3cret@:554/x"} {
		if _, err := NewPuller([]Source{{Stream: "door", URL: url}}, nil, nil, slog.New(slog.DiscardHandler)); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: %v", url, err)
		}
	}
}
