package au

import "time"

const (
	defaultReorder    = 250 * time.Millisecond
	defaultMaxReorder = 1024
	defaultMaxUnit    = 8 << 20
)

// Config says how an Assembler treats disorder and loss. The zero Config works.
type Config struct {
	// Reorder is how long a missing packet is waited for; 250 ms if zero. A
	// retransmission takes about two round trips (specs R25).
	Reorder time.Duration
	// MaxReorder is how many packets may be held behind a missing one; 1024 if
	// zero. Beyond that the missing one is given up at once.
	MaxReorder int
	// MaxUnit is the largest Unit in bytes; 8 MiB if zero. Larger ones are dropped.
	MaxUnit int
	// Strict drops everything after a loss up to the next keyframe, for sources
	// that send one when asked. Otherwise only the damaged Unit is dropped, and
	// pictures may show artefacts until the next keyframe (specs R27).
	Strict bool
	// Fmtp are the format parameters of the SDP. Parameter sets in it serve until
	// the first ones come with the media (specs R22).
	Fmtp string
	// ClockRate is that of the RTP timestamps where the codec does not say it: of AAC,
	// whose sample rate it is if zero.
	ClockRate int
}

func (c Config) withDefaults() Config {
	if c.Reorder <= 0 {
		c.Reorder = defaultReorder
	}
	if c.MaxReorder <= 0 {
		c.MaxReorder = defaultMaxReorder
	}
	if c.MaxUnit <= 0 {
		c.MaxUnit = defaultMaxUnit
	}
	return c
}

// Stats counts what an Assembler saw since New.
type Stats struct {
	Packets    uint64 // pushed
	Duplicates uint64 // packets that had come before
	Late       uint64 // packets that came after they had been given up
	Reordered  uint64 // packets that had to be held because one before them was missing
	Lost       uint64 // sequence numbers given up

	Units     uint64 // finished
	Keyframes uint64 // of them, those where a decoder can start; not counted for audio
	Damaged   uint64 // access units dropped because a part was missing or malformed
	Discarded uint64 // whole access units dropped: before a keyframe, or without valid parameter sets

	BadPayloads uint64 // packets whose payload does not follow its RTP format
	BadParams   uint64 // parameter sets that are malformed or of an absurd size
	// RecoveryPoints counts access units that say by SEI that a decoder may start
	// there, though they are no keyframe.
	RecoveryPoints uint64
	// Disordered counts access units whose timestamp contradicts the picture
	// order, as from a sender that stamps B-frames in decoding order (specs R13).
	Disordered uint64
	Restarts   uint64 // jumps of the source's clock (specs R11)
}

// IntraRefresh reports whether the source seems to refresh its pictures little
// by little and never sends a keyframe. Such a stream cannot be cut into
// segments (specs R38).
func (s Stats) IntraRefresh() bool {
	return s.RecoveryPoints > 0 && s.Keyframes == 0
}
