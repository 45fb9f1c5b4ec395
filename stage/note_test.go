package stage

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/whipcast/whipcast/stream"
)

// TestQuote: what a seat says by data channel reaches the program's audience while the
// seat is on air, over its reconnects, and not before or after.
func TestQuote(t *testing.T) {
	var got []string
	produce(t, func(s *studio) {
		speak := func(words ...string) {
			st, err := s.hub.Stream("show.host")
			if err != nil {
				t.Error(err)
				return
			}
			x, err := st.Publish(stream.Offer{Principal: "host", Layers: []stream.Layer{
				{ID: stream.LayerID{Kind: stream.Audio}, Codec: stream.Codec{Name: "Opus", ClockRate: 48000, Channels: 2}},
			}})
			if err != nil {
				t.Error(err)
				return
			}
			for _, w := range words {
				time.Sleep(time.Second)
				if err := x.Note(stream.Note{Arrival: time.Now(), Label: "chat", Text: true, Payload: []byte(w)}); err != nil {
					t.Error(err)
				}
			}
			time.Sleep(time.Second)
			x.Close(nil)
		}
		s.start(func() error {
			program, err := s.hub.Stream("show")
			if err != nil {
				return err
			}
			for seen := uint64(0); ; {
				notes, last, err := program.Notes(s.ctx, seen)
				if err != nil {
					return nil //nolint:nilerr // the test is over
				}
				seen = last
				for _, n := range notes {
					got = append(got, n.Label+" "+string(n.Payload))
				}
			}
		})
		s.shoot(camera{name: "show.ann", gop: 25, asked: true})
		s.air("ann", "ann")
		time.Sleep(2 * time.Second)
		speak("backstage")
		s.air("ann", "ann", "host")
		speak("one", "two")
		speak("three")
		s.air("ann", "ann")
		speak("off")
	})
	if want := []string{"chat one", "chat two", "chat three"}; !slices.Equal(got, want) {
		t.Errorf("the audience got %q, want %q", got, want)
	}
}

// What is said while the program is not live is for nobody.
func TestQuoteWithoutProgram(t *testing.T) {
	p := NewProgram(stream.NewHub(stream.Config{}), "show", newDeck(), nil)
	p.say(stream.Note{Arrival: time.Now(), Label: "chat", Payload: []byte("x")})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p.quote(ctx, "host")
	if p.Status().Live {
		t.Error("a message made the program live")
	}
}
