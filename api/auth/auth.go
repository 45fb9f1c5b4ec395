// Package auth decides who may do what: one model for WHIP, WHEP, HLS, RTSP and the
// API.
//
//	request ─▶ Request ─▶ who is it? ─────────────────────▶ Grant ─▶ revoked? ─▶ permitted?
//	           (token)    publish token, keys: by their hash
//	                      own tokens: a signature of ours
//	                      tokens of auth.jwks: a signature of theirs
//	                      all else: auth.webhook
//
// What is decided is pure: Grant.Permits, revoked.covers. Tokens of all kinds may
// come in the Authorization header, in the path or in the query. None is ever
// logged, counted by name, or written into an answer. Nothing here knows which
// streams exist, so that the answers are the same for those that do not (specs X1).
package auth

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/whipcast/whipcast/internal/problem"
)

// Config of an Authority. All parts may be missing; without any nobody may do
// anything.
type Config struct {
	Token   string // the publish token, which permits everything
	Watch   Watch
	Keys    []Key
	Folder  Folder   // of signing keys and revocations; "" for none
	JWKS    *JWKS    // nil: none
	Webhook *Webhook // nil: none
	Stages  Stages   // nil: there are none
	Logger  *slog.Logger
}

// Watch says who may watch.
type Watch string

// The values of Watch.
const (
	Open   Watch = "open"  // everybody: credentials are not even looked at
	Closed Watch = "token" // who has a grant
)

// Key is a static key: a text of which only the hash is configured.
type Key struct {
	Name    string
	Hash    string // ParseHash reads it
	Actions Action
	Streams []Pattern
}

// Hash returns the form of a key that is configured. The keys that whipcast token
// makes have 130 random bits: nobody finds one by trying hashes, so a slow hash with
// a salt would only make each request slow.
func Hash(key string) string {
	sum := sha256.Sum256([]byte(key))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// ParseHash checks the form that Hash returns.
func ParseHash(text string) ([sha256.Size]byte, error) {
	digits, ok := strings.CutPrefix(text, "sha256:")
	sum, err := hex.DecodeString(digits)
	if !ok || err != nil || len(sum) != sha256.Size {
		return [sha256.Size]byte{}, errors.New("not sha256: and 64 hexadecimal digits")
	}
	return [sha256.Size]byte(sum), nil
}

// Why somebody is refused, besides what Grant.Permits says.
var (
	errNone        = errors.New("no token")
	errWrong       = errors.New("unknown token")
	errRevoked     = errors.New("revoked")
	errUnavailable = errors.New("cannot be checked now")
)

const (
	verifiedFor = 30 * time.Second // a signature is not checked again for so long
	lookEvery   = time.Second      // at the files of the folder
	lookAgain   = 20 * time.Millisecond
)

// Authority decides. All methods may be called from any goroutine.
type Authority struct {
	open   bool
	stages Stages // nil: none
	folder Folder
	log    *slog.Logger
	static map[digest]Grant // by hash: read-only
	remote *remoteKeys      // nil: none
	hook   *hook            // nil: none

	keys     atomic.Pointer[Keyring]
	revoked  atomic.Pointer[revoked]
	verified cache[Grant] // of signatures: what expires and what is revoked is looked at each time
	dirty    chan struct{}
	refused  atomic.Uint64

	mu     sync.Mutex
	seen   map[string]string // below mu: the states of the files that were read
	looked time.Time         // below mu: when own found no key the last time
}

// New returns an Authority. It reads the folder, which need not exist yet, and fails
// when something in there cannot be used. Run keeps it up to date.
func New(cfg Config) (*Authority, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	a := &Authority{
		open: cfg.Watch == Open, stages: cfg.Stages, folder: cfg.Folder, log: cfg.Logger,
		static: make(map[digest]Grant), dirty: make(chan struct{}, 1), seen: make(map[string]string),
	}
	for _, k := range cfg.Keys {
		sum, err := ParseHash(k.Hash)
		if err != nil {
			return nil, fmt.Errorf("read key %q: %w", k.Name, err)
		}
		a.static[sum] = Grant{ID: "key:" + k.Name, Principal: "key:" + k.Name, Actions: k.Actions, Streams: k.Streams}
	}
	if cfg.Token != "" {
		a.static[sha256.Sum256([]byte(cfg.Token))] = whole()
	}
	if cfg.JWKS != nil {
		a.remote = newRemoteKeys(*cfg.JWKS, cfg.Logger)
	}
	if cfg.Webhook != nil {
		a.hook = newHook(*cfg.Webhook, cfg.Logger)
	}
	a.keys.Store(&Keyring{})
	a.revoked.Store(collect(nil, time.Time{}))
	if a.folder == "" {
		return a, nil
	}
	if _, err := a.load(time.Now()); err != nil {
		return nil, err
	}
	if err := a.folder.compact(time.Now()); err != nil {
		a.log.Warn("revocations that are over stay in their file", "error", err)
	}
	return a, nil
}

// Run looks after the files of the folder until ctx ends, and calls changed after
// each change of what is revoked: then sessions have to end for which Revoked says
// so. It is for one goroutine.
func (a *Authority) Run(ctx context.Context, changed func()) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	defer a.idle()
	told := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.dirty:
			changed()
			continue
		case <-tick.C:
		}
		if a.folder == "" {
			continue
		}
		more, err := a.load(time.Now())
		if err != nil && err.Error() != told {
			told = err.Error()
			a.log.WarnContext(ctx, "what changed in data_dir cannot be used: tokens and revocations stay as they were", "error", err)
		}
		if more {
			changed()
		}
	}
}

