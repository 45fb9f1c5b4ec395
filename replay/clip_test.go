package replay_test

import (
	"errors"
	"path"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/whipcast/whipcast/replay"
	"github.com/whipcast/whipcast/storage"
)

func TestParseMoment(t *testing.T) {
	now := time.Date(2026, 11, 20, 18, 0, 0, 0, time.UTC)
	for text, want := range map[string]replay.Moment{
		"now":                     replay.At(now),
		"-5m":                     replay.At(now.Add(-5 * time.Minute)),
		"now-1h30m":               replay.At(now.Add(-90 * time.Minute)),
		"2026-11-20T17:00:00Z":    replay.At(now.Add(-time.Hour)),
		"2026-11-20T17:00:00.25Z": replay.At(now.Add(-time.Hour + 250*time.Millisecond)),
		"00:10:00":                replay.After(10 * time.Minute),
		"90:00":                   replay.After(90 * time.Minute),
		"30:00:01.5":              replay.After(30*time.Hour + 1500*time.Millisecond),
		"0:00":                    replay.After(0),
	} {
		if got, err := replay.ParseMoment(text, now); err != nil || got != want {
			t.Errorf("%q: %+v, %v, want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "5m", "+5m", "yesterday", "now+5m", "nowish", "1:2:3:4", "00:60:00", "00:61", "-1:00", "1e3:00", "1.5:00", ":", "1:", "NaN:00", "2026-11-20",
		"2026-11-20T17:00:00", "-", "--5m", "-5x",
	} {
		if got, err := replay.ParseMoment(text, now); err == nil {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

// TestClip: a clip is a VOD playlist over the segments of the time, of the stream
// that goes on and of one that has ended; each place says what it has (S10, S16).
func TestClip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		folder, b := t.TempDir(), newBucket(t)
		d := open(t, folder, b, replay.Place{Keep: replay.Forever, Replay: true})
		defer func() { d.stop() }()
		begin := time.Now()
		s := newShow(t, d, "show", "m1")
		s.play(60 * time.Second)
		b.set(func() { delete(b.objects, s.prefix("video")+"s00000012.m4s") }) // somebody did
		for _, tt := range []struct {
			name     string
			from, to replay.Moment
			segments int
			first    string
			start    time.Duration
			gaps     int
		}{
			{"dates", replay.At(begin.Add(5 * time.Second)), replay.At(begin.Add(11 * time.Second)), 4, "s00000002.m4s", time.Second, 0},
			{"whole", replay.At(begin.Add(-time.Hour)), replay.At(begin.Add(time.Hour)), 30, "s00000000.m4s", 0, 1},
			{"ago", replay.At(time.Now().Add(-10 * time.Second)), replay.At(time.Now()), 5, "s00000025.m4s", 0, 0},
			{"inside", replay.After(20 * time.Second), replay.After(30 * time.Second), 5, "s00000010.m4s", 0, 1},
			{"mixed", replay.After(21 * time.Second), replay.At(begin.Add(22 * time.Second)), 1, "s00000010.m4s", time.Second, 0},
			{"in-one", replay.After(1200 * time.Millisecond), replay.After(1500 * time.Millisecond), 1, "s00000000.m4s", 1200 * time.Millisecond, 0},
		} {
			clips, err := d.Clip(t.Context(), replay.Request{Stream: "show", From: tt.from, To: tt.to, Name: tt.name})
			if err != nil || len(clips) != 1 {
				t.Errorf("%s: %+v, %v", tt.name, clips, err)
				continue
			}
			c := clips[0]
			if c.Segments != tt.segments || c.Start != tt.start || c.Gaps != tt.gaps || c.Duration != c.End.Sub(c.Begin) ||
				c.At != "https://media.example.org/show/clips/"+tt.name+"/index.m3u8" {
				t.Errorf("%s: %+v", tt.name, c)
			}
			text := b.text("show/clips/" + tt.name + "/video.m3u8")
			conform(t, tt.name, text)
			first := "\n../../m1/video/" + tt.first + "\n"
			if segments, gaps, _ := listed(text); segments != tt.segments || gaps != tt.gaps || strings.Index(text, first) != strings.Index(text, "\n../../") {
				t.Errorf("%s: %d segments, %d gaps:\n%s", tt.name, segments, gaps, text)
			}
			if strings.Contains(text, "EXT-X-START") != (tt.start > 0) {
				t.Errorf("%s begins at the wrong place:\n%s", tt.name, text)
			}
			if text := b.text(c.Key); !strings.Contains(text, "\nvideo.m3u8\n") || !strings.Contains(text, `URI="aac.m3u8"`) ||
				strings.Contains(text, "EXT-X-START") != (tt.start > 0) {
				t.Errorf("%s:\n%s", tt.name, text)
			}
		}
		if len(d.Clips("show")) != 6 || d.Metrics().Clips.Load() != 6 {
			t.Errorf("clips %+v", d.Clips("show"))
		}
		s.put(storage.Object{Key: s.prefix("video") + "s00000012.m4s", Kind: storage.Segment})
		s.end()
		synctest.Wait()
		// Another process, after the end: offsets count in what has ended.
		other := newShow(t, d, "show", "m2")
		other.play(10 * time.Second)
		outside, err := replay.Open(replay.Config{Folder: folder, Window: window, Places: []replay.Place{
			{ID: "bucket-1234abcd", Name: "bucket-1", Sink: b, Holder: b, Keep: replay.Forever},
			{ID: "bucket-new", Name: "bucket-2", Sink: newBucket(t), Holder: newBucket(t), Keep: replay.Forever},
		}})
		if err != nil {
			t.Fatal(err)
		}
		clips, err := outside.Clip(t.Context(), replay.Request{Stream: "show", From: replay.After(10 * time.Second), To: replay.After(20 * time.Second)})
		if len(clips) != 1 || clips[0].Place != "bucket-1" || clips[0].Segments != 5 || !errors.Is(err, replay.ErrNoMedia) {
			t.Errorf("with a place that never had it: %+v, %v", clips, err)
		}
		if len(clips) == 1 && clips[0].Name != begin.Add(10*time.Second).UTC().Format("20060102-150405.000") {
			t.Errorf("it is called %s", clips[0].Name)
		}
		if err := d.DeleteClip(t.Context(), "show", "dates"); err != nil || b.text("show/clips/dates/index.m3u8")+b.text("show/clips/dates/video.m3u8") != "" {
			t.Errorf("delete: %v", err)
		}
		if err := d.DeleteClip(t.Context(), "show", "dates"); !errors.Is(err, replay.ErrUnknown) {
			t.Errorf("delete again: %v", err)
		}
		if err := d.DeleteReplay(t.Context(), "show", "m1"); err != nil {
			t.Error(err)
		}
		for _, key := range b.keys() {
			if isList(key) && (strings.Contains(key, "/clips/") || strings.Contains(key, "m1")) {
				t.Errorf("S15: %s is left while its media goes", key)
			}
		}
		if err := d.DeleteReplay(t.Context(), "show", "m2"); !errors.Is(err, replay.ErrLive) {
			t.Errorf("delete what goes on: %v", err)
		}
	})
}

// TestClipErrors: what cannot be clipped is told in words.
func TestClipErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBucket(t)
		d := open(t, t.TempDir(), b, replay.Place{Keep: replay.Forever})
		defer d.stop()
		begin := time.Now()
		s := newShow(t, d, "show", "m1")
		s.play(20 * time.Second)
		at := func(seconds int) replay.Moment { return replay.At(begin.Add(time.Duration(seconds) * time.Second)) }
		if _, err := d.Clip(t.Context(), replay.Request{Stream: "show", From: at(0), To: at(4), Name: "one"}); err != nil {
			t.Fatal(err)
		}
		for name, tt := range map[string]struct {
			cut  replay.Request
			want error
		}{
			"unknown stream": {replay.Request{Stream: "other", From: at(0), To: at(4)}, replay.ErrUnknown},
			"bad stream":     {replay.Request{Stream: "../etc", From: at(0), To: at(4)}, storage.ErrKey},
			"bad name":       {replay.Request{Stream: "show", From: at(0), To: at(4), Name: "../x"}, storage.ErrKey},
			"times swapped":  {replay.Request{Stream: "show", From: at(4), To: at(0)}, replay.ErrTimes},
			"no time":        {replay.Request{Stream: "show", From: at(4), To: at(4)}, replay.ErrTimes},
			"too early":      {replay.Request{Stream: "show", From: at(-60), To: at(-50)}, replay.ErrNoMedia},
			"too late":       {replay.Request{Stream: "show", From: at(60), To: at(70)}, replay.ErrNoMedia},
			"beyond the end": {replay.Request{Stream: "show", From: replay.After(time.Hour), To: replay.After(2 * time.Hour)}, replay.ErrNoMedia},
			"a name twice":   {replay.Request{Stream: "show", From: at(0), To: at(4), Name: "one"}, replay.ErrExists},
		} {
			clips, err := d.Clip(t.Context(), tt.cut)
			if !errors.Is(err, tt.want) || len(clips) != 0 {
				t.Errorf("%s: %+v, %v", name, clips, err)
			}
		}
		if _, err := d.Clip(t.Context(), replay.Request{Stream: "show", From: at(0), To: at(4), Place: "nowhere"}); err == nil {
			t.Error("a place that is not there takes a clip")
		}
		b.set(func() {
			b.refuse = func(key string) error {
				if path.Base(key) == "index.m3u8" {
					return errDown
				}
				return nil
			}
		})
		if _, err := d.Clip(t.Context(), replay.Request{Stream: "show", From: at(0), To: at(4), Name: "two"}); !errors.Is(err, errDown) {
			t.Errorf("a place that refuses: %v", err)
		}
		b.set(func() { b.refuse = nil })
		b.set(func() { // the media is gone
			for key := range b.objects {
				if strings.HasSuffix(key, ".m4s") {
					delete(b.objects, key)
				}
			}
		})
		if _, err := d.Clip(t.Context(), replay.Request{Stream: "show", From: at(0), To: at(4), Name: "three"}); !errors.Is(err, replay.ErrNoMedia) {
			t.Errorf("media that is gone: %v", err)
		}
	})
}

