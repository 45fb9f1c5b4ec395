package mix_test

import (
	"math"
	"os"
	"testing"
	"time"

	pion "github.com/pion/opus"

	"github.com/whipcast/whipcast/stage/mix"
	"github.com/whipcast/whipcast/stream"
)

// file reads the Opus packets of a file (RFC 3533, RFC 7845) that libopus has made.
func file(t *testing.T, name string) [][]byte {
	t.Helper()
	raw, err := os.ReadFile("../../packager/aac/testdata/" + name + ".opus")
	if err != nil {
		t.Fatal(err)
	}
	var all [][]byte
	var packet []byte
	for len(raw) > 27 {
		lacing := raw[27 : 27+int(raw[26])]
		raw = raw[27+len(lacing):]
		for _, n := range lacing {
			packet = append(packet, raw[:n]...)
			raw = raw[n:]
			if n < 255 {
				all = append(all, packet)
				packet = nil
			}
		}
	}
	return all[2:]
}

// TestForeign mixes packets of another encoder: speech codecs, other lengths, mono.
func TestForeign(t *testing.T) {
	for _, c := range []struct {
		name  string
		ticks int // of a packet
	}{{"music", 960}, {"mono", 960}, {"silk", 960}, {"hybrid", 960}, {"silk60", 2880}, {"short", 120}} {
		t.Run(c.name, func(t *testing.T) {
			packets := file(t, c.name)
			d, err := pion.NewDecoderWithOutput(rate, 2)
			if err != nil {
				t.Fatal(err)
			}
			var want float64
			pcm := make([]float32, 2*5760)
			for _, p := range packets {
				n, err := d.DecodeToFloat32(p, pcm)
				if err != nil || n != c.ticks {
					t.Fatalf("%d samples, %v", n, err)
				}
				for i := range n {
					want += float64(pcm[2*i]) * float64(pcm[2*i])
				}
			}
			m, err := mix.New(mix.Config{})
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"a", "silent"} {
				if err := m.Open(name); err != nil {
					t.Fatal(err)
				}
			}
			s := &studio{t: t, mixer: m}
			sent := 0
			length := time.Duration(len(packets)*c.ticks) * time.Second / rate
			for now := time.Duration(0); now < length+200*time.Millisecond; now += 20 * time.Millisecond {
				at := time.Unix(1, 0).Add(now)
				for ; sent < len(packets) && time.Duration((sent+1)*c.ticks)*time.Second/rate <= now; sent++ {
					m.Write("a", stream.Packet{Arrival: at, Timestamp: uint32(sent * c.ticks), Sequence: uint16(sent), Payload: packets[sent]})
				}
				s.out = m.Tick(at, s.out)
			}
			var got float64
			for _, v := range s.heard(s.out) {
				got += v * v
			}
			if db := 10 * math.Log10(got/want); math.Abs(db) > 0.5 {
				t.Errorf("the level differs by %.2f dB", db)
			}
			if st := m.Stats(); st.Undecodable+st.Late+st.Jumps > 0 || st.Packets != uint64(len(packets)) {
				t.Errorf("%+v", st)
			}
		})
	}
}
