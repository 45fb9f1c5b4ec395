package stream

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func noteText(notes []Note) (all string) {
	for _, n := range notes {
		all += string(n.Payload) + " "
	}
	return all
}

// Notes come in order to each reader, after the publisher has gone as well; who is
// slow misses the oldest.
func TestNotes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream("show", &Totals{})
		layer := Layer{ID: LayerID{Kind: Audio}, Codec: Codec{Name: "Opus", ClockRate: 48000}}
		x, err := s.Publish(Offer{Principal: "a", Layers: []Layer{layer}})
		if err != nil {
			t.Fatal(err)
		}
		give := func(text string) error {
			return x.Note(Note{Arrival: time.Now(), Label: "chat", Text: true, Payload: []byte(text)})
		}
		got := make(chan string)
		go func() {
			list, seen, err := s.Notes(t.Context(), 0)
			got <- fmt.Sprint(noteText(list), seen, err)
		}()
		synctest.Wait()
		if err := give("a"); err != nil {
			t.Fatal(err)
		}
		if text := <-got; text != "a 1 <nil>" {
			t.Errorf("got %q", text)
		}
		time.Sleep(time.Second)
		for i := range 25 { // 20 a second
			if err := give(fmt.Sprint(i)); (err != nil) != (i >= 20) || err != nil && !errors.Is(err, ErrNote) {
				t.Errorf("note %d: %v", i, err)
			}
		}
		list, seen, _ := s.Notes(t.Context(), 18)
		if noteText(list) != "17 18 19 " || seen != 21 || list[0].Epoch != x.Epoch() || list[0].Label != "chat" || !list[0].Text {
			t.Errorf("got %v and %d", list, seen)
		}
		time.Sleep(time.Second)
		if err := x.Note(Note{Arrival: time.Now(), Payload: make([]byte, MaxNote+1)}); !errors.Is(err, ErrNote) {
			t.Errorf("too long: %v", err)
		}
		if err := x.Note(Note{Arrival: time.Now(), Label: string(make([]byte, 129))}); !errors.Is(err, ErrNote) {
			t.Errorf("label too long: %v", err)
		}
		if taken, dropped := x.Notes(); taken != 21 || dropped != 7 {
			t.Errorf("%d taken, %d dropped, want 21 and 7", taken, dropped)
		}
		for i := range 100 {
			time.Sleep(100 * time.Millisecond)
			if err := give(fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
		}
		x.Close(nil)
		if err := give("late"); !errors.Is(err, ErrClosed) {
			t.Errorf("after the end: %v", err)
		}
		list, seen, _ = s.Notes(t.Context(), 3)
		if len(list) != keptNotes || string(list[0].Payload) != "36" || seen != 121 {
			t.Errorf("%d notes from %q, seen %d", len(list), list[0].Payload, seen)
		}
		over, cancel := context.WithCancel(t.Context())
		cancel()
		if _, seen, err = s.Notes(over, 121); !errors.Is(err, context.Canceled) || seen != 121 {
			t.Errorf("got %d and %v", seen, err)
		}
	})
}
