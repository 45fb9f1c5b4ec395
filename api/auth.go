package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"

	"github.com/whipcast/whipcast/internal/problem"
)

// Principals: who a request comes from. One token means one publisher, so that
// an encoder that lost its connection takes over its own session.
const (
	principalOwner  = "owner"  // who knows the publish token
	principalViewer = "viewer" // anybody, while watching is open
)

// Auth decides by one token, kept as a hash only. It is immutable.
type Auth struct {
	token     [sha256.Size]byte
	openWatch bool
}

// NewAuth returns the rules for one publish token, which must not be empty.
// watch is "open" or "token".
func NewAuth(token, watch string) *Auth {
	return &Auth{token: sha256.Sum256([]byte(token)), openWatch: watch == "open"}
}

// Publish says who asks to publish to a stream. The error is a problem.Problem.
// It is the same, after the same time, for streams that exist and others
// (specs X1).
func (a *Auth) Publish(r *http.Request, _ string) (string, error) {
	return a.owner(r)
}

// Watch says who asks to watch a stream. While watching is open it does not look
// at credentials: a viewer that sends some is the same viewer without them.
func (a *Auth) Watch(r *http.Request, _ string) (string, error) {
	if a.openWatch {
		return principalViewer, nil
	}
	return a.owner(r)
}

func (a *Auth) owner(r *http.Request) (string, error) {
	given := bearer(r)
	if given == "" {
		return "", problem.Problem{
			Status: http.StatusUnauthorized, Title: "token needed",
			Detail: "send the header Authorization: Bearer and the publish token",
		}
	}
	// The hashes are compared, in constant time: neither the token's bytes nor
	// its length can be found by measuring (specs X1).
	sum := sha256.Sum256([]byte(given))
	if subtle.ConstantTimeCompare(sum[:], a.token[:]) != 1 {
		return "", problem.Problem{
			Status: http.StatusUnauthorized, Title: "wrong token",
			Detail: "the publish token is auth.publish_token, or where that is empty in the file publish_token of the data directory",
		}
	}
	return principalOwner, nil
}

// bearer returns the token of the Authorization header. The scheme's letter case
// does not matter, and a header that is nothing but a token counts, too: some
// encoders send it so (specs W74).
func bearer(r *http.Request) string {
	value := strings.TrimSpace(r.Header.Get("Authorization"))
	scheme, token, found := strings.Cut(value, " ")
	if !found {
		if strings.EqualFold(value, "Bearer") {
			return ""
		}
		return value
	}
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}
