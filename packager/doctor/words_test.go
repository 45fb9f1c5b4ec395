package doctor

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestWords: every finding says what is wrong and which setting of the usual
// programs mends it. All of it is in testdata/words.txt, to be read as a whole.
func TestWords(t *testing.T) {
	var b strings.Builder
	codes := map[Code]bool{}
	program := regexp.MustCompile(`OBS|FFmpeg|browser`)
	for i, text := range texts() {
		if codes[text.code] || !regexp.MustCompile(`^[a-z-]+$`).MatchString(string(text.code)) {
			t.Errorf("symptom %d: code %q", i, text.code)
		}
		codes[text.code] = true
		for _, o := range append([]other{{}}, text.others...) {
			s := sign{up: true, variant: o.variant, severity: Note, value: 8.333, since: time.Unix(0, 0)}
			f := text.finding(&s)
			if f.Words == "" || f.Remedy == "" || strings.Contains(f.Words, "#") || !program.MatchString(f.Remedy+f.Words) {
				t.Errorf("%s: %+v", text.code, f)
			}
			if named := strings.Contains(text.words, "#"); named != (text.unit != "") {
				t.Errorf("%s: unit %q, words %q", text.code, text.unit, text.words)
			}
			b.WriteString(string(f.Code) + ": " + f.Words + "\n  " + f.Remedy + "\n\n")
		}
	}
	path, got := filepath.Join("testdata", "words.txt"), strings.TrimSpace(b.String())+"\n"
	if flag.Lookup("update").Value.String() == "true" {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the words are not those of %s; they are\n%s", path, got)
	}
}

// TestSign: raised after evidence for some time, cleared after a longer time
// without; doubt changes nothing; it gets worse, but not better.
func TestSign(t *testing.T) {
	s := sign{raise: 2 * time.Second, clear: 3 * time.Second}
	now := time.Unix(100, 0)
	for i, step := range []struct {
		opinion  opinion
		changed  bool
		severity Severity
	}{
		{opinion{verdict: present, severity: Note}, false, 0},
		{opinion{verdict: absent}, false, 0},
		{opinion{verdict: present, severity: Note}, false, 0}, // since now
		{opinion{verdict: unclear}, false, 0},
		{opinion{verdict: present, severity: Note}, true, Note},
		{opinion{verdict: present, severity: Problem}, true, Problem},
		{opinion{verdict: present, severity: Warning}, false, Problem},
		{opinion{verdict: absent}, false, Problem},
		{opinion{verdict: absent}, false, Problem},
		{opinion{verdict: present, severity: Warning}, false, Problem},
		{opinion{verdict: absent}, false, Problem},
		{opinion{verdict: absent}, false, Problem},
		{opinion{verdict: absent}, true, 0},
	} {
		now = now.Add(time.Second)
		if changed := s.judge(now, time.Second, step.opinion); changed != step.changed || s.severity != step.severity {
			t.Errorf("step %d: changed %v, severity %v, want %v, %v", i, changed, s.severity, step.changed, step.severity)
		}
		if s.up && !s.since.Equal(time.Unix(103, 0)) {
			t.Errorf("step %d: since %v", i, s.since)
		}
	}
}
