package auth

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// maxToken is the longest token that is looked at, in bytes.
const maxToken = 4096

// Request is one question: may who shows this token do that?
type Request struct {
	Action   Action
	Stream   string // a valid name, or "" for any: the API
	Protocol string // "whip", "whep", "hls", "api" or "rtsp": only for the webhook
	Token    string // "" if none was shown
	Address  string // IP address of who asks, if known: only for the webhook
}

// Ask returns the question that an HTTP request stands for.
func Ask(r *http.Request, action Action, protocol, stream string) Request {
	q := Request{Action: action, Stream: stream, Protocol: protocol, Token: Token(r)}
	if from, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		q.Address = from.Addr().Unmap().WithZone("").String()
	}
	return q
}

// Token returns the token that a request shows: that of the path, else of the
// Authorization header (RFC 6750 §2.1), else of the query.
//
// In the path it is the second element, after a ~ with which no stream's name
// begins: /hls/~TOKEN/{stream}/index.m3u8. So relative URLs keep it, and players
// that can neither send headers nor keep cookies can play (specs X11). It comes first,
// and an empty one is as good as a wrong one: caches keep answers by their path, so
// nothing else may open it.
func Token(r *http.Request) string {
	if given, ok := inPath(r.URL.Path); ok {
		return given
	}
	if given := bearer(r.Header.Get("Authorization")); given != "" {
		return given
	}
	return inQuery(r.URL.RawQuery)
}

// bearer reads the value of an Authorization header. The scheme's letter case does
// not matter, and a header that is nothing but a token counts, too: some encoders
// send it so (specs W74).
func bearer(value string) string {
	value = strings.TrimSpace(value)
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

func inPath(path string) (string, bool) {
	_, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	token, ok := strings.CutPrefix(rest, "~")
	token, _, _ = strings.Cut(token, "/")
	return token, ok
}

// inQuery reads ?token= without making a map of what else there is.
func inQuery(query string) string {
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		if value, ok := strings.CutPrefix(pair, "token="); ok {
			token, err := url.QueryUnescape(value)
			if err != nil {
				return ""
			}
			return token
		}
	}
	return ""
}
