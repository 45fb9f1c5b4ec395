package configs

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Pull is one stream that is fetched from an RTSP server.
type Pull struct {
	Stream    string
	URL       string // rtsp:// or rtsps://, with user and password where needed
	Transport string // "auto", "tcp" or "udp"
	OnDemand  bool   // only while somebody watches
	// Fingerprint is the SHA-256, in hex, of the certificate of an rtsps:// server.
	Fingerprint string
}

// maxPulls is the most streams that are fetched.
const maxPulls = 1000

func (p *Pull) keys() []key {
	return []key{
		{name: "stream", parse: path(&p.Stream), text: text(&p.Stream)},
		{name: "url", secret: true, parse: path(&p.URL), text: text(&p.URL)},
		{name: "transport", parse: oneOf(&p.Transport, "auto", "tcp", "udp"), text: text(&p.Transport)},
		{name: "on_demand", parse: truth(&p.OnDemand), text: word(&p.OnDemand)},
		{name: "fingerprint", parse: fingerprint(&p.Fingerprint), text: text(&p.Fingerprint)},
	}
}

// pulls reads a list of Pulls.
func pulls(at *[]Pull) func(string) *Error {
	return func(s string) *Error {
		var all []Pull
		err := entries(s, maxPulls, "write [{stream: door, url: 'rtsp://camera.example.org/1'}]", func(n *yaml.Node) *Error {
			one, err := readPull(n)
			if err == nil && slices.ContainsFunc(all, func(o Pull) bool { return o.Stream == one.Stream }) {
				err = &Error{Key: "stream", Cause: one.Stream + " is fetched twice", Remedy: "give each stream one entry"}
			}
			all = append(all, one)
			return err
		})
		if err == nil {
			*at = all
		}
		return err
	}
}

func readPull(n *yaml.Node) (Pull, *Error) {
	p := Pull{Transport: "auto"}
	if n.Kind != yaml.MappingNode {
		return p, &Error{Cause: "no keys", Remedy: "write {stream: door, url: 'rtsp://camera.example.org/1'}"}
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i].Value, n.Content[i+1]
		all := p.keys()
		at := slices.IndexFunc(all, func(k key) bool { return k.name == name })
		switch {
		case at < 0:
			return p, &Error{Key: name, Cause: "unknown key", Remedy: "an entry has stream, url, transport, on_demand and fingerprint"}
		case value.Kind != yaml.ScalarNode:
			return p, &Error{Key: name, Cause: "not a single value", Remedy: "write one value after the colon"}
		}
		if err := all[at].parse(value.Value); err != nil {
			err.Key = name
			return p, err
		}
	}
	return p, p.check()
}

// fingerprint reads the SHA-256 of a certificate, with or without colons.
func fingerprint(at *string) func(string) *Error {
	return func(s string) *Error {
		sum, err := hex.DecodeString(strings.ReplaceAll(s, ":", ""))
		if err != nil || len(sum) != 0 && len(sum) != sha256.Size {
			return &Error{Cause: "not the SHA-256 of a certificate in hex", Remedy: "write 64 hex digits, as `openssl x509 -fingerprint -sha256` does"}
		}
		*at = s
		return nil
	}
}

// check finds what is missing. It does not show the URL, which has a password.
func (p *Pull) check() *Error {
	if p.Stream == "" {
		return &Error{Key: "stream", Cause: "not given", Remedy: "name the stream that the source becomes"}
	}
	u, err := url.Parse(p.URL)
	if err != nil || u.Host == "" || u.Scheme != "rtsp" && u.Scheme != "rtsps" {
		return &Error{Key: "url", Cause: fmt.Sprintf("that of %s is not one of RTSP", p.Stream), Remedy: "write one such as rtsp://user:password@192.0.2.7:554/stream1"}
	}
	return nil
}

// pulled writes a list of Pulls as JSON, "" for none.
func pulled(at *[]Pull) func() string {
	return func() string {
		if len(*at) == 0 {
			return ""
		}
		var all []map[string]string
		for _, p := range *at {
			one := map[string]string{}
			for _, k := range p.keys() {
				one[k.name] = k.text()
			}
			all = append(all, one)
		}
		var b strings.Builder
		if err := json.NewEncoder(&b).Encode(all); err != nil { // texts only: it cannot fail
			return ""
		}
		return strings.TrimSpace(b.String())
	}
}
