package doctor

import "time"

// verdict is what one look at the evidence says.
type verdict uint8

const (
	unclear verdict = iota // no evidence, or between the thresholds
	absent
	present
)

// opinion is a verdict with its measure.
type opinion struct {
	verdict  verdict
	severity Severity
	variant  variant
	value    float64
	lasting  time.Duration // how long it has been so already
}

// long is an opinion whose measure is how long it has been so.
func long(lasting time.Duration, severity Severity) opinion {
	return opinion{severity: severity, value: lasting.Seconds(), lasting: lasting}
}

// opine compares a measure with two thresholds: present from bad on, absent up to
// good, unclear between them.
func opine(value, good, bad float64, severity Severity) opinion {
	o := opinion{value: value, severity: severity}
	switch {
	case value >= bad:
		o.verdict = present
	case value <= good:
		o.verdict = absent
	}
	return o
}

// doubt takes back a present opinion.
func (o opinion) doubt() opinion {
	if o.verdict == present {
		o.verdict = unclear
	}
	return o
}

// needs takes back a present opinion that has too little evidence.
func (o opinion) needs(have, least int) opinion {
	if have < least {
		return o.doubt()
	}
	return o
}

// sign is a possible finding with its hysteresis: it goes up after evidence for
// some time and down after a longer time without.
type sign struct {
	raise, clear time.Duration

	up       bool
	severity Severity
	variant  variant
	value    float64
	since    time.Time
	streak   time.Duration // of evidence against the present state
}

// judge takes an opinion that stands for a span of time up to at. It reports
// whether the sign went up or down, or got worse.
func (s *sign) judge(at time.Time, span time.Duration, o opinion) bool {
	switch {
	case o.verdict == unclear:
		return false
	case s.up == (o.verdict == present): // as it was
		s.streak = 0
		if !s.up {
			return false
		}
		return s.note(o)
	}
	if s.streak == 0 && !s.up {
		s.since = at.Add(-o.lasting)
	}
	s.streak += span
	if s.up && s.streak < s.clear || !s.up && s.streak < s.raise {
		return false
	}
	s.up, s.streak, s.severity = !s.up, 0, 0
	if s.up {
		s.note(o)
	}
	return true
}

// note takes the measure, and reports whether the severity rose. It does not fall
// while the sign is up.
func (s *sign) note(o opinion) bool {
	s.value, s.variant = o.value, o.variant
	if o.severity <= s.severity {
		return false
	}
	s.severity = o.severity
	return true
}
