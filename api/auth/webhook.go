package auth

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/whipcast/whipcast/internal/outbound"
)

// Webhook is a server of the operator that decides on tokens that nobody else here
// knows.
//
// It gets a POST with a webhookQuestion as JSON, signed as Standard Webhooks has it:
// webhook-signature is "v1," and the HMAC-SHA256, in base64, of webhook-id, "." ,
// webhook-timestamp, "." and the body. It answers with status 200 or 204 for yes, 401 for a
// token it does not know, 403 for one that does not permit this. Anything else, and
// silence, is no (specs X6). A body {"principal": "…"} may say who it is.
type Webhook struct {
	URL    string
	Secret string        // for the signature; after "whsec_" it is base64
	Keep   time.Duration // how long an answer counts, at most 30 s
}

const (
	maxKeep  = 30 * time.Second
	keepNo   = 5 * time.Second // who is let in a moment later must not wait long
	keepFail = time.Second     // a server in trouble is not asked by everybody
	maxCalls = 64
)

// webhookQuestion is the body of a call.
type webhookQuestion struct {
	Action   string `json:"action"`   // publish, play or admin
	Stream   string `json:"stream"`   // "" for the API as a whole
	Protocol string `json:"protocol"` // whip, whep, hls, rtsp or api
	IP       string `json:"ip"`
	Token    string `json:"token"`
}

// hook asks a Webhook, and keeps what it said.
type hook struct {
	cfg     Webhook
	secret  []byte
	client  *http.Client
	log     *slog.Logger
	answers cache[verdict]
	flights flights[verdict]
	slots   chan struct{} // holds one for each call under way

	calls, failures atomic.Uint64
}

// verdict is an answer: err is nil, errWrong, errForbidden or errUnavailable.
type verdict struct {
	grant Grant
	err   error
}

func newHook(cfg Webhook, log *slog.Logger) *hook {
	cfg.Keep = min(cfg.Keep, maxKeep)
	return &hook{cfg: cfg, secret: outbound.Secret(cfg.Secret), client: newClient(), log: log, slots: make(chan struct{}, maxCalls)}
}

// decide returns what the token grants of what is asked for, which is no more than that.
func (h *hook) decide(ctx context.Context, q Request) (Grant, error) {
	key := q.digest()
	if v, ok := h.answers.get(key, time.Now()); ok {
		return v.grant, v.err
	}
	v, err := h.flights.do(ctx, key, func() (verdict, error) {
		v, keep := h.call(ctx, q)
		now := time.Now()
		h.answers.put(key, v, now, now.Add(keep))
		return v, nil
	})
	if err != nil {
		return Grant{}, errUnavailable
	}
	return v.grant, v.err
}

// digest is the key of an answer: token, stream and action. Lengths keep the three
// apart.
func (q Request) digest() digest {
	sum := sha256.New()
	for _, text := range []string{q.Token, q.Stream, q.Action.String()} {
		_ = binary.Write(sum, binary.BigEndian, uint64(len(text))) // a hash never fails
		_, _ = io.WriteString(sum, text)
	}
	return digest(sum.Sum(nil))
}

// call asks the server, and says for how long the answer may be kept.
func (h *hook) call(ctx context.Context, q Request) (verdict, time.Duration) {
	// Others wait for this, too: it does not end with the request that began it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTime)
	defer cancel()
	h.calls.Add(1)
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	case <-ctx.Done():
		return h.failed(ctx, ctx.Err())
	}
	request, err := h.request(ctx, q)
	if err != nil {
		return h.failed(ctx, err)
	}
	response, err := h.client.Do(request)
	if err != nil {
		return h.failed(ctx, err)
	}
	defer response.Body.Close() //nolint:errcheck // it was read
	body, err := io.ReadAll(io.LimitReader(response.Body, 16<<10))
	if err != nil {
		return h.failed(ctx, err)
	}
	keep := keepOf(response.Header.Get("Cache-Control"), h.cfg.Keep)
	switch response.StatusCode {
	case http.StatusOK, http.StatusNoContent:
		return verdict{grant: q.granted(body, time.Now())}, keep
	case http.StatusUnauthorized:
		return verdict{err: errWrong}, min(keep, keepNo)
	case http.StatusForbidden:
		return verdict{err: errForbidden}, min(keep, keepNo)
	}
	return h.failed(ctx, fmt.Errorf("status %d, where 200, 204, 401 or 403 are answers", response.StatusCode))
}

func (h *hook) request(ctx context.Context, q Request) (*http.Request, error) {
	body, err := json.Marshal(webhookQuestion{q.Action.String(), q.Stream, q.Protocol, q.Address, q.Token})
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, h.cfg.URL, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	outbound.Sign(request.Header, h.secret, "auth_"+rand.Text(), strconv.FormatInt(time.Now().Unix(), 10), body)
	return request, nil
}

func (h *hook) failed(ctx context.Context, err error) (verdict, time.Duration) {
	h.failures.Add(1)
	h.log.WarnContext(ctx, "auth.webhook does not answer: who only it knows is refused", "error", err)
	return verdict{err: errUnavailable}, keepFail
}

// granted makes a grant of a yes: of what was asked for, and nothing else.
func (q Request) granted(body []byte, now time.Time) Grant {
	var said struct {
		Principal string `json:"principal"`
	}
	sum := sha256.Sum256([]byte(q.Token))
	id := "webhook:" + hex.EncodeToString(sum[:8])
	g := Grant{ID: id, Principal: id, Actions: q.Action, Streams: []Pattern{"*"}, Issued: now}
	if q.Stream != "" {
		g.Streams = []Pattern{Pattern(q.Stream)}
	}
	// A body of another kind, such as "OK", says nothing more.
	if json.Unmarshal(body, &said) == nil && said.Principal != "" && len(said.Principal) <= 256 {
		g.Principal = "user:" + said.Principal
	}
	return g
}

// keepOf reads for how long an answer may be kept: as configured, or less if it says so.
func keepOf(control string, most time.Duration) time.Duration {
	for word := range strings.SplitSeq(strings.ToLower(control), ",") {
		word = strings.TrimSpace(word)
		if word == "no-store" || word == "no-cache" {
			return 0
		}
		if text, ok := strings.CutPrefix(word, "max-age="); ok {
			if seconds, err := strconv.ParseUint(text, 10, 32); err == nil {
				most = min(most, time.Duration(seconds)*time.Second)
			}
		}
	}
	return most
}
