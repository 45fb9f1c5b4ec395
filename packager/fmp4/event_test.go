package fmp4

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Eyevinn/mp4ff/mp4"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// checkEvents compares what an independent reader found.
func checkEvents(t rapid.TB, got []*mp4.EmsgBox, want []Event) {
	if len(got) != len(want) {
		t.Fatalf("%d events, want %d", len(got), len(want))
	}
	for i, w := range want {
		duration := w.Duration
		if duration == 0 {
			duration = 1<<32 - 1
		}
		is := &mp4.EmsgBox{
			Version: 1, TimeScale: w.Timescale, PresentationTime: w.Time, EventDuration: duration, ID: w.ID,
			SchemeIDURI: "https://aomedia.org/emsg/ID3", MessageData: got[i].MessageData,
		}
		if diff := cmp.Diff(is, got[i]); diff != "" || !bytes.Equal(got[i].MessageData, w.Message) {
			t.Fatalf("event %d: %s; message %x, want %x", i, diff, got[i].MessageData, w.Message)
		}
	}
}

// Byte for byte, written out from ID3v2.4.0 and ISO/IEC 23009-1.
func TestEventBytes(t *testing.T) {
	tag, err := ID3(ID3Text("title", "Grüße"), ID3Private("a@b", []byte{1, 0, 2}))
	if err != nil {
		t.Fatal(err)
	}
	wantTag := unhex(t, `
		494433 0400 00 0000002f
		54585858 0000000e 0000  03 7469746c65 00 4772c3bcc39f65
		50524956 00000007 0000  614062 00 010002`)
	wantTag[9] = 10 + 14 + 10 + 7
	if diff := cmp.Diff(hex.Dump(wantTag), hex.Dump(tag)); diff != "" {
		t.Error(diff)
	}
	got := AppendFragment(nil, Fragment{
		Sequence: 7, Decode: 90000, Samples: []Sample{{Duration: 3000, Key: true, Data: []byte{0xaa}}},
		Events: []Event{{ID: 0x01020304, Time: 0x1_0000_0005, Timescale: 90000, Duration: 45000, Message: tag}},
	})
	scheme := hex.EncodeToString([]byte("https://aomedia.org/emsg/ID3"))
	want := unhex(t, `
		0000006b 656d7367 01000000 00015f90 0000000100000005 0000afc8 01020304 `+scheme+` 00 00`+hex.EncodeToString(tag)+`
		00000064 6d6f6f66
		00000010 6d666864 00000000 00000007
		0000004c 74726166
		00000018 74666864 00020028 00000001 00000bb8 02000000
		00000014 74666474 01000000 0000000000015f90
		00000018 7472756e 01000201 00000001 0000006c 00000001
		00000009 6d646174 aa`)
	want[3] = byte(62 + len(tag))
	if diff := cmp.Diff(hex.Dump(want), hex.Dump(got)); diff != "" {
		t.Error(diff)
	}
}

// The tag reads back with a size of more than seven bits, where a plain number
// would differ.
func TestID3SizesAreSynchsafe(t *testing.T) {
	tag, err := ID3(ID3Private("x", make([]byte, 300)))
	if err != nil {
		t.Fatal(err)
	}
	// 302 bytes in the frame, 312 in the tag.
	if got := [2][]byte{tag[6:10], tag[14:18]}; !bytes.Equal(got[0], []byte{0, 0, 2, 0x38}) || !bytes.Equal(got[1], []byte{0, 0, 2, 0x2e}) {
		t.Errorf("sizes %x", got)
	}
}

func TestID3Refuses(t *testing.T) {
	for name, frames := range map[string][]ID3Frame{
		"nothing":               nil,
		"no frame":              {{}},
		"a zero":                {ID3Text("a", "b\x00c")},
		"a zero in its name":    {ID3Text("a\x00", "b")},
		"no UTF-8":              {ID3Text("a", "\xff")},
		"no owner":              {ID3Private("", nil)},
		"an owner beyond ASCII": {ID3Private("ü", nil)},
		"too much":              {ID3Private("x", make([]byte, MaxID3))},
		"too much in all":       {ID3Private("x", make([]byte, MaxID3/2)), ID3Private("x", make([]byte, MaxID3/2))},
	} {
		if tag, err := ID3(frames...); !errors.Is(err, ErrID3) {
			t.Errorf("%s: %d bytes, %v", name, len(tag), err)
		}
	}
}

// Specs L3 with events: joined parts are a segment, an independent reader finds
// each event at its part, and a decoder that is not ours does not mind them.
func TestEventsInParts(t *testing.T) {
	for _, r := range recordings(t) {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			file := mustInit(t, r.params, r.timescale)
			step := r.samples[0].Duration
			tag, err := ID3(ID3Text("TXXX", `{"score":"1:0"}`))
			if err != nil {
				t.Fatal(err)
			}
			var parts []Fragment
			for i := range 3 {
				f := Fragment{Sequence: uint32(i), Decode: 900000 + uint64(2*i)*uint64(step), Samples: r.samples[2*i : 2*i+2]}
				for n := range i {
					f.Events = append(f.Events, Event{ID: uint32(10*i + n), Time: f.Decode + uint64(n), Timescale: r.timescale, Message: tag})
				}
				parts = append(parts, f)
				file = AppendFragment(file, f)
			}
			trex := decode(t, file).Init.Moov.Mvex.Trex
			for _, want := range parts {
				part := AppendFragment(mustInit(t, r.params, r.timescale), want)
				checkFragment(t, decode(t, part).Segments[0].Fragments[0], trex, want)
			}
			var found []uint32 // the reader counts an emsg between fragments to the one before
			for _, s := range decode(t, file).Segments {
				for _, f := range s.Fragments {
					for _, e := range f.Emsgs {
						found = append(found, e.ID)
					}
				}
			}
			if diff := cmp.Diff([]uint32{10, 20, 21}, found); diff != "" {
				t.Errorf("L3: events of the segment: %s", diff)
			}
			name := filepath.Join(t.TempDir(), "media.mp4")
			if err := os.WriteFile(name, file, 0o644); err != nil {
				t.Fatal(err)
			}
			probe := exec.CommandContext(t.Context(), "ffprobe", "-v", "warning", "-threads", "1",
				"-count_frames", "-show_entries", "stream=nb_read_frames", "-of", "csv=p=0", name)
			out, err := probe.CombinedOutput()
			if err != nil || strings.TrimSpace(string(out)) != "6" {
				t.Fatalf("run ffprobe (part of FFmpeg, which the tests need): %v\n%s", err, out)
			}
		})
	}
}
