package rtc

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/whipcast/whipcast/internal/problem"
)

// fragment is a parsed trickle ICE fragment (RFC 8840 §4.4 and §9).
type fragment struct {
	creds      credentials
	candidates []located
	end        bool // a=end-of-candidates
}

// located is a candidate with the section that it stands in.
type located struct {
	mid  string // "" before any section: the offerer-tagged one
	line string // without "candidate:"
}

func badFragment(detail string) error {
	return problem.Problem{Status: http.StatusBadRequest, Title: "Malformed trickle ICE fragment", Detail: detail}
}

// parseFragment reads a fragment. It is pure, and bounded by maxBody and
// maxCandidates. Lines may end in LF or CRLF; unknown attributes are skipped.
// The error is a problem.Problem.
func parseFragment(body []byte) (fragment, error) {
	var f fragment
	if len(body) == 0 || len(body) > maxBody {
		return f, badFragment("the body must hold 1 byte to 64 KiB")
	}
	if !lines(body) {
		return f, badFragment("the body is not text of lines that end in CRLF or LF")
	}
	p := fragmentParser{fragment: &f}
	for line := range strings.SplitSeq(string(body), "\n") {
		line = strings.TrimSuffix(line, "\r")
		if line == "" {
			continue
		}
		if len(line) < 2 || line[1] != '=' || line[0] < 'a' || line[0] > 'z' {
			return f, badFragment("a line does not have the form type=value (RFC 8840 §9)")
		}
		if err := p.line(line[0], line[2:]); err != nil {
			return f, err
		}
	}
	p.flush()
	if f.creds == (credentials{}) && len(f.candidates) == 0 && !f.end {
		return f, badFragment("it has neither ICE credentials nor candidates")
	}
	return f, nil
}

// fragmentParser carries what a line depends on. A section's a=mid may follow
// its candidates, so those wait.
type fragmentParser struct {
	*fragment
	mid     string
	waiting []string
}

func (p *fragmentParser) line(kind byte, value string) error {
	if kind == 'm' {
		p.flush()
		p.mid = ""
		return nil
	}
	if kind != 'a' {
		return nil
	}
	key, value, _ := strings.Cut(value, ":")
	switch key {
	case "mid":
		p.mid = value
	case "ice-ufrag":
		return once(&p.creds.ufrag, value)
	case "ice-pwd":
		return once(&p.creds.pwd, value)
	case "end-of-candidates":
		p.end = true
	case "candidate":
		if len(p.candidates)+len(p.waiting) >= maxCandidates {
			return problem.Problem{
				Status: http.StatusUnprocessableEntity, Title: "Too many candidates",
				Detail: "a session may have 64 ICE candidates in all: send host and relay candidates of the interfaces in use only",
			}
		}
		if len(value) > maxLine {
			return badFragment("a candidate line is longer than 512 bytes")
		}
		if len(strings.Fields(value)) < 8 {
			return badFragment("a candidate line has fewer fields than RFC 8839 §5.1 demands")
		}
		p.waiting = append(p.waiting, value)
	}
	return nil
}

// once sets a credential, which each section may repeat but not contradict: all
// are bundled.
func once(to *string, value string) error {
	if value == "" || *to != "" && *to != value {
		return badFragment("ICE credentials are empty or differ between sections")
	}
	*to = value
	return nil
}

func (p *fragmentParser) flush() {
	for _, line := range p.waiting {
		p.candidates = append(p.candidates, located{p.mid, line})
	}
	p.waiting = nil
}

// hear adds candidates to those that came, used or not, without doubles: each section
// may have the same ones.
func hear(all []string, lines ...string) []string {
	for _, line := range lines {
		f := strings.Fields(strings.TrimPrefix(line, "candidate:"))
		if len(line) > maxLine || len(f) < 8 || f[1] != "1" || len(all) >= maxCandidates {
			continue
		}
		if line = strings.Join(append([]string{"-", "1", f[2], "-"}, f[4:8]...), " "); !slices.Contains(all, line) {
			all = append(slices.Clip(all), line)
		}
	}
	return all
}

// usable reports whether we can use a remote candidate, and returns it without
// extensions. Of ours are: RTP, UDP, a literal IP address. Names are never
// resolved (specs X14), and TCP candidates never needed: the other side opens
// the connection (specs W49).
func usable(candidate string) (string, bool) {
	f := strings.Fields(strings.TrimPrefix(candidate, "candidate:"))
	if len(candidate) > maxLine || len(f) < 8 || f[1] != "1" || !strings.EqualFold(f[2], "udp") || f[6] != "typ" {
		return "", false
	}
	if addr, err := netip.ParseAddr(f[4]); err != nil || addr.Zone() != "" {
		return "", false
	}
	switch f[7] {
	case "host", "srflx", "prflx", "relay":
	default:
		return "", false
	}
	if len(f) >= 12 && f[8] == "raddr" && f[10] == "rport" {
		return strings.Join(f[:12], " "), true
	}
	return strings.Join(f[:8], " "), true
}
