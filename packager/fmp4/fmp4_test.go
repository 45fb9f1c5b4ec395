package fmp4

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Eyevinn/mp4ff/mp4"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/whipcast/whipcast/packager/au"
)

var update = flag.Bool("update", false, "rewrite golden files")

// recording is what one encoder made: its Params and its first six samples, the
// first of them a keyframe.
type recording struct {
	name      string
	params    *au.Params
	samples   []Sample
	timescale uint32
}

func recordings(t testing.TB) []recording {
	t.Helper()
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) != 7 {
		t.Fatalf("found %d recordings, want 7 (%v)", len(files), err)
	}
	var all []recording
	for _, file := range files {
		all = append(all, load(t, file))
	}
	return all
}

func load(t testing.TB, file string) recording {
	t.Helper()
	r := recording{name: strings.TrimSuffix(filepath.Base(file), ".json"), params: new(au.Params), timescale: 90000}
	text := readFile(t, file)
	if err := json.Unmarshal(text, r.params); err != nil {
		t.Fatalf("read %s: %v", file, err)
	}
	duration := uint32(3000)
	if r.params.SampleRate > 0 {
		r.timescale = uint32(r.params.SampleRate)
		duration = 960
		if r.params.Codec == "AAC" {
			duration = 1024
		}
	}
	data := readFile(t, strings.TrimSuffix(file, ".json")+".samples")
	for len(data) > 0 {
		n := binary.BigEndian.Uint32(data)
		r.samples = append(r.samples, Sample{
			Duration: duration,
			Key:      len(r.samples) == 0 || r.params.SampleRate > 0,
			Data:     data[4 : 4+n],
		})
		data = data[4+n:]
	}
	return r
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mustInit(t testing.TB, p *au.Params, timescale uint32) []byte {
	t.Helper()
	b, err := Init(p, timescale)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// decode reads a file with mp4ff, which knows nothing of how we write.
func decode(t testing.TB, file []byte) *mp4.File {
	t.Helper()
	f, err := mp4.DecodeFile(bytes.NewReader(file))
	if err != nil {
		t.Fatalf("decode: %v", err)
	}
	return f
}

// The box tree of an init segment and two fragments of each codec, as mp4ff
// reads them.
func TestBoxTrees(t *testing.T) {
	for _, r := range recordings(t) {
		t.Run(r.name, func(t *testing.T) {
			file := mustInit(t, r.params, r.timescale)
			file = AppendFragment(file, Fragment{Sequence: 7, Decode: 1 << 33, Samples: r.samples[:4]})
			file = AppendFragment(file, Fragment{Sequence: 8, Decode: 1<<33 + 4*uint64(r.samples[0].Duration), Samples: r.samples[4:]})
			var got bytes.Buffer
			if err := decode(t, file).Info(&got, "all:1", "", "  "); err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", r.name+".tree")
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(string(readFile(t, golden)), got.String()); diff != "" {
				t.Errorf("box tree changed (-want +got); run with -update if that is right:\n%s", diff)
			}
		})
	}
}

// Specs L1, L7, L8: what must be in each init segment.
func TestInitFollowsTheRules(t *testing.T) {
	entries := map[string]string{
		"H264": "avc1", "H265": "hvc1", "AV1": "av01", "VP9": "vp09", "Opus": "Opus", "AAC": "mp4a",
	}
	for _, r := range recordings(t) {
		t.Run(r.name, func(t *testing.T) {
			file := mustInit(t, r.params, r.timescale)
			if again := mustInit(t, r.params, r.timescale); !bytes.Equal(file, again) {
				t.Error("L22: the same Params gave different bytes; a hash of them is no name")
			}
			init := decode(t, file).Init
			if brands := init.Ftyp.CompatibleBrands(); brands[0] != "iso6" {
				t.Errorf("L1: compatible brands %v, want iso6 first", brands)
			}
			if len(init.Moov.Traks) != 1 || init.Moov.Mvex == nil {
				t.Fatalf("L1, L8: %d tracks, mvex %v", len(init.Moov.Traks), init.Moov.Mvex)
			}
			trak := init.Moov.Trak
			if init.Moov.Mvhd.Duration != 0 || trak.Tkhd.Duration != 0 || trak.Mdia.Mdhd.Duration != 0 {
				t.Error("L1: durations must be 0")
			}
			if trak.Edts != nil {
				t.Error("L10: edit list")
			}
			if got := trak.Mdia.Mdhd.Timescale; got != r.timescale {
				t.Errorf("timescale %d, want %d", got, r.timescale)
			}
			stbl := trak.Mdia.Minf.Stbl
			if len(stbl.Stts.SampleCount) != 0 || len(stbl.Stsc.Entries) != 0 || stbl.Stsz.SampleNumber != 0 || len(stbl.Stco.ChunkOffset) != 0 {
				t.Error("L1: sample tables must be empty")
			}
			if got := stbl.Stsd.Children[0].Type(); got != entries[r.params.Codec] {
				t.Errorf("L7: sample entry %s, want %s", got, entries[r.params.Codec])
			}
		})
	}
}

// The decoder configurations hold what the Params say.
func TestInitConfigurations(t *testing.T) {
	entry := func(t *testing.T, name string) (*mp4.StsdBox, *au.Params) {
		r := load(t, "testdata/"+name+".json")
		return decode(t, mustInit(t, r.params, r.timescale)).Init.Moov.Trak.Mdia.Minf.Stbl.Stsd, r.params
	}
	t.Run("L7 avcC has the parameter sets", func(t *testing.T) {
		stsd, p := entry(t, "obs-h264")
		c := stsd.AvcX.AvcC
		if diff := cmp.Diff([][][]byte{p.SPS, p.PPS}, [][][]byte{c.SPSnalus, c.PPSnalus}); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("L7 hvcC has the parameter sets, complete", func(t *testing.T) {
		stsd, p := entry(t, "x265")
		for i, want := range [][][]byte{p.VPS, p.SPS, p.PPS} {
			array := stsd.HvcX.HvcC.NaluArrays[i]
			if diff := cmp.Diff(want, array.Nalus); diff != "" || array.Complete() != 1 {
				t.Errorf("array %d: complete %d %s", i, array.Complete(), diff)
			}
		}
	})
	t.Run("av1C has the sequence header", func(t *testing.T) {
		stsd, p := entry(t, "chromium-av1")
		if got := stsd.Av01.Av1C.ConfigOBUs; !bytes.Equal(got, p.SequenceHeader) {
			t.Errorf("got %x, want %x", got, p.SequenceHeader)
		}
	})
	t.Run("R24 colr and pasp", func(t *testing.T) {
		r := load(t, "testdata/obs-h264.json")
		r.params.SARWidth, r.params.SARHeight = 4, 3
		r.params.FullRange = true
		trak := decode(t, mustInit(t, r.params, 90000)).Init.Moov.Trak
		children := trak.Mdia.Minf.Stbl.Stsd.AvcX.Children
		want := []mp4.Box{
			&mp4.PaspBox{HSpacing: 4, VSpacing: 3},
			&mp4.ColrBox{ColorType: "nclx", ColorPrimaries: 1, TransferCharacteristics: 1, MatrixCoefficients: 1, FullRangeFlag: true},
		}
		if diff := cmp.Diff(want, children[1:]); diff != "" {
			t.Error(diff)
		}
		if w, h := uint32(trak.Tkhd.Width), uint32(trak.Tkhd.Height); w != 640<<16*4/3 || h != 360<<16 {
			t.Errorf("presented at %x × %x", w, h)
		}
	})
	t.Run("R24 unspecified colour is not written", func(t *testing.T) {
		stsd, _ := entry(t, "chromium-av1")
		for _, c := range stsd.Av01.Children {
			if c.Type() == "colr" {
				t.Error("colr found")
			}
		}
	})
	t.Run("R50 dOps", func(t *testing.T) {
		stsd, _ := entry(t, "chromium-opus")
		want := &mp4.DopsBox{OutputChannelCount: 2, PreSkip: 312, InputSampleRate: 48000}
		if diff := cmp.Diff(want, stsd.Opus.Dops); diff != "" {
			t.Error(diff)
		}
	})
}

func TestInitRefuses(t *testing.T) {
	for _, tt := range []struct {
		name string
		p    au.Params
		want string
	}{
		{"unknown codec", au.Params{Codec: "VP8"}, "no MP4 mapping"},
		{"H264 without SPS", au.Params{Codec: "H264"}, "no SPS"},
		{"H265 without VPS", au.Params{Codec: "H265", SPS: [][]byte{{1}}, PPS: [][]byte{{1}}}, "no VPS"},
		{"H264 garbage", au.Params{Codec: "H264", SPS: [][]byte{{0}}, PPS: [][]byte{{0}}}, "SPS"},
		{"AV1 without header", au.Params{Codec: "AV1"}, "sequence header"},
		{"VP9 without size", au.Params{Codec: "VP9"}, "0x0"},
		{"R49 surround Opus", au.Params{Codec: "Opus", SampleRate: 48000, Channels: 6}, "6 channels"},
		{"odd AAC rate", au.Params{Codec: "AAC", SampleRate: 96000, Channels: 2}, "96000"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Init(&tt.p, 90000); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
	if _, err := Init(&au.Params{Codec: "Opus", SampleRate: 48000, Channels: 2}, 0); err == nil {
		t.Error("timescale 0 was accepted")
	}
}

// Whatever the samples, an independent reader gets them back.
func TestFragmentReadsBack(t *testing.T) {
	r := load(t, "testdata/obs-h264.json")
	init := mustInit(t, r.params, r.timescale)
	trex := decode(t, init).Init.Moov.Mvex.Trex
	sample := rapid.Custom(func(t *rapid.T) Sample {
		return Sample{
			Duration:    rapid.SampledFrom([]uint32{0, 1, 3000, 3003, 1<<32 - 1}).Draw(t, "duration"),
			Composition: rapid.SampledFrom([]int32{0, 3000, -3000, 1<<31 - 1, -1 << 31}).Draw(t, "composition"),
			Key:         rapid.Bool().Draw(t, "key"),
			Data:        rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "data"),
		}
	})
	event := rapid.Custom(func(t *rapid.T) Event {
		return Event{
			ID: rapid.Uint32().Draw(t, "id"), Time: rapid.Uint64().Draw(t, "time"), Timescale: rapid.Uint32().Draw(t, "timescale"),
			Duration: rapid.SampledFrom([]uint32{0, 1, 90000, 1<<32 - 1}).Draw(t, "duration"),
			Message:  rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "message"),
		}
	})
	rapid.Check(t, func(rt *rapid.T) {
		f := Fragment{
			Sequence: rapid.Uint32().Draw(rt, "sequence"),
			Decode:   rapid.Uint64().Draw(rt, "decode"),
			Samples:  rapid.SliceOfN(sample, 1, 12).Draw(rt, "samples"),
			Events:   rapid.SliceOfN(event, 0, 3).Draw(rt, "events"),
		}
		prefix := []byte("what was there")
		out := AppendFragment(bytes.Clone(prefix), f)
		if !bytes.HasPrefix(out, prefix) {
			rt.Fatal("dst was not kept")
		}
		out = out[len(prefix):]
		if len(out) != FragmentSize(f) {
			rt.Fatalf("FragmentSize %d, wrote %d", FragmentSize(f), len(out))
		}
		byReference := AppendHeader(nil, f)
		for _, s := range f.Samples {
			byReference = append(byReference, s.Data...)
		}
		if !bytes.Equal(out, byReference) {
			rt.Fatal("AppendHeader and data differ from AppendFragment")
		}
		checkFragment(rt, decode(t, append(bytes.Clone(init), out...)).Segments[0].Fragments[0], trex, f)
	})
}

func checkFragment(t rapid.TB, got *mp4.Fragment, trex *mp4.TrexBox, want Fragment) {
	checkEvents(t, got.Emsgs, want.Events)
	traf := got.Moof.Traf
	if got.Moof.Mfhd.SequenceNumber != want.Sequence || len(got.Moof.Trafs) != 1 {
		t.Fatalf("sequence %d, %d trafs", got.Moof.Mfhd.SequenceNumber, len(got.Moof.Trafs))
	}
	if !traf.Tfhd.DefaultBaseIfMoof() || traf.Tfhd.HasBaseDataOffset() {
		t.Fatal("L2: addressing is not relative to the moof")
	}
	if traf.Tfdt.Version != 1 || traf.Tfdt.BaseMediaDecodeTime() != want.Decode {
		t.Fatalf("L2, R9: tfdt version %d time %d", traf.Tfdt.Version, traf.Tfdt.BaseMediaDecodeTime())
	}
	if traf.Trun.Version != 1 {
		t.Fatal("R13: composition offsets are not signed")
	}
	samples, err := got.GetFullSamples(trex)
	if err != nil {
		t.Fatal(err)
	}
	if len(samples) != len(want.Samples) {
		t.Fatalf("%d samples, want %d", len(samples), len(want.Samples))
	}
	for i, s := range samples {
		w := want.Samples[i]
		flags := mp4.DecodeSampleFlags(s.Flags)
		depends := byte(1)
		if w.Key {
			depends = 2
		}
		if s.Dur != w.Duration || s.CompositionTimeOffset != w.Composition || !bytes.Equal(s.Data, w.Data) {
			t.Fatalf("sample %d: %+v, want %+v", i, s, w)
		}
		if flags.SampleIsNonSync == w.Key || flags.SampleDependsOn != depends {
			t.Fatalf("L9: sample %d: flags %s, key %v", i, flags, w.Key)
		}
	}
}

// Equal values are stored once: this matters for audio, at 8 bytes a sample of
// overhead that could be 4.
func TestFragmentIsSmall(t *testing.T) {
	r := load(t, "testdata/chromium-opus.json")
	data := 0
	for _, s := range r.samples {
		data += len(s.Data)
	}
	const boxes = 8 + 16 + 8 + 24 + 20 + 20 + 8
	if got, want := FragmentSize(Fragment{Samples: r.samples}), boxes+4*len(r.samples)+data; got != want {
		t.Errorf("%d bytes, want %d", got, want)
	}
}

// Specs L3: a segment is its parts; joined, they hold all samples once, in order.
func TestPartsMakeTheSegment(t *testing.T) {
	for _, r := range recordings(t) {
		t.Run(r.name, func(t *testing.T) {
			file := mustInit(t, r.params, r.timescale)
			trex := decode(t, file).Init.Moov.Mvex.Trex
			decodeTime := uint64(90000)
			for i := 0; i < len(r.samples); i += 2 {
				file = AppendFragment(file, Fragment{Sequence: uint32(i / 2), Decode: decodeTime, Samples: r.samples[i : i+2]})
				decodeTime += 2 * uint64(r.samples[i].Duration)
			}
			var got [][]byte
			next := uint64(90000)
			for _, segment := range decode(t, file).Segments {
				for _, fragment := range segment.Fragments {
					samples, err := fragment.GetFullSamples(trex)
					if err != nil {
						t.Fatal(err)
					}
					for _, s := range samples {
						if s.DecodeTime != next {
							t.Errorf("L5: decode time %d, want %d", s.DecodeTime, next)
						}
						next += uint64(s.Dur)
						got = append(got, s.Data)
					}
				}
			}
			var want [][]byte
			for _, s := range r.samples {
				want = append(want, s.Data)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A decoder that is not ours plays every codec: all frames, no complaint.
func TestFFmpegDecodes(t *testing.T) {
	for _, r := range recordings(t) {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			file := mustInit(t, r.params, r.timescale)
			file = AppendFragment(file, Fragment{Sequence: 1, Decode: 900000, Samples: r.samples[:3]})
			file = AppendFragment(file, Fragment{Sequence: 2, Decode: 900000 + 3*uint64(r.samples[0].Duration), Samples: r.samples[3:]})
			name := filepath.Join(t.TempDir(), "media.mp4")
			if err := os.WriteFile(name, file, 0o644); err != nil {
				t.Fatal(err)
			}
			probe := exec.CommandContext(t.Context(), "ffprobe", "-v", "warning", "-threads", "1",
				"-count_frames", "-show_entries", "stream=codec_tag_string,width,height,sample_rate,nb_read_frames",
				"-of", "csv=p=0:s=x", name)
			out, err := probe.CombinedOutput()
			if err != nil {
				t.Fatalf("run ffprobe (part of FFmpeg, which the tests need): %v\n%s", err, out)
			}
			want := map[string]string{
				"aac": "mp4ax48000x6", "chromium-av1": "av01x640x360x6", "chromium-h264": "avc1x320x180x6",
				"chromium-opus": "Opusx48000x6", "chromium-vp9": "vp09x320x180x6",
				"obs-h264": "avc1x640x360x6", "x265": "hvc1x320x180x6",
			}[r.name]
			if got := strings.TrimSpace(string(out)); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

// The hot path does not allocate when the caller has the room.
func TestAppendFragmentDoesNotAllocate(t *testing.T) {
	f := benchFragment()
	buf := make([]byte, 0, FragmentSize(f))
	if n := testing.AllocsPerRun(100, func() { buf = AppendFragment(buf[:0], f) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	f.Events = []Event{{ID: 1, Time: 1 << 40, Timescale: 90000, Message: []byte("ID3")}}
	buf = make([]byte, 0, FragmentSize(f))
	if n := testing.AllocsPerRun(100, func() { buf = AppendFragment(buf[:0], f) }); n != 0 {
		t.Errorf("%v allocations with an event", n)
	}
}

// benchFragment is 200 ms of 30 frames a second at 5 Mb/s: 125 KB.
func benchFragment() Fragment {
	f := Fragment{Sequence: 1, Decode: 1 << 40}
	for i := range 6 {
		size := 15_000
		if i == 0 {
			size = 50_000
		}
		f.Samples = append(f.Samples, Sample{Duration: 3000 + uint32(i%2), Key: i == 0, Data: make([]byte, size)})
	}
	return f
}

func BenchmarkPart(b *testing.B) {
	f := benchFragment()
	b.Run("fresh", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(FragmentSize(f)))
		for b.Loop() {
			AppendFragment(nil, f)
		}
	})
	b.Run("reused", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(FragmentSize(f)))
		buf := make([]byte, 0, FragmentSize(f))
		for b.Loop() {
			buf = AppendFragment(buf[:0], f)
		}
	})
	b.Run("header", func(b *testing.B) {
		b.ReportAllocs()
		buf := make([]byte, 0, 1<<10)
		for b.Loop() {
			buf = AppendHeader(buf[:0], f)
		}
	})
}

func BenchmarkInit(b *testing.B) {
	r := load(b, "testdata/obs-h264.json")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Init(r.params, r.timescale); err != nil {
			b.Fatal(err)
		}
	}
}
