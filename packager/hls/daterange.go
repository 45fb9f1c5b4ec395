package hls

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Errors of date ranges.
var (
	// ErrDateRange says that a date range breaks a rule of §4.4.5.1, or is too long.
	ErrDateRange = errors.New("date range is not valid")
	// ErrDateRangeConflict says that a date range contradicts one that was given
	// before, or that it cannot be removed now.
	ErrDateRangeConflict = errors.New("date range contradicts what was said before")
	// ErrDateRangesFull says that no more date ranges fit in the playlist.
	ErrDateRangesFull = errors.New("playlist has no room for another date range")
)

// Bounds of date ranges. All are listed in every version, so they are few.
const (
	MaxDateRanges = 200 // in a playlist

	maxDateText = 64 << 10 // bytes of all their tags
	maxDateLine = 4 << 10  // bytes of one tag
	maxDateID   = 128      // bytes of an ID
	maxUsedIDs  = 1000     // IDs that are remembered after their range has gone
)

// InterstitialClass is the CLASS of interstitials (appendix D.2).
const InterstitialClass = "com.apple.hls.interstitial"

// Cue says when the action of a date range is due, other than at its start.
type Cue string

// The cues. With Pre or Post its dates say nothing of when a range applies, so it
// stays until it is removed.
const (
	CuePre  Cue = "PRE"  // before playback begins
	CuePost Cue = "POST" // after playback has ended
	CueOnce Cue = "ONCE" // only once
)

// DateRange is a range of time with attributes, EXT-X-DATERANGE (§4.4.5.1, specs
// L30). What is zero is left out. Times are printed in milliseconds.
//
// With neither End nor Duration nor EndOnNext its end is not known, whatever
// Planned says. A Duration of 0 is a single instant.
type DateRange struct {
	ID        string         `json:"id"`
	Class     string         `json:"class,omitempty"`
	Start     time.Time      `json:"start,omitzero"` // required when the ID is new
	Cue       []Cue          `json:"cue,omitempty"`
	End       time.Time      `json:"end,omitzero"`
	Duration  *time.Duration `json:"duration,omitempty"`
	Planned   *time.Duration `json:"planned,omitempty"`
	EndOnNext bool           `json:"endOnNext,omitempty"` // ends where the next of its Class starts

	// SCTE-35 splice_info_sections, whole (§4.4.5.1.1, specs L110).
	SpliceCommand []byte `json:"scte35Cmd,omitempty"`
	SpliceOut     []byte `json:"scte35Out,omitempty"`
	SpliceIn      []byte `json:"scte35In,omitempty"`

	Attributes []Attribute `json:"attributes,omitempty"`
}

// Attribute is a client attribute: X- and upper-case letters, digits and hyphens.
// It has a Number, or Hex, or else is Text.
type Attribute struct {
	Name   string   `json:"name"`
	Text   string   `json:"text,omitempty"`
	Number *float64 `json:"number,omitempty"` // not negative
	Hex    []byte   `json:"hex,omitempty"`
}

// Marker returns an instant with a name of its own, for what happened then.
func Marker(id, class string, at time.Time, attributes ...Attribute) DateRange {
	return DateRange{ID: id, Class: class, Start: at, Duration: new(time.Duration), Attributes: attributes}
}

// SpliceOut returns the begin of a break by SCTE-35. section is the command;
// planned is how long the break should be, or 0.
func SpliceOut(id string, at time.Time, planned time.Duration, section []byte) DateRange {
	d := DateRange{ID: id, Start: at, SpliceOut: section}
	if planned > 0 {
		d.Planned = &planned
	}
	return d
}

// SpliceIn returns the end of the break that SpliceOut with the same id began.
func SpliceIn(id string, at time.Time, section []byte) DateRange {
	return DateRange{ID: id, End: at, SpliceIn: section}
}

