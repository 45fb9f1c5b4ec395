package rtsp

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/bluenviron/gortsplib/v5"
	"github.com/bluenviron/gortsplib/v5/pkg/base"
	"github.com/bluenviron/gortsplib/v5/pkg/headers"
)

// maxQuery bounds the query of a URL.
const maxQuery = 4096

// claim is a request as authorisation sees it: its token stands where that of an
// HTTP request does. Clients of RTSP send it as the password of any user, or as
// token= in the URL.
func claim(req *base.Request, query, remote, token string) *http.Request {
	r := &http.Request{
		Method: string(req.Method), Header: http.Header{}, RemoteAddr: remote,
		URL: &url.URL{Path: req.URL.Path}, Proto: "RTSP/1.0", Host: req.URL.Host,
	}
	if token == "" {
		token = queryToken(query)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return r
}

// queryToken returns the parameter token of a URL's query, "" without.
func queryToken(query string) string {
	if len(query) > maxQuery {
		return ""
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return ""
	}
	return values.Get("token")
}

// headerToken returns the token of the header Authorization: of the methods Basic
// and Bearer as it is there; of Digest the one of passwords that fits. It is ""
// when there is none.
func headerToken(conn *gortsplib.ServerConn, req *base.Request, passwords []string) string {
	values := req.Header["Authorization"]
	if len(values) == 0 {
		return ""
	}
	if scheme, token, ok := strings.Cut(values[0], " "); ok && strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(token)
	}
	var given headers.Authorization
	if given.Unmarshal(values) != nil {
		return ""
	}
	if given.Method == headers.AuthMethodBasic {
		return given.BasicPass
	}
	for _, password := range passwords {
		if conn.VerifyCredentials(req, given.Username, password) {
			return password
		}
	}
	return ""
}
