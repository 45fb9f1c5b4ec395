package webhook

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

func none() float64 { return 0 }

func numbers(all []*entry) string {
	var b strings.Builder
	for _, e := range all {
		fmt.Fprintf(&b, "%d ", e.Number)
	}
	return strings.TrimSpace(b.String())
}

// TestBacklog is a script: + adds an event of a stream, > expects the next to be sent,
// and ok, bad and no are how a call ends.
func TestBacklog(t *testing.T) {
	for _, tt := range []struct{ name, script string }{
		{"one stream in order, one at a time", "+a +a >1 >none ok1 >2 ok2 >none"},
		{"streams beside each other", "+a +b +a >1 >2 >none ok2 >none ok1 >3"},
		{"at most two calls", "+a +b +c >1 >2 >none ok1 >3"},
		{"a receiver that fails is asked once in a while", "+a +b +c >1 bad1 >none 1s >2 bad2 >none 1s >none 1s >3 bad3 3s >none 1s >1 ok1 >2 >3"},
		{"a stream whose event is refused waits alone", "+a +b +a +b >1 >2 no1 ok2 >4 ok4 >none 1s >1 no1 2s >1 no1 4s >1 no1 8s >1 no1 >3 ok3 >none"},
		{"all that fails while other calls are under way", "+a +b >1 >2 bad1 bad2 >none 2s >1 ok1 >2"},
		{"too many: the oldest goes, not what is under way", "+a >1 +a +a +b +b +b ok1 >3 >4 ok3 ok4 >5 ok5 >6 ok6 >none"},
		{"too old", "+a +b >1 49s +b 12s =2 bad1 =1 >none 1s >3"},
	} {
		t.Run(tt.name, func(t *testing.T) { play(t, tt.script) })
	}
}

func play(t *testing.T, script string) {
	t.Helper()
	b := newBacklog(bounds{events: 5, bytes: 1 << 20, age: time.Minute, calls: 2}, none)
	now := time.Unix(1000, 0)
	all := map[string]*entry{}
	var number uint64
	var gone []*entry
	for word := range strings.FieldsSeq(script) {
		kind := strings.TrimRight(word, "0123456789")
		which := all[strings.TrimPrefix(word, kind)]
		switch {
		case word[0] == '+':
			number++
			e := &entry{Number: number, Stream: word[1:], At: now, Body: json.RawMessage(`{}`)}
			all[fmt.Sprint(number)] = e
			gone = append(gone, b.add(e)...)
		case word[0] == '>':
			got := "none"
			if e, _ := b.pick(now); e != nil {
				got = fmt.Sprint(e.Number)
			}
			if got != word[1:] {
				t.Fatalf("%s: next is %s, want %s", script, got, word)
			}
		case word[0] == '=':
			gone = append(gone, b.expire(now)...)
			if numbers(gone) != word[1:] {
				t.Fatalf("%s: %q are gone, want %s", script, numbers(gone), word)
			}
			gone = nil
		case kind == "ok":
			b.done(which)
		case kind == "bad":
			b.failed(which, now, 0)
		case kind == "no":
			b.refused(which, now)
		default:
			d, err := time.ParseDuration(word)
			if err != nil {
				t.Fatal(err)
			}
			now = now.Add(d)
		}
	}
	left := 0
	var bytes int64
	for _, l := range b.lanes {
		left += len(l.waiting)
		for _, e := range l.waiting {
			bytes += int64(len(e.Body))
		}
		if len(l.waiting) == 0 {
			t.Error("an empty lane stays")
		}
	}
	if left != b.count || bytes != b.bytes {
		t.Errorf("counts %d events of %d bytes, has %d of %d", b.count, b.bytes, left, bytes)
	}
}

// TestWaits: twice as long each time up to five minutes, with up to a half left out;
// what a receiver asks for counts, up to an hour.
func TestWaits(t *testing.T) {
	for tries, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 5: 16 * time.Second, 9: 256 * time.Second, 10: longWait, 1000: longWait} {
		most := newBacklog(bounds{}, none).wait(tries)
		least := newBacklog(bounds{}, func() float64 { return 1 }).wait(tries)
		if most != want || least != want/2 {
			t.Errorf("after %d: %v to %v, want %v and its half", tries, least, most, want)
		}
	}
	now := time.Unix(1000, 0)
	for ask, want := range map[time.Duration]time.Duration{0: time.Second, time.Minute: time.Minute, 100 * time.Hour: time.Hour} {
		b := newBacklog(bounds{events: 1, bytes: 100, age: time.Hour, calls: 1}, none)
		e := &entry{Number: 1, At: now}
		b.add(e)
		b.pick(now)
		b.failed(e, now, ask)
		if _, at := b.pick(now); at != now.Add(want) {
			t.Errorf("asked for %v: again after %v, want %v", ask, at.Sub(now), want)
		}
	}
}

// TestBytes: what waits is bounded by its size, too.
func TestBytes(t *testing.T) {
	b := newBacklog(bounds{events: 100, bytes: 100, age: time.Hour, calls: 1}, none)
	for n := range uint64(10) {
		b.add(&entry{Number: n + 1, Body: make(json.RawMessage, 30)})
	}
	if b.count != 3 || b.bytes != 90 || b.oldest().waiting[0].Number != 8 {
		t.Errorf("%d events of %d bytes wait", b.count, b.bytes)
	}
	if gone := b.clear(); numbers(gone) != "8 9 10" || b.count != 0 || len(b.lanes) != 0 || !b.first().IsZero() {
		t.Errorf("cleared %s", numbers(gone))
	}
}