// Interstitial is other content that players show at a time instead of the
// stream, or between (appendix D.2). What is zero is left out.
type Interstitial struct {
	ID       string
	Start    time.Time
	Cue      []Cue
	Duration *time.Duration

	// One of the two: an absolute URL of one playlist, or of a JSON list of them.
	AssetURI, AssetList string

	// ResumeOffset is where playback goes on, counted from Start. Without one it is
	// the time that the interstitial took, which is right for live streams.
	ResumeOffset *time.Duration
	PlayoutLimit time.Duration // the longest that is played of it
	SnapOut      bool          // begin at the nearest segment boundary
	SnapIn       bool          // and go on at one
	NoSkip       bool          // may not be left before its end, nor sped up
	NoJump       bool          // may not be seeked over
	Point        bool          // X-TIMELINE-OCCUPIES="POINT", else RANGE says so
	Range        bool
	Highlight    bool // X-TIMELINE-STYLE="HIGHLIGHT"
	Same         bool // X-CONTENT-MAY-VARY="NO": all viewers get the same
}

// DateRange returns the tag of an interstitial. Its Start may still be missing.
func (i *Interstitial) DateRange() (DateRange, error) {
	d := DateRange{ID: i.ID, Class: InterstitialClass, Start: i.Start, Cue: i.Cue, Duration: i.Duration}
	text := func(name string, on bool, value string) {
		if on {
			d.Attributes = append(d.Attributes, Attribute{Name: name, Text: value})
		}
	}
	seconds := func(name string, value time.Duration) {
		number := value.Seconds()
		d.Attributes = append(d.Attributes, Attribute{Name: name, Number: &number})
	}
	text("X-ASSET-URI", i.AssetURI != "", i.AssetURI)
	text("X-ASSET-LIST", i.AssetList != "", i.AssetList)
	if i.ResumeOffset != nil {
		seconds("X-RESUME-OFFSET", *i.ResumeOffset)
	}
	if i.PlayoutLimit != 0 {
		seconds("X-PLAYOUT-LIMIT", i.PlayoutLimit)
	}
	text("X-SNAP", i.SnapOut || i.SnapIn, words(i.SnapOut, "OUT", i.SnapIn, "IN"))
	text("X-RESTRICT", i.NoSkip || i.NoJump, words(i.NoSkip, "SKIP", i.NoJump, "JUMP"))
	if i.Point && i.Range {
		return DateRange{}, fmt.Errorf("%w: interstitial %s is a point and a range", ErrDateRange, i.ID)
	}
	text("X-TIMELINE-OCCUPIES", i.Point, "POINT")
	text("X-TIMELINE-OCCUPIES", i.Range, "RANGE")
	text("X-TIMELINE-STYLE", i.Highlight, "HIGHLIGHT")
	text("X-CONTENT-MAY-VARY", i.Same, "NO")
	whole := d
	if whole.Start.IsZero() {
		whole.Start = time.Unix(0, 0)
	}
	if err := whole.check(); err != nil {
		return DateRange{}, err
	}
	return d, nil
}

func words(first bool, a string, second bool, b string) string {
	switch {
	case first && second:
		return a + "," + b
	case first:
		return a
	}
	return b
}

// pair is an attribute as it is printed.
type pair struct{ name, value string }

