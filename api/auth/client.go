package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/whipcast/whipcast/internal/outbound"
)

// askTime is how long an answer of another server may take (specs X6).
const askTime = 3 * time.Second

// newClient returns a client for the servers that the operator has named: trusted,
// yet they get bounded time, follow no redirect, and no proxy of the environment
// sees what is sent to them (specs X6, X30).
func newClient() *http.Client {
	return outbound.NewClient(outbound.Config{Time: askTime, Calls: maxCalls})
}

// fetch returns the body of an answer of status 200 with at most so many bytes.
func fetch(ctx context.Context, client *http.Client, url string, most int64) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, errors.New("not a URL")
	}
	request.Header.Set("Accept", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close() //nolint:errcheck // it was read
	body, err := io.ReadAll(io.LimitReader(response.Body, most+1))
	switch {
	case err != nil:
		return nil, err
	case response.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("status %d", response.StatusCode)
	case int64(len(body)) > most:
		return nil, fmt.Errorf("more than %d bytes", most)
	}
	return body, nil
}
