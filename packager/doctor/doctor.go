// Package doctor examines what a publisher sends and says in plain words what is
// wrong with it and what to do about it.
//
// One Examiner looks after one Layer during one Epoch. It is pure: no goroutine,
// no clock, no I/O. Time comes in with the observations and with Advance.
//
//	units, counters, sender reports, ──▶ seconds ──▶ opinions ──▶ signs ──▶ Findings ──▶ Compare
//	key frame requests, sound levels                           (hysteresis)          (what to log)
//
// It sees packets and coded pictures, not the picture: where something that is
// wrong looks the same as something that is wanted, the words say so.
//
// Invariant: an observation allocates nothing, and memory does not grow with time.
package doctor

import (
	"slices"
	"time"
)

// Code names a kind of finding. Codes are stable: programs may rely on them.
type Code string

// The codes, with the items of the conformance list that they are about.
const (
	LayerDead        Code = "layer-dead"        // R43: nothing of this Layer while another one lives
	NoPackets        Code = "no-packets"        // R30: nothing at all
	NoKeyframe       Code = "no-keyframe"       // R21: nothing that a decoder can start with
	IntraRefresh     Code = "intra-refresh"     // R38
	EncoderSlow      Code = "encoder-slow"      // the media's time runs slower than real time
	TooFast          Code = "too-fast"          // it runs faster, as from a file
	FrameRate        Code = "frame-rate"        // well below what it was
	UnevenFrames     Code = "uneven-frames"     // single frames are missing
	KeyframeInterval Code = "keyframe-interval" // R34–R36
	IgnoresPLI       Code = "ignores-pli"       // R33, R34
	BFrameTimes      Code = "b-frame-times"     // R13: B-frames with wrong timestamps
	BFrames          Code = "b-frames"          // R13
	PacketLoss       Code = "packet-loss"       // R27
	LatePackets      Code = "late-packets"      // R25, R29
	Malformed        Code = "malformed-packets" // R15, R17, R57
	ClockDrift       Code = "clock-drift"       // R8, R12
	Bitrate          Code = "bitrate-limit"     // X24: close to what a publisher may send
	NoSenderReports  Code = "no-sender-reports" // R1–R5
	ResolutionThrash Code = "resolution-thrash" // R19
	FrozenPicture    Code = "frozen-picture"    // pictures without change
	Silence          Code = "silence"           // sound without sound
	MonoAudio        Code = "mono-audio"        // R46
	OpusDTX          Code = "opus-dtx"          // R47
)

// Codes returns all codes.
func Codes() []Code {
	var all []Code
	for _, t := range texts() {
		all = append(all, t.code)
	}
	return all
}

// Severity says how much a finding matters to those who watch.
type Severity uint8

// The severities, rising.
const (
	Note    Severity = iota + 1 // good to know; viewers notice nothing
	Warning                     // the show is worse than it could be
	Problem                     // viewers see or hear that something is wrong
)

// String returns "note", "warning" or "problem".
func (s Severity) String() string {
	switch s {
	case Note:
		return "note"
	case Warning:
		return "warning"
	case Problem:
		return "problem"
	}
	return "none"
}

// Finding is one thing that is wrong. It is a value: nobody changes it.
type Finding struct {
	Code     Code
	Severity Severity  // the worst since the finding was raised
	Words    string    // what is wrong, for a person
	Remedy   string    // what to do about it
	Since    time.Time // when it began
	Value    float64   // the measure behind it, see Unit; 0 where there is none
	Unit     string    // "s", "%", "ppm", "fps", "/min" or, without a measure, empty
}

// Change is what is different between two lists of findings.
type Change struct {
	Raised  []Finding // new, or with another severity
	Cleared []Finding // as they were
}

// Compare says what changed from one list of findings to the next. Only codes and
// severities count: a new value or new words are no change.
func Compare(before, after []Finding) Change {
	var c Change
	for _, f := range after {
		if !slices.ContainsFunc(before, func(b Finding) bool { return b.Code == f.Code && b.Severity == f.Severity }) {
			c.Raised = append(c.Raised, f)
		}
	}
	for _, b := range before {
		if !slices.ContainsFunc(after, func(f Finding) bool { return b.Code == f.Code }) {
			c.Cleared = append(c.Cleared, b)
		}
	}
	return c
}

// Config says what is known of a Layer before its first packet.
type Config struct {
	Codec     string // as in au.Params
	ClockRate int64  // RTP units per second; 48,000 for audio and 90,000 otherwise if zero
	// OnRequest says that the publisher promised to send key frames when asked, as
	// browsers do. OBS and FFmpeg do not (specs R34).
	OnRequest bool
	Simulcast bool // one of several Layers of the same picture
	Stereo    bool // the publisher was asked to send stereo (specs R46)
	// KeyframeInterval is how far apart key frames should be; 2 s if zero.
	KeyframeInterval time.Duration
}

func (c Config) withDefaults() Config {
	if c.ClockRate <= 0 {
		c.ClockRate = 90000
		if c.audio() {
			c.ClockRate = 48000
		}
	}
	if c.KeyframeInterval <= 0 {
		c.KeyframeInterval = 2 * time.Second
	}
	return c
}

// The audio codecs.
const (
	opus = "Opus"
	aac  = "AAC"
)

func (c *Config) audio() bool { return c.Codec == opus || c.Codec == aac }
