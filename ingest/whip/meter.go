package whip

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// ErrBitrate is the reason of a Session whose publisher sent too much (specs X24).
var ErrBitrate = errors.New("publisher sends more than it may: lower the encoder's bit rate, or raise limits.bitrate")

// Metrics counts what the package does. The zero value works; it may be read at any
// time.
type Metrics struct {
	Cut atomic.Uint64 // publishers that sent more than they may
}

const (
	// meterEvery is how often it is looked at what has come.
	meterEvery = time.Second
	// ahead is how much more than its due a publisher may send: key frames are
	// large. Twice the limit is noticed after this time, a tenth more after ten
	// times of it.
	ahead = 2 * time.Second
)

// meter decides when a publisher has sent too much. It is pure.
type meter struct {
	limit float64 // bits a second; 0: none
	debt  float64 // bits beyond what was due
}

// spend counts what came in a time, and returns ErrBitrate with the figures when it
// was too much.
func (m *meter) spend(bytes uint64, in time.Duration) error {
	if m.limit <= 0 || in <= 0 {
		return nil
	}
	bits := 8 * float64(bytes)
	m.debt = max(0, m.debt+bits-m.limit*in.Seconds())
	if m.debt <= m.limit*ahead.Seconds() {
		return nil
	}
	return fmt.Errorf("%.1f Mb/s came, %.1f are allowed: %w", bits/in.Seconds()/1e6, m.limit/1e6, ErrBitrate)
}