// TestClipGoesBeforeItsMedia: while a stream goes on for days, a clip of it goes an
// hour before the first of its media does (specs S15).
func TestClipGoesBeforeItsMedia(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBucket(t)
		d := open(t, t.TempDir(), b, replay.Place{Keep: 6 * time.Hour})
		defer d.stop()
		begin := time.Now()
		s := newShow(t, d, "show", "m1")
		s.length = 10 * time.Second
		s.append(s.describe(nil, "video"))
		s.play(3 * time.Hour)
		clip := func(name string, from, to time.Duration) error {
			_, err := d.Clip(t.Context(), replay.Request{Stream: "show", From: replay.At(begin.Add(from)), To: replay.At(begin.Add(to)), Name: name})
			return err
		}
		if err := clip("early", time.Hour, time.Hour+time.Minute); err != nil {
			t.Error(err)
		}
		s.play(150 * time.Minute)
		if b.text("show/clips/early/index.m3u8") == "" {
			t.Error("the clip is gone before its time")
		}
		s.play(70 * time.Minute)
		if b.text("show/clips/early/index.m3u8") != "" || len(d.Clips("show")) != 0 {
			t.Error("S15: the clip is there, and its media about to go")
		}
		if _, ok := b.objects[s.prefix("video")+"s00000360.m4s"]; !ok {
			t.Error("S15: the clip's media is gone with it")
		}
		if err := clip("dying", time.Hour, time.Hour+time.Minute); !errors.Is(err, replay.ErrNoMedia) {
			t.Errorf("a clip of what is about to go: %v", err)
		}
		if err := clip("half", time.Hour, 3*time.Hour); err != nil { // what stays of it
			t.Error(err)
		}
		s.play(90 * time.Minute)
		if _, ok := b.objects[s.prefix("video")+"s00000360.m4s"]; ok {
			t.Error("the clip's media is left")
		}
		if err := clip("early", 6*time.Hour, 6*time.Hour+time.Minute); err != nil {
			t.Errorf("the name is free again: %v", err)
		}
	})
}
