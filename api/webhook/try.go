package webhook

import (
	"context"
	"crypto/rand"
	"time"
)

// Check is the type of the event that Try sends. It means nothing.
const Check = "whipcast.check"

// Try sends a Hook an event of the type Check, whatever it wants to be told, and returns
// the status of the answer. Nothing is tried again, or kept.
func Try(ctx context.Context, h Hook) (status int, err error) {
	e := &endpoint{hook: h}
	if err := e.connect(Config{Calls: 1}); err != nil {
		return 0, err
	}
	defer e.client.CloseIdleConnections()
	body, err := Event{Type: Check, Time: time.Now()}.Body()
	if err != nil {
		return 0, err
	}
	r := e.call(ctx, &entry{ID: "check_" + rand.Text(), Body: body})
	return r.status, r.err
}