// idle closes the connections to other servers.
func (a *Authority) idle() {
	if a.remote != nil {
		a.remote.client.CloseIdleConnections()
	}
	if a.hook != nil {
		a.hook.client.CloseIdleConnections()
	}
}

// load reads the files that have changed, and reports whether revocations have.
func (a *Authority) load(now time.Time) (bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var errs []error
	if state := a.folder.state(keysFile); state != a.seen[keysFile] {
		a.seen[keysFile] = state
		k, err := a.folder.Keyring()
		if err == nil {
			a.keys.Store(k)
			a.verified.clear()
		} else {
			delete(a.seen, keysFile) // look again
		}
		errs = append(errs, err)
	}
	more := false
	if state := a.folder.state(revokedFile); state != a.seen[revokedFile] {
		a.seen[revokedFile] = state
		all, err := a.folder.Revocations(now)
		if err == nil {
			a.revoked.Store(collect(all, now))
			a.forget()
			more = true
		} else {
			delete(a.seen, revokedFile)
		}
		errs = append(errs, err)
	}
	return more, errors.Join(errs...)
}

// forget drops what the webhook said: it may say something else after a revocation.
func (a *Authority) forget() {
	if a.hook != nil {
		a.hook.answers.clear()
	}
}

// Revoke takes back what was granted, now and over restarts. Requests are refused
// from here on; Run's changed ends the sessions.
func (a *Authority) Revoke(r Revocation) error {
	if r.At.IsZero() {
		r.At = time.Now()
	}
	if r.Until.IsZero() {
		r.Until = r.At.Add(MaxTTL)
	}
	if a.folder == "" {
		return fmt.Errorf("revoke: %w", ErrNoFolder)
	}
	if err := a.room(); err != nil {
		return fmt.Errorf("revoke: %w", err)
	}
	if err := a.folder.Append(r); err != nil {
		return err
	}
	_, err := a.load(time.Now())
	a.tell()
	return err
}

// room fails when there are as many revocations as may be: with one more the file could
// not be read any more, and no gateway would start with it.
func (a *Authority) room() error {
	if a.revoked.Load().count < maxRevoked {
		return nil
	}
	all, err := a.folder.Revocations(time.Now()) // some may be over by now
	if err != nil || len(all) < maxRevoked {
		return err
	}
	return fmt.Errorf("%d revocations are kept at most: wait until some are over, or rotate the signing keys and remove %s", maxRevoked, revokedFile)
}

// tell lets Run call changed.
func (a *Authority) tell() {
	select {
	case a.dirty <- struct{}{}:
	default:
	}
}

// Revoked reports whether a grant has been taken back for a stream since it was given.
func (a *Authority) Revoked(g Grant, stream string) bool {
	return a.revoked.Load().covers(g, stream)
}

// Decide returns the grant that permits what is asked for. The error is a
// problem.Problem: 401 for who shows nothing, or nothing valid; 403 for a valid token
// that does not permit this (specs W73); 503 while it cannot be known.
func (a *Authority) Decide(ctx context.Context, q Request) (Grant, error) {
	if a.public(q.Action, q.Stream) {
		return Grant{Principal: viewerID, Actions: Play, Streams: []Pattern{"*"}}, nil
	}
	g, err := a.identify(ctx, q)
	if err == nil && a.Revoked(g, q.Stream) {
		err = errRevoked
	}
	if err == nil {
		err = g.Permits(q.Action, q.Stream, time.Now())
		if errors.Is(err, errForbidden) && a.seated(g, q.Action, q.Stream) {
			err = nil
		}
	}
	if err != nil {
		a.refused.Add(1)
		return Grant{}, refusal(err)
	}
	return g, nil
}

