package auth

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Action is one thing that can be permitted. A set of them is an Action, too.
type Action uint8

// The actions.
const (
	Publish Action = 1 << iota // send media: WHIP
	Play                       // receive it: WHEP, HLS
	Admin                      // the API; it includes all others
	Seat                       // take a seat of a stage: publish its stream, play what the stage shows it
)

// words are the actions as they are written, in the order of their bits.
func words() []string { return []string{"publish", "play", "admin", "seat"} }

// String returns the words of a set, separated by spaces.
func (a Action) String() string { return strings.Join(a.Words(), " ") }

// Words returns the words of a set, in the order of the constants.
func (a Action) Words() []string {
	var all []string
	for i, word := range words() {
		if a&(1<<i) != 0 {
			all = append(all, word)
		}
	}
	return all
}

// ParseActions reads words. It fails when one is unknown or there is none.
func ParseActions(all ...string) (Action, error) {
	var set Action
	for _, word := range all {
		i := slices.Index(words(), word)
		if i < 0 {
			return 0, fmt.Errorf("unknown action %q; use %s", word, strings.Join(words(), ", "))
		}
		set |= 1 << i
	}
	if set == 0 {
		return 0, errors.New("no action; use " + strings.Join(words(), ", "))
	}
	return set, nil
}

// Pattern names one stream, or, with a * at its end, all whose names begin so.
type Pattern string

// maxPatterns is the most patterns of one grant.
const maxPatterns = 100

// ParsePatterns checks patterns: letters, digits and . _ - and one * at the end.
func ParsePatterns(all ...string) ([]Pattern, error) {
	if len(all) == 0 || len(all) > maxPatterns {
		return nil, fmt.Errorf("%d patterns of streams; use 1 to %d", len(all), maxPatterns)
	}
	patterns := make([]Pattern, 0, len(all))
	for _, text := range all {
		name := strings.TrimSuffix(text, "*")
		odd := strings.ContainsFunc(name, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._-", r)
		})
		if odd || text == "" || len(name) > 64 {
			return nil, fmt.Errorf("%.80q is no pattern of streams; use a name, or the beginning of names and *", text)
		}
		patterns = append(patterns, Pattern(text))
	}
	return patterns, nil
}

// Matches reports whether the pattern names the stream.
func (p Pattern) Matches(stream string) bool {
	beginning, open := strings.CutSuffix(string(p), "*")
	return open && strings.HasPrefix(stream, beginning) || string(p) == stream
}

// Grant is what a credential permits. It is immutable.
type Grant struct {
	// ID names the credential, and is no secret: what it permits can be revoked by
	// it. Empty: nothing was shown.
	ID string
	// Principal is who the credential belongs to. The same principal may change
	// what it has begun, and takes over its own streams.
	Principal string
	Actions   Action
	Streams   []Pattern
	Issued    time.Time // zero: not known, as of a key that is configured
	Expires   time.Time // zero: never
}

// Why a grant does not permit what is asked for.
var (
	errExpired   = errors.New("expired")
	errForbidden = errors.New("forbidden")
)

// Permits decides. It returns nil when the grant permits the action on the stream
// at that time; a stream of "" stands for any one. It is pure, and does not know
// which streams exist (specs X1). What a seat may do depends on its stage, too: see
// Stages.
func (g Grant) Permits(action Action, stream string, now time.Time) error {
	if !g.Expires.IsZero() && !now.Before(g.Expires) {
		return errExpired
	}
	if g.Actions&(action|Admin) == 0 {
		return errForbidden
	}
	if stream == "" || slices.ContainsFunc(g.Streams, func(p Pattern) bool { return p.Matches(stream) }) {
		return nil
	}
	return errForbidden
}

// whole is a grant of everything, to who knows the publish token.
func whole() Grant {
	return Grant{ID: ownerID, Principal: ownerID, Actions: Publish | Play | Admin, Streams: []Pattern{"*"}}
}

// Shared says whether many have a principal, so that nothing can be said of one of
// them: who knows the publish token, and who watches while watching is open.
func Shared(principal string) bool { return principal == ownerID || principal == viewerID }

// The principals that no credential of another kind can have: those have a colon.
const (
	ownerID  = "owner"  // who knows the publish token
	viewerID = "viewer" // anybody, while watching is open
)
