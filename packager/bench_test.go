package packager

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/whipcast/whipcast/packager/au"
	"github.com/whipcast/whipcast/storage"
	"github.com/whipcast/whipcast/stream"
)

// drain is a Sink that keeps nothing.
type drain struct{ bytes int }

func (d *drain) Put(_ context.Context, o storage.Object) error {
	d.bytes += o.Body.Len()
	return nil
}

func (*drain) Delete(context.Context, string) error { return nil }

// source makes media by the second: a second of 720p30 at 2.5 Mb/s with a key frame each 2 s, and Opus:
// 305 + 50 packets.
type source struct {
	video, audio  *au.Assembler
	seq, audioSeq uint16
	ts, audioTS   uint32
	frames        int
	key, inter    []byte
	units         []au.Unit
	packets       int
	begin         time.Time
	elapsed       time.Duration
	opus          []byte
	middle, final []byte
}

func newSource(b *testing.B) *source {
	b.Helper()
	s := &source{begin: time.Now(), opus: make([]byte, 160)}
	s.opus[0] = 0xfc
	var err error
	if s.video, err = au.New("VP9", au.Config{}); err != nil {
		b.Fatal(err)
	}
	if s.audio, err = au.New("Opus", au.Config{}); err != nil {
		b.Fatal(err)
	}
	s.key, s.inter = keyPicture(1280, 720)[:1024], interPicture()[:1024]
	s.key[0], s.inter[0] = 0x08, 0x48
	s.middle, s.final = make([]byte, 1024), make([]byte, 1024)
	s.middle[0], s.final[0] = 0x40, 0x44
	return s
}

// frame feeds a picture of ten packets and what audio belongs to it.
func (s *source) frame(take func(track int, u *au.Unit)) {
	arrival := s.begin.Add(s.elapsed)
	for i := range 10 {
		payload := s.middle
		switch {
		case i == 0 && s.frames%60 == 0:
			payload = s.key
		case i == 0:
			payload = s.inter
		case i == 9:
			payload = s.final
		}
		s.seq++
		s.packets++
		s.units = s.video.Push(au.Packet{
			Arrival: arrival, Timestamp: s.ts, Sequence: s.seq, Marker: i == 9, Payload: payload,
		}, s.units[:0])
		for j := range s.units {
			take(0, &s.units[j])
		}
	}
	s.frames++
	s.ts += 3000
	s.elapsed += time.Second / 30
	for s.audioTS/48 < s.ts/90 {
		s.audioSeq++
		s.packets++
		s.units = s.audio.Push(au.Packet{
			Arrival: arrival, Timestamp: s.audioTS, Sequence: s.audioSeq, Marker: true, Payload: s.opus,
		}, s.units[:0])
		for j := range s.units {
			take(1, &s.units[j])
		}
		s.audioTS += 960
	}
}

// BenchmarkPublisher: an iteration is a second of media, from RTP payloads to
// objects and playlists, and to what is wrong with it, without the waking of
// goroutines.
func BenchmarkPublisher(b *testing.B) {
	ctx := context.Background()
	sink := &drain{}
	r := &runner{
		cfg: Config{}.withDefaults(), log: slog.New(slog.DiscardHandler), metrics: &Metrics{},
	}
	r.out = outlet{sink: sink, log: r.log, metrics: r.metrics}
	r.present = newPresentation(r, "show", 2*time.Second, tracks{video: true, audio: true})
	e := &epoch{videos: 1}
	sources := []*stream.Source{{Layer: video("VP9")}, {Layer: audio()}}
	r.ward = ward{log: r.log, board: &board{}}
	r.ward.enroll(stream.State{Live: true, Sources: sources},
		map[stream.LayerID]*pump{sources[0].Layer.ID: nil, sources[1].Layer.ID: nil}, r.cfg.Segment)
	s := newSource(b)
	one := make([]au.Unit, 1)
	begun := false
	take := func(track int, u *au.Unit) {
		if !begun {
			begun = true
			err := r.present.begin(ctx, opening{
				first: u.DTS, at: u.Arrival, videos: 1, audio: true, sync: func(int, int64) alignment { return alignment{} },
			})
			if err != nil {
				b.Fatal(err)
			}
		}
		one[0] = *u
		r.ward.take(&event{source: sources[track], units: one, seen: sight{at: u.Arrival}})
		if err := r.pass(ctx, e, track, u); err != nil {
			b.Fatal(err)
		}
	}
	for range 70 * 30 { // fill the window
		s.frame(take)
	}
	s.packets = 0
	b.ReportAllocs()
	for b.Loop() {
		for range 30 {
			s.frame(take)
		}
		r.ward.look(s.begin.Add(s.elapsed))
		for _, key := range r.shelf.due(time.Now().Add(time.Hour)) {
			r.out.remove(ctx, key)
		}
	}
	b.ReportMetric(float64(s.packets)/float64(b.N), "packets/op")
	b.SetBytes(int64(s.packets) * 1000 / int64(b.N))
}