// identify finds out what a token grants.
func (a *Authority) identify(ctx context.Context, q Request) (Grant, error) {
	switch {
	case q.Token == "":
		return Grant{}, errNone
	case len(q.Token) > maxToken:
		return Grant{}, errWrong
	}
	key, now := digest(sha256.Sum256([]byte(q.Token))), time.Now()
	if g, ok := a.static[key]; ok {
		return g, nil
	}
	if g, ok := a.verified.get(key, now); ok {
		return g, nil
	}
	var g Grant
	var err error
	switch issuer := issuerOf(q.Token); {
	case issuer == ownIssuer:
		g, err = a.own(q.Token, now)
	case issuer != "" && a.remote != nil && issuer == a.remote.cfg.Issuer:
		g, err = a.remote.verify(ctx, q.Token, now)
	case a.hook != nil:
		return a.hook.decide(ctx, q)
	default:
		err = errWrong
	}
	if err != nil {
		return Grant{}, err
	}
	a.verified.put(key, g, now, now.Add(verifiedFor))
	return g, nil
}

// own verifies a token of ours. One that the keys at hand do not verify may be of a
// key that another process made a moment ago, with the token.
func (a *Authority) own(token string, now time.Time) (Grant, error) {
	k := a.keys.Load()
	g, err := k.verify(token, now)
	if errors.Is(err, errWrong) && a.mayLook(now) {
		if more, _ := a.load(now); more { // Run tells of errors
			a.tell()
		}
		if fresh := a.keys.Load(); fresh != k {
			return fresh.verify(token, now)
		}
	}
	return g, err
}

// mayLook bounds what bad tokens cost.
func (a *Authority) mayLook(now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.folder == "" || now.Sub(a.looked) < lookAgain {
		return false
	}
	a.looked = now
	return true
}

// refusal is the table from reasons to what is answered.
func refusal(err error) problem.Problem {
	for _, row := range []struct {
		is      error
		problem problem.Problem
	}{
		{errNone, problem.Problem{
			Status: http.StatusUnauthorized, Code: "token-needed", Title: "token needed",
			Detail: "send the header Authorization: Bearer and a token, such as the publish token",
		}},
		{errExpired, problem.Problem{
			Status: http.StatusUnauthorized, Code: "token-expired", Title: "token expired",
			Detail: "ask for a new one: whipcast token makes them",
		}},
		{errRevoked, problem.Problem{
			Status: http.StatusUnauthorized, Code: "token-revoked", Title: "token revoked",
			Detail: "ask for a new one: whipcast token makes them",
		}},
		{errForbidden, problem.Problem{
			Status: http.StatusForbidden, Code: "not-permitted", Title: "not permitted",
			Detail: "the token is valid, but not for this stream and what is to be done with it: ask for another one",
		}},
		{errUnavailable, problem.Problem{
			Status: http.StatusServiceUnavailable, Code: "token-unchecked", Title: "token cannot be checked", RetryAfter: 2 * time.Second,
			Detail: "the server that knows this token does not answer: try again in a moment",
		}},
	} {
		if errors.Is(err, row.is) {
			return row.problem
		}
	}
	return problem.Problem{
		Status: http.StatusUnauthorized, Code: "wrong-token", Title: "wrong token",
		Detail: "the gateway does not know this token; the publish token is auth.publish_token, " +
			"or where that is empty in the file publish_token of the data directory",
	}
}

// Stats counts what was decided.
type Stats struct {
	Refused         uint64 // requests
	WebhookCalls    uint64
	WebhookFailures uint64
	JWKSFailures    uint64
	Revocations     int // in force
}

// Stats returns the present numbers.
func (a *Authority) Stats() Stats {
	r := a.revoked.Load()
	s := Stats{Refused: a.refused.Load(), Revocations: len(r.tokens) + len(r.principals) + len(r.streams)}
	if a.hook != nil {
		s.WebhookCalls, s.WebhookFailures = a.hook.calls.Load(), a.hook.failures.Load()
	}
	if a.remote != nil {
		s.JWKSFailures = a.remote.failures.Load()
	}
	return s
}
