package check_test

import (
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/whipcast/whipcast/internal/check"
)

func TestICEServer(t *testing.T) {
	refused := errors.New("refused")
	for _, tt := range []struct {
		asked  check.Asked
		state  check.State
		cause  string
		remedy string
	}{
		{check.Asked{URL: "turn:a", Relays: true}, check.OK, "turn:a gives a relay", ""},
		{check.Asked{URL: "stun:a"}, check.OK, "stun:a answers", ""},
		{check.Asked{URL: "turn:a", Silent: true, Err: refused}, check.Failed, "turn:a: no answer", "open its port"},
		{check.Asked{URL: "turn:a", Signed: true, Code: 401, Err: refused}, check.Failed, "made with the secret (401)", "static-auth-secret"},
		{check.Asked{URL: "turn:a", Code: 400, Err: refused}, check.Failed, "refuses the credentials (400)", "username and credential"},
		{check.Asked{URL: "turn:a", Code: 486, Err: refused}, check.Failed, "no relay left (486)", "quota"},
		{check.Asked{URL: "turn:a", Code: 442, Err: refused}, check.Failed, "refuses to relay UDP (442)", "relay UDP"},
		{check.Asked{URL: "turn:a", Err: &net.OpError{Op: "dial", Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}, Err: syscall.ECONNREFUSED}}, check.Failed, "turn:a: connection refused", "start the server"},
		{check.Asked{URL: "turn:a", Err: refused}, check.Failed, "turn:a: refused", "another server"},
	} {
		f := check.ICEServer("media.turn.servers", tt.asked)
		if f.State != tt.state || !strings.Contains(f.Cause, tt.cause) || !strings.Contains(f.Remedy, tt.remedy) || (tt.remedy == "") != (f.Remedy == "") || f.Name != "media.turn.servers" {
			t.Errorf("%+v: %+v", tt.asked, f)
		}
	}
}
