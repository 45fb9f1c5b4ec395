package limit

import (
	"errors"
	"fmt"
	"time"
)

// ErrBitrate is the reason of a session whose publisher sent too much (specs X24).
var ErrBitrate = errors.New("publisher sends more than it may: lower the encoder's bit rate, or raise limits.bitrate")

const (
	// MeterEvery is how often what came is to be counted.
	MeterEvery = time.Second
	// ahead is how much more than its due a publisher may send: key frames are
	// large. Twice the limit is noticed after this time, a tenth more after ten
	// times of it.
	ahead = 2 * time.Second
)

// Meter decides when a publisher has sent too much. It is pure, and belongs to one
// goroutine. The zero Meter has no limit.
type Meter struct {
	Limit float64 // bits a second; 0: none

	debt float64 // bits beyond what was due
}

// Spend counts what came in a time, and returns ErrBitrate with the figures when it
// was too much.
func (m *Meter) Spend(bytes uint64, in time.Duration) error {
	if m.Limit <= 0 || in <= 0 {
		return nil
	}
	bits := 8 * float64(bytes)
	m.debt = max(0, m.debt+bits-m.Limit*in.Seconds())
	if m.debt <= m.Limit*ahead.Seconds() {
		return nil
	}
	return fmt.Errorf("%.1f Mb/s came, %.1f are allowed: %w", bits/in.Seconds()/1e6, m.Limit/1e6, ErrBitrate)
}
