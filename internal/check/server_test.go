package check_test

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/whipcast/whipcast/internal/check"
)

// TestServers: what servers of the operator answer is told in words, with what to do,
// and without the rest of their URLs.
func TestServers(t *testing.T) {
	const at = "https://auth.example.org:8443/hunter2?key=hunter2"
	broken := &net.OpError{Op: "dial", Err: errors.New("connect: connection refused")}
	for _, tt := range []struct {
		name   string
		find   check.Finding
		state  check.State
		cause  string
		remedy string
	}{
		{"keys", check.KeySet("n", check.Answer{URL: at}, 2), check.OK, "2 keys of auth.example.org:8443", ""},
		{"no keys", check.KeySet("n", check.Answer{URL: at}, 0), check.Failed, "without a key", "publish"},
		{"not a key set", check.KeySet("n", check.Answer{URL: at, Err: errors.New("status 404")}, 0), check.Failed, "status 404", "correct issuer and url"},
		{"issuer away", check.KeySet("n", check.Answer{URL: at, Err: fmt.Errorf("get: %w", &net.DNSError{Err: "no such host", Name: "auth.example.org", IsNotFound: true})}, 0), check.Failed, "auth.example.org", ""},
		{"a no", check.Decider("n", check.Answer{URL: at, Status: 401}), check.OK, "as it should", ""},
		{"a no of rights", check.Decider("n", check.Answer{URL: at, Status: 403}), check.OK, "as it should", ""},
		{"a yes to all", check.Decider("n", check.Answer{URL: at, Status: 204}), check.Warning, "nobody has made", "401"},
		{"no decider", check.Decider("n", check.Answer{URL: at, Status: 404}), check.Failed, "status 404", "path"},
		{"a redirect", check.Decider("n", check.Answer{URL: at, Status: 302}), check.Failed, "status 302", "redirects"},
		{"a fault", check.Decider("n", check.Answer{URL: at, Status: 500}), check.Failed, "status 500", "log"},
		{"silence", check.Decider("n", check.Answer{URL: at, Err: broken}), check.Failed, "auth.example.org:8443", ""},
		{"taken", check.Receiver("n", check.Answer{URL: at, Status: 202}), check.OK, "takes events", ""},
		{"wrong secret", check.Receiver("n", check.Answer{URL: at, Status: 401}), check.Failed, "status 401", "secret"},
		{"gone", check.Receiver("n", check.Answer{URL: at, Status: 410}), check.Failed, "status 410", "gone"},
		{"not its type", check.Receiver("n", check.Answer{URL: at, Status: 422}), check.Failed, "status 422", "ignore"},
		{"no receiver", check.Receiver("n", check.Answer{URL: "::", Err: broken}), check.Failed, "the server", ""},
	} {
		f := tt.find
		if f.Name != "n" || f.State != tt.state || !strings.Contains(f.Cause, tt.cause) || !strings.Contains(f.Remedy, tt.remedy) {
			t.Errorf("%s: %+v", tt.name, f)
		}
		if f.State != check.OK && f.Remedy == "" || strings.Contains(f.Cause+f.Remedy, "hunter2") || strings.Contains(f.Cause+f.Remedy, "\n") {
			t.Errorf("%s: %+v", tt.name, f)
		}
	}
}
