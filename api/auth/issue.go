package auth

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// ErrNoFolder says that there is no folder that could keep keys and revocations.
var ErrNoFolder = errors.New("there is no folder that could keep it")

// Issue makes a token of ours of a grant: see Keyring.Sign. It makes the first signing
// key if there is none. The token is valid when it returns. Any goroutine may call it.
func (a *Authority) Issue(g Grant) (string, Grant, error) {
	if a.folder == "" {
		return "", Grant{}, fmt.Errorf("issue token: %w", ErrNoFolder)
	}
	a.mu.Lock() // one goroutine makes the first key
	k, err := a.folder.SigningKeyring()
	a.mu.Unlock()
	if err != nil {
		return "", Grant{}, err
	}
	now := time.Now()
	token, g, err := k.Sign(g, now)
	if err != nil {
		return "", Grant{}, err
	}
	if _, err := a.keys.Load().verify(token, now); errors.Is(err, errWrong) { // its key is new
		more, err := a.load(now)
		if more {
			a.tell()
		}
		if err != nil {
			return "", Grant{}, err
		}
	}
	return token, g, nil
}

// Revocations returns those that are in force, oldest first. Any goroutine may call it.
func (a *Authority) Revocations() ([]Revocation, error) {
	if a.folder == "" {
		return nil, nil
	}
	return a.folder.Revocations(time.Now())
}

// Within reports whether a grant permits no more than another one, so that the owner of
// that may give it away: not other streams, not other actions, and not longer.
func (g Grant) Within(other Grant) bool {
	if g.Actions&^other.Actions != 0 && other.Actions&Admin == 0 {
		return false
	}
	if !other.Expires.IsZero() && (g.Expires.IsZero() || g.Expires.After(other.Expires)) {
		return false
	}
	for _, p := range g.Streams {
		if !slices.ContainsFunc(other.Streams, func(o Pattern) bool { return o.covers(p) }) {
			return false
		}
	}
	return true
}

// covers reports whether all streams that another pattern names are named by this one.
func (p Pattern) covers(other Pattern) bool {
	if name, open := cutStar(other); open {
		beginning, wide := cutStar(p)
		return wide && len(name) >= len(beginning) && name[:len(beginning)] == beginning
	}
	return p.Matches(string(other))
}

func cutStar(p Pattern) (string, bool) {
	if n := len(p); n > 0 && p[n-1] == '*' {
		return string(p[:n-1]), true
	}
	return string(p), false
}

// Everything reports whether a grant is for all streams.
func (g Grant) Everything() bool { return slices.Contains(g.Streams, "*") }