// pairs returns the attributes as they are printed, in the order of the tag, or
// says which value cannot be printed.
func (d *DateRange) pairs() ([]pair, error) {
	var p []pair
	var bad error
	add := func(name, value string) { p = append(p, pair{name, value}) }
	quoted := func(name, value string) {
		bad = errors.Join(bad, checkQuoted(name, value))
		add(name, `"`+value+`"`)
	}
	date := func(name string, t time.Time) {
		if t.IsZero() {
			return
		}
		if y := t.UTC().Year(); y < 1970 || y > 9999 {
			bad = errors.Join(bad, fmt.Errorf("%s %v is out of range", name, t))
		}
		quoted(name, string(t.UTC().AppendFormat(nil, dateForm)))
	}
	length := func(name string, v *time.Duration) {
		if v == nil {
			return
		}
		if *v < 0 || *v > math.MaxInt64/2 {
			bad = errors.Join(bad, fmt.Errorf("%s %v is out of range", name, *v))
			return
		}
		add(name, string(appendShort(nil, grains(*v))))
	}
	section := func(name string, b []byte) {
		if len(b) == 0 {
			return
		}
		if b[0] != 0xfc { // its table_id; what is inside is between encoder and player
			bad = errors.Join(bad, fmt.Errorf("%s is not a splice_info_section: it begins with %#x", name, b[0]))
		}
		add(name, hexadecimal(b))
	}
	quoted("ID", d.ID)
	if d.Class != "" {
		quoted("CLASS", d.Class)
	}
	date("START-DATE", d.Start)
	if len(d.Cue) > 0 {
		quoted("CUE", d.cues())
	}
	date("END-DATE", d.End)
	length("DURATION", d.Duration)
	length("PLANNED-DURATION", d.Planned)
	for i := range d.Attributes {
		value, err := d.Attributes[i].value()
		bad = errors.Join(bad, err)
		add(d.Attributes[i].Name, value)
	}
	section("SCTE35-CMD", d.SpliceCommand)
	section("SCTE35-OUT", d.SpliceOut)
	section("SCTE35-IN", d.SpliceIn)
	if d.EndOnNext {
		add("END-ON-NEXT", "YES")
	}
	if bad != nil {
		return nil, fmt.Errorf("%w: %w", ErrDateRange, bad)
	}
	return p, nil
}

func hexadecimal(b []byte) string { return "0x" + strings.ToUpper(hex.EncodeToString(b)) }

func (d *DateRange) cues() string {
	var b []byte
	for i, c := range d.Cue {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, c...)
	}
	return string(b)
}

// value returns the attribute as it is printed.
func (a *Attribute) value() (string, error) {
	if len(a.Name) < 3 || !strings.HasPrefix(a.Name, "X-") ||
		strings.Trim(a.Name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") != "" {
		return "", fmt.Errorf("attribute %q is not X- with upper-case letters, digits and hyphens", a.Name)
	}
	switch {
	case a.Number != nil && (len(a.Hex) > 0 || a.Text != ""), len(a.Hex) > 0 && a.Text != "":
		return "", fmt.Errorf("attribute %s has two values", a.Name)
	case a.Number != nil:
		if n := *a.Number; math.IsNaN(n) || n < 0 || n > math.MaxUint32 {
			return "", fmt.Errorf("attribute %s: %v is no number from 0 to 2^32", a.Name, n)
		}
		return strconv.FormatFloat(math.Abs(*a.Number), 'f', -1, 64), nil
	case len(a.Hex) > 0:
		return hexadecimal(a.Hex), nil
	}
	return `"` + a.Text + `"`, checkQuoted(a.Name, a.Text)
}

// check says whether the attributes fit together.
func (d *DateRange) check() error {
	if d.ID == "" || len(d.ID) > maxDateID {
		return fmt.Errorf("%w: its ID has %d bytes, want 1 to %d", ErrDateRange, len(d.ID), maxDateID)
	}
	err := errors.Join(d.checkEnd(), d.checkCues(), d.checkAttributes())
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrDateRange, d.ID, err)
	}
	return nil
}

func (d *DateRange) checkEnd() error {
	ends := d.Duration != nil || !d.End.IsZero()
	begin, end := printedTime(d.Start), printedTime(d.End)
	switch {
	case d.Start.IsZero():
		return errors.New("it has no start")
	case !d.End.IsZero() && end.Before(begin):
		return fmt.Errorf("it ends %v, before it starts", d.End)
	case d.EndOnNext && d.Class == "":
		return errors.New("END-ON-NEXT needs a class")
	case d.EndOnNext && ends:
		return errors.New("END-ON-NEXT and a duration or an end")
	case len(d.SpliceIn) > 0 && (len(d.SpliceOut) == 0 || !ends):
		return errors.New("SCTE35-IN needs a SCTE35-OUT, and a duration or an end")
	case d.Duration != nil && !d.End.IsZero() && end.Sub(begin.Add(*d.Duration)).Abs() >= time.Millisecond:
		return errors.New("its end is not its start and its duration")
	}
	return nil
}

