package check

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"
)

// soon is how long before its end a certificate is worth a warning.
const soon = 14 * 24 * time.Hour

// Certificate looks at a certificate that goes with its key: how long it is
// good, what for, and whether browsers can follow its chain. It asks nobody.
func Certificate(name string, pair tls.Certificate, now time.Time) Finding {
	leaf := pair.Leaf
	if leaf == nil {
		var err error
		if leaf, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
			return Finding{name, Failed, "the certificate cannot be read", "get a new one"}
		}
	}
	f := Finding{Name: name, Cause: fmt.Sprintf("for %s, until %s", subjects(leaf), leaf.NotAfter.UTC().Format(time.DateOnly))}
	warn := func(s State, cause, remedy string) Finding {
		return Finding{name, s, f.Cause + ": " + cause, remedy}
	}
	switch {
	case now.After(leaf.NotAfter):
		return warn(Failed, "it has expired", "renew it; the gateway reads changed files by itself")
	case now.Before(leaf.NotBefore):
		return warn(Failed, "it is good only from "+leaf.NotBefore.UTC().Format(time.DateTime)+" UTC", "set this machine's clock, or wait")
	case len(leaf.DNSNames) == 0 && len(leaf.IPAddresses) == 0:
		return warn(Failed, "browsers refuse a certificate without names (subjectAltName)", "get one that has the host's name")
	case leaf.NotAfter.Sub(now) < soon:
		return warn(Warning, fmt.Sprintf("it expires in %d days", int(leaf.NotAfter.Sub(now).Hours()/24)), "renew it; the gateway reads changed files by itself")
	case slices.Equal(leaf.RawIssuer, leaf.RawSubject):
		return warn(Warning, "it is signed by itself: browsers and players refuse it unless they are told to", "get one of an authority, such as Let's Encrypt")
	case len(pair.Certificate) == 1:
		return warn(Warning, "its chain is not in the file: some players refuse it", "append the authority's intermediate certificates to the file (fullchain.pem)")
	}
	return f
}

func subjects(c *x509.Certificate) string {
	const most = 5
	all := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		all = append(all, ip.String())
	}
	if len(all) == 0 {
		return "no name"
	}
	if rest := len(all) - most; rest > 0 {
		all = append(all[:most], fmt.Sprintf("%d more", rest))
	}
	return printableAll(all)
}

func printableAll(all []string) string {
	var shown []string
	for _, s := range all {
		shown = append(shown, printable(s))
	}
	return strings.Join(shown, ", ")
}
