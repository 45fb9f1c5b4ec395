package auth

import (
	"context"
	"crypto/rand"
	"io"
	"log/slog"
)

// Try fetches the key set, as it is done when a token comes, and returns how many keys
// of it can be used.
func (j JWKS) Try(ctx context.Context) (keys int, err error) {
	r := newRemoteKeys(j, slog.New(slog.DiscardHandler))
	defer r.client.CloseIdleConnections()
	all, err := r.download(ctx)
	return len(all), err
}

// Try asks whether a token that nobody has made may watch a stream, and returns the
// status of the answer.
func (w Webhook) Try(ctx context.Context) (status int, err error) {
	h := newHook(w, slog.New(slog.DiscardHandler))
	defer h.client.CloseIdleConnections()
	request, err := h.request(ctx, Request{Action: Play, Stream: "whipcast-check", Protocol: "api", Address: "127.0.0.1", Token: "whipcast-check-" + rand.Text()})
	if err != nil {
		return 0, err
	}
	response, err := h.client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close() //nolint:errcheck // nothing of it is wanted
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 16<<10))
	return response.StatusCode, nil
}
