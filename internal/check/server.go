package check

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/whipcast/whipcast/internal/fault"
)

// Answer is what a server that was tried said.
type Answer struct {
	URL    string // that was tried; only its host is shown, for the rest may be a secret
	Status int    // of HTTP; 0 without an answer
	Err    error  // why there is none, or what is wrong with it
}

// silent says why there was no answer.
func (a Answer) silent(name string) Finding {
	f := Finding{Name: name, State: Failed, Cause: a.host() + " gave no answer that can be used"}
	if why, step := fault.Network(a.Err); step != fault.Unknown {
		f.Cause, f.Remedy = a.host()+": "+why.Cause, why.Remedy
	}
	if f.Remedy == "" {
		f.Remedy = "correct the URL, or let this machine reach it"
	}
	return f
}

func (a Answer) host() string {
	if at, err := url.Parse(a.URL); err == nil && at.Host != "" {
		return at.Host
	}
	return "the server"
}

// KeySet tells of an issuer whose key set was fetched, and how many keys of it can be
// used.
func KeySet(name string, a Answer, keys int) Finding {
	switch _, step := fault.Network(a.Err); {
	case a.Err != nil && step != fault.Unknown:
		return a.silent(name)
	case a.Err != nil:
		return Finding{
			name, Failed, fmt.Sprintf("%s has no key set that can be used: %v", a.host(), a.Err),
			"correct issuer and url: the key set is JSON with keys, and the issuer's /.well-known/openid-configuration names it",
		}
	case keys == 0:
		return Finding{name, Failed, a.host() + " has a key set without a key that can be used", "publish a key for EdDSA, ES256, RS256 or the like, with use sig"}
	}
	return Finding{Name: name, Cause: fmt.Sprintf("%d keys of %s", keys, a.host())}
}

// Decider tells of a server that decides on tokens, and was asked about one that nobody
// has made.
func Decider(name string, a Answer) Finding {
	switch a.Status {
	case 0:
		return a.silent(name)
	case http.StatusUnauthorized, http.StatusForbidden:
		return Finding{Name: name, Cause: fmt.Sprintf("%s refuses a token that nobody has made, as it should (status %d)", a.host(), a.Status)}
	case http.StatusOK, http.StatusNoContent:
		return Finding{
			name, Warning, fmt.Sprintf("%s lets a token in that nobody has made (status %d): everybody gets in who sends any", a.host(), a.Status),
			"let it answer 401 to tokens that it does not know",
		}
	}
	return Finding{
		name, Failed, fmt.Sprintf("%s answers with status %d, where 200, 204, 401 or 403 are answers: who only it knows is refused", a.host(), a.Status),
		statusRemedy(a.Status, "see its log: the question is a signed POST with action, stream, protocol, ip and token"),
	}
}

// Receiver tells of a server that is told of events, and got one of no meaning.
func Receiver(name string, a Answer) Finding {
	switch {
	case a.Status == 0:
		return a.silent(name)
	case a.Status/100 == 2:
		return Finding{Name: name, Cause: fmt.Sprintf("%s takes events (status %d)", a.host(), a.Status)}
	}
	return Finding{
		name, Failed, fmt.Sprintf("%s answers with status %d, where 2xx takes an event", a.host(), a.Status),
		statusRemedy(a.Status, "see its log; types of events that it does not know it should take and ignore"),
	}
}

// statusRemedy says what mends a status that is no answer.
func statusRemedy(status int, otherwise string) string {
	switch {
	case status/100 == 3:
		return "redirects are not followed: configure the URL that it leads to"
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return "let both sides have the same secret, and clocks that are right: the signature was refused"
	case status == http.StatusNotFound || status == http.StatusMethodNotAllowed:
		return "correct the path of the URL: a POST is made there"
	case status == http.StatusGone:
		return "it says that it is gone: remove the entry, or correct its URL"
	}
	return otherwise
}