func (d *DateRange) checkCues() error {
	for i, c := range d.Cue {
		if c != CuePre && c != CuePost && c != CueOnce {
			return fmt.Errorf("cue %q is none of PRE, POST, ONCE", c)
		}
		if slices.Contains(d.Cue[:i], c) {
			return fmt.Errorf("cue %s is given twice", c)
		}
	}
	if slices.Contains(d.Cue, CuePre) && slices.Contains(d.Cue, CuePost) {
		return errors.New("its cues are PRE and POST")
	}
	return nil
}

func (d *DateRange) checkAttributes() error {
	seen := map[string]bool{}
	for i := range d.Attributes {
		if seen[d.Attributes[i].Name] {
			return fmt.Errorf("attribute %s is given twice", d.Attributes[i].Name)
		}
		seen[d.Attributes[i].Name] = true
	}
	if d.Class == InterstitialClass {
		return d.checkAssets()
	}
	return nil
}

// checkAssets: an interstitial has one asset or one list of them, at an absolute
// URL (specs L110).
func (d *DateRange) checkAssets() error {
	assets := 0
	for _, a := range d.Attributes {
		if a.Name != "X-ASSET-URI" && a.Name != "X-ASSET-LIST" {
			continue
		}
		assets++
		u, err := url.Parse(a.Text)
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
			return fmt.Errorf("%s %q is not an absolute URL", a.Name, a.Text)
		}
	}
	if assets != 1 {
		return fmt.Errorf("it has %d of X-ASSET-URI and X-ASSET-LIST, want one", assets)
	}
	return nil
}

// merge returns d with what other adds to it.
func (d DateRange) merge(other *DateRange) DateRange {
	if d.Class == "" {
		d.Class = other.Class
	}
	if len(d.Cue) == 0 {
		d.Cue = other.Cue
	}
	if d.End.IsZero() {
		d.End = other.End
	}
	if d.Duration == nil {
		d.Duration = other.Duration
	}
	if d.Planned == nil {
		d.Planned = other.Planned
	}
	d.EndOnNext = d.EndOnNext || other.EndOnNext
	if len(d.SpliceCommand) == 0 {
		d.SpliceCommand = other.SpliceCommand
	}
	if len(d.SpliceOut) == 0 {
		d.SpliceOut = other.SpliceOut
	}
	if len(d.SpliceIn) == 0 {
		d.SpliceIn = other.SpliceIn
	}
	d.Attributes = slices.Clip(d.Attributes)
	for _, a := range other.Attributes {
		if !slices.ContainsFunc(d.Attributes, func(b Attribute) bool { return b.Name == a.Name }) {
			d.Attributes = append(d.Attributes, a)
		}
	}
	return d
}

// clone returns a copy that shares nothing with the caller.
func (d DateRange) clone() DateRange {
	d.Cue = slices.Clone(d.Cue)
	d.Duration, d.Planned = copied(d.Duration), copied(d.Planned)
	d.SpliceCommand = bytes.Clone(d.SpliceCommand)
	d.SpliceOut, d.SpliceIn = bytes.Clone(d.SpliceOut), bytes.Clone(d.SpliceIn)
	d.Attributes = slices.Clone(d.Attributes)
	for i := range d.Attributes {
		a := &d.Attributes[i]
		a.Number, a.Hex = copied(a.Number), bytes.Clone(a.Hex)
	}
	return d
}

func copied[T any](p *T) *T {
	if p == nil {
		return nil
	}
	return new(*p)
}
