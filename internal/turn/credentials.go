package turn

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // the protocol's own
	"encoding/base64"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/pion/stun/v4"
	"github.com/pion/turn/v5"

	"github.com/whipcast/whipcast/internal/limit"
)

// TTL is how long credentials can be used for a new relay. One that there is goes on
// for longer with our Server; others may look again when it is refreshed, so it is as
// long as any show (specs X21).
const TTL = 24 * time.Hour

// Credentials makes time-limited ones for a server that knows the secret
// (draft-uberti-behave-turn-rest-00, specs X20), as our Server and coturn with
// use-auth-secret do. The user is to find its relays in logs; it must have no colon.
// It is pure.
func Credentials(secret, user string, until time.Time) (username, password string) {
	username = strconv.FormatInt(until.Unix(), 10)
	if user != "" {
		username += ":" + user
	}
	mac := hmac.New(sha1.New, []byte(secret))
	mac.Write([]byte(username))
	return username, base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// parseUsername reads what Credentials made.
func parseUsername(username string) (until time.Time, user string, ok bool) {
	digits, user, _ := strings.Cut(username, ":")
	seconds, err := strconv.ParseInt(digits, 10, 64)
	return time.Unix(seconds, 0), user, err == nil
}

// identity joins a user and the address that its requests come from, which stays the
// same for a relay: both are counted.
func identity(user string, from netip.Addr) string { return user + " " + from.String() }

// identified takes an identity apart.
func identified(identity string) (user string, from netip.Addr) {
	user, text, _ := strings.Cut(identity, " ")
	from, _ = netip.ParseAddr(text) // it is one, or the zero Addr's name
	return user, from
}

// authenticate returns the identity of who asks, and the key that the request must be signed with. A
// relay that there is may be kept and used after its credentials have ended: a show
// goes on.
func (s *Server) authenticate(r *turn.RequestAttributes) (user string, key []byte, ok bool) {
	until, user, ok := parseUsername(r.Username)
	if !ok || user == "" || r.Realm != realm || r.Method == stun.MethodAllocate && !time.Now().Before(until) {
		s.metrics.Credentials.Add(1)
		return "", nil, false
	}
	_, password := Credentials(s.cfg.Secret, user, until)
	return identity(user, limit.Address(r.SrcAddr.String())), turn.GenerateAuthKey(r.Username, r.Realm, password), true
}
