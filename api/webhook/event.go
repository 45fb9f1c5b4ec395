package webhook

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The types of events.
const (
	StreamStarted    = "stream.started"    // a publisher is there
	StreamStopped    = "stream.stopped"    // it left, or another one took its place
	StreamEnded      = "stream.ended"      // nobody came back in time: players are told the end
	StreamDegraded   = "stream.degraded"   // viewers see or hear that something is wrong
	StreamRecovered  = "stream.recovered"  // and not any more
	ReplayReady      = "replay.ready"      // a stream that has ended can be watched from its begin
	StorageFailing   = "storage.failing"   // nothing gets through to a storage place
	StorageRecovered = "storage.recovered" // and again it does
	StageChanged     = "stage.changed"     // a stage was made, changed or removed
	SeatJoined       = "seat.joined"       // somebody fills a seat of a stage
	SeatLeft         = "seat.left"         // and has not come back, or was thrown out
	SeatState        = "seat.state"        // a seat was let in, put on air, muted
	ProgramCut       = "program.cut"       // a stage's program has another picture
)

// Types returns all types of events.
func Types() []string {
	return []string{
		StreamStarted, StreamStopped, StreamEnded, StreamDegraded, StreamRecovered, ReplayReady, StorageFailing, StorageRecovered,
		StageChanged, SeatJoined, SeatLeft, SeatState, ProgramCut,
	}
}

// Event is one thing that happened. It is a value: nobody changes it.
type Event struct {
	Type   string
	Stream string    // that it is about; "" for none
	Time   time.Time // when it happened
	Data   any       // what else there is to say; it must be possible as JSON
}

// payload is the body of a call, as Standard Webhooks recommends it.
type payload struct {
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"`
	Stream    string    `json:"stream,omitempty"`
	Data      any       `json:"data,omitempty"`
}

// maxBody is the most bytes of one call.
const maxBody = 64 << 10

// Body returns what a receiver gets of an event.
func (e Event) Body() ([]byte, error) {
	text, err := json.Marshal(payload{e.Type, e.Time.UTC().Truncate(time.Millisecond), e.Stream, e.Data})
	switch {
	case err != nil:
		return nil, fmt.Errorf("write %s: %w", e.Type, err)
	case len(text) > maxBody:
		return nil, fmt.Errorf("write %s: %d bytes, more than %d", e.Type, len(text), maxBody)
	}
	return text, nil
}

// wants says whether an event is one that a Hook is told.
func (h Hook) wants(e Event) bool {
	if len(h.Events) > 0 && !slices.Contains(h.Events, e.Type) {
		return false
	}
	if len(h.Streams) == 0 || e.Stream == "" {
		return true
	}
	return slices.ContainsFunc(h.Streams, func(pattern string) bool {
		beginning, open := strings.CutSuffix(pattern, "*")
		return pattern == e.Stream || open && strings.HasPrefix(e.Stream, beginning)
	})
}
