package configs

import (
	"slices"
	"strings"

	"github.com/pion/stun/v4"
	"go.yaml.in/yaml/v4"
)

// ICEServer is a STUN or TURN server that clients are told.
type ICEServer struct {
	URL        string // stun:, stuns:, turn: or turns: (RFC 7064, RFC 7065)
	Secret     string // makes time-limited credentials; or
	Username   string // with Credential
	Credential string
}

// maxICEServers is the most servers that clients are told: browsers try them all.
const maxICEServers = 16

const iceServerExample = "[{url: 'turn:turn.example.org:3478?transport=udp', secret: …}]"

// checkTURN finds what our own server needs besides.
func checkTURN(c Config) *Error {
	if c.Media.TURN.TLSAddress != "" && !c.HTTP.TLS.On() {
		return &Error{
			Key: "media.turn.tls_address", Value: c.Media.TURN.TLSAddress, Cause: "http.tls.certificate is not set",
			Remedy: "set http.tls.certificate and http.tls.key, which this address shows, too",
		}
	}
	return nil
}

// iceServers reads a list of ICEServers.
func iceServers(at *[]ICEServer) func(string) *Error {
	return func(s string) *Error {
		var all []ICEServer
		err := entries(s, maxICEServers, "write "+iceServerExample, func(n *yaml.Node) *Error {
			one, err := readICEServer(n)
			if err == nil && slices.ContainsFunc(all, func(o ICEServer) bool { return o.URL == one.URL }) {
				err = &Error{Cause: "url: another entry has it", Remedy: "keep one of the two"}
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

func readICEServer(n *yaml.Node) (ICEServer, *Error) {
	var s ICEServer
	fields, err := object(n, iceServerExample, "url", "secret", "username", "credential")
	for _, read := range []func() *Error{
		func() *Error { return scalar(fields, "url", &s.URL) },
		func() *Error { return scalar(fields, "secret", &s.Secret) },
		func() *Error { return scalar(fields, "username", &s.Username) },
		func() *Error { return scalar(fields, "credential", &s.Credential) },
		s.check,
	} {
		if err == nil {
			err = read()
		}
	}
	return s, err
}

// check finds what does not fit together. It shows no value: some are secret.
func (s *ICEServer) check() *Error {
	uri, err := stun.ParseURI(s.URL)
	relays := strings.HasPrefix(s.URL, "turn")
	switch {
	case err != nil || uri.Host == "" || strings.ContainsFunc(s.URL, unquotable):
		return &Error{Cause: "url: not one of a STUN or TURN server", Remedy: "write one such as turn:turn.example.org:3478?transport=udp, stun:stun.example.org or turns:turn.example.org"}
	case !relays && s.Secret+s.Username+s.Credential != "":
		return &Error{Cause: "a STUN server with credentials", Remedy: "leave secret, username and credential out, or name a TURN server (turn:…)"}
	case relays && s.Secret != "" && s.Username+s.Credential != "":
		return &Error{Cause: "both secret and username or credential", Remedy: "give the secret, or the username with its credential"}
	case relays && s.Secret == "" && (s.Username == "" || s.Credential == ""):
		return &Error{Cause: "a TURN server without credentials", Remedy: "give its secret, or a username with its credential"}
	case strings.ContainsFunc(s.Username+s.Credential, unquotable): // specs W72
		return &Error{Cause: "username or credential has a character that encoders cannot take", Remedy: `use other characters than , ; < > " \ and spaces`}
	}
	return nil
}

// unquotable says whether a character would break the headers that clients are told
// servers by: OBS splits them at commas and semicolons.
func unquotable(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`,;<>"\`, r) }

// iceServersText writes a list of ICEServers as JSON, "" for none.
func iceServersText(at *[]ICEServer) func() string {
	return func() string {
		if len(*at) == 0 {
			return ""
		}
		var all []map[string]any
		for _, s := range *at {
			all = append(all, written(map[string]any{"url": s.URL, "secret": s.Secret, "username": s.Username, "credential": s.Credential}))
		}
		return marshal(all)
	}
}
