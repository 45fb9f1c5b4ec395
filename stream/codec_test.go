package stream_test

import (
	"testing"

	"github.com/whipcast/whipcast/stream"
)

func TestKeyframe(t *testing.T) {
	for _, tt := range []struct {
		codec, name string
		payload     []byte
		want        bool
	}{
		{"H264", "IDR", []byte{0x65, 1}, true},
		{"H264", "slice", []byte{0x61, 1}, false},
		{"H264", "STAP-A with SPS and IDR", []byte{0x78, 0, 2, 0x67, 1, 0, 2, 0x65, 1}, true},
		{"H264", "STAP-A with SPS alone", []byte{0x78, 0, 2, 0x67, 1}, false},
		{"H264", "STAP-A that lies about lengths", []byte{0x78, 0xff, 0xff, 0x65, 1}, false},
		{"H264", "FU-A begins IDR", []byte{0x7c, 0x85, 1}, true},
		{"H264", "FU-A goes on with IDR", []byte{0x7c, 0x05, 1}, false},
		{"H265", "IDR_W_RADL", []byte{19 << 1, 1, 0}, true},
		{"H265", "TRAIL_R", []byte{1 << 1, 1, 0}, false},
		{"H265", "AP with IDR", []byte{48 << 1, 1, 0, 3, 19 << 1, 1, 0}, true},
		{"H265", "FU begins CRA", []byte{49 << 1, 1, 0x80 | 21}, true},
		{"AV1", "new sequence", []byte{0x18, 0x0a}, true},
		{"AV1", "delimiter, then sequence header", []byte{0x20, 1, 2 << 3, 1 << 3, 0}, true},
		{"AV1", "frame", []byte{0x10, 6 << 3}, false},
		{"AV1", "fragment", []byte{0x90, 1 << 3}, false},
		{"AV1", "length without end", []byte{0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 1 << 3}, false},
		{"VP9", "key", []byte{0x80 | 0x08, 1, 0}, true},
		{"VP9", "key goes on", []byte{0x80, 1, 0}, false},
		{"VP9", "predicted", []byte{0x80 | 0x40 | 0x08, 1, 0}, false},
		{"VP9", "second spatial layer", []byte{0x80 | 0x20 | 0x08, 0x80, 1, 0x02}, false},
		{"Opus", "audio", []byte{0x65, 1}, false},
		{"H264", "empty", nil, false},
	} {
		if got := (stream.Codec{Name: tt.codec}).Keyframe(tt.payload); got != tt.want {
			t.Errorf("%s %s: got %v", tt.codec, tt.name, got)
		}
	}
}

func FuzzKeyframe(f *testing.F) {
	f.Add([]byte{0x78, 0, 2, 0x67, 1, 0, 2, 0x65, 1})
	f.Add([]byte{0x20, 1, 2 << 3, 1 << 3, 0})
	f.Fuzz(func(_ *testing.T, payload []byte) {
		for _, name := range []string{"H264", "H265", "AV1", "VP9", "Opus", ""} {
			stream.Codec{Name: name}.Keyframe(payload)
		}
	})
}
