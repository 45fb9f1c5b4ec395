package check

import (
	"fmt"

	"github.com/whipcast/whipcast/internal/fault"
)

// Asked is what a STUN or TURN server said when it was tried as browsers do.
type Asked struct {
	URL    string
	Relays bool  // it is a TURN server: a relay was asked for
	Signed bool  // the credentials were made with a secret
	Silent bool  // it said nothing
	Code   int   // it refused with (RFC 8656 §19); 0: it did not
	Err    error // nil: it works
}

// ICEServer says whether a STUN or TURN server works for those who are told of it.
func ICEServer(name string, a Asked) Finding {
	if a.Err == nil {
		does := " answers"
		if a.Relays {
			does = " gives a relay"
		}
		return Finding{Name: name, Cause: a.URL + does}
	}
	f := Finding{Name: name, State: Failed, Cause: a.Err.Error(), Remedy: "correct the url, or name another server"}
	mistaken := a.Code == 400 || a.Code == 401 || a.Code == 441 // as servers call wrong credentials
	switch reason, step := fault.Network(a.Err); {
	case a.Silent:
		f.Cause, f.Remedy = "no answer: the port is blocked, or there is no such server", "correct the url, start the server, or open its port"
	case mistaken && a.Signed:
		f.Cause = fmt.Sprintf("it refuses credentials that are made with the secret (%d)", a.Code)
		f.Remedy = "give both the same secret (coturn: use-auth-secret and static-auth-secret), and set both clocks"
	case mistaken:
		f.Cause, f.Remedy = fmt.Sprintf("it refuses the credentials (%d)", a.Code), "correct username and credential"
	case a.Code == 486 || a.Code == 508:
		f.Cause, f.Remedy = fmt.Sprintf("it has no relay left (%d)", a.Code), "raise its quota, or the range of its ports"
	case a.Code != 0:
		f.Cause, f.Remedy = fmt.Sprintf("it refuses to relay UDP (%d)", a.Code), "let it relay UDP, or name another server"
	case step != fault.Unknown:
		f.Cause, f.Remedy = reason.Cause, reason.Remedy
	}
	f.Cause = a.URL + ": " + f.Cause
	return f
}
