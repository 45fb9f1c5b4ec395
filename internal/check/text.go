package check

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// nameWidth is how much room names have in a line: the longest of ours fits.
const nameWidth = 20

// Printer writes findings for people, as they come:
//
//	ok       http.address         :8080 is free
//	failed   s3-1 write           there is no such bucket (NoSuchBucket, status 404)
//	                              → make the bucket, or correct its name or the endpoint
//
// On a terminal the last line says what is looked at now. It is for one
// goroutine.
type Printer struct {
	w    io.Writer
	live bool
	now  bool // the last line says what runs
	err  error
}

// NewPrinter returns a Printer for a file or a pipe: it writes whole lines only.
func NewPrinter(w io.Writer) *Printer { return &Printer{w: w} }

// NewLivePrinter returns a Printer for a terminal.
func NewLivePrinter(w io.Writer) *Printer { return &Printer{w: w, live: true} }

// Show writes what is new.
func (p *Printer) Show(g Progress) {
	var b strings.Builder
	if p.now {
		b.WriteString("\r\x1b[K") // the line of before goes
	}
	for _, f := range g.Fresh {
		b.WriteString(f.text())
	}
	p.now = p.live && len(g.Running) > 0
	if p.now {
		b.WriteString(cut("  …        "+strings.Join(g.Running, ", "), lineWidth))
	}
	p.write(b.String())
}

// lineWidth is what any terminal has: a longer line could not be taken back.
const lineWidth = 79

func cut(s string, width int) string {
	if utf8.RuneCountInString(s) <= width {
		return s
	}
	return string([]rune(s)[:width-1]) + "…"
}

// Sum writes the last line and returns the first error of all writing.
func (p *Printer) Sum(r Report) error {
	var parts []string
	for _, s := range []State{Failed, Warning, OK, Skipped} {
		n := r.Count(s)
		if n == 0 && s != Failed {
			continue
		}
		word := s.String()
		if s == Warning && n > 1 {
			word = "warnings"
		}
		parts = append(parts, fmt.Sprintf("%d %s", n, word))
	}
	p.write("\n" + strings.Join(parts, ", ") + "\n")
	return p.err
}

func (p *Printer) write(s string) {
	if p.err == nil && s != "" {
		_, p.err = io.WriteString(p.w, s)
	}
}

// text returns the lines of a finding.
func (f Finding) text() string {
	s := fmt.Sprintf("  %-8s %-*s %s\n", f.State, nameWidth, f.Name, f.Cause)
	if f.Remedy != "" {
		s += strings.Repeat(" ", nameWidth+12) + "→ " + f.Remedy + "\n"
	}
	return s
}
