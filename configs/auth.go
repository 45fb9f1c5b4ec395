package configs

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// Key is a static key. Only its hash is here: whipcast token --key makes both.
type Key struct {
	Name    string
	Hash    string   // sha256: and 64 hexadecimal digits
	Actions []string // "publish", "play" or "admin"
	Streams []string // names; a * at the end stands for any rest
}

// JWKS is an issuer of tokens outside, such as a company's login.
type JWKS struct {
	Issuer   string
	Audience string
	URL      string // of the key set; empty: as the issuer's OpenID configuration says

	// Names of claims.
	Principal string
	Actions   string
	Streams   string

	Words          map[string]string // what words of the actions claim mean
	DefaultActions []string          // of tokens without the actions claim
	DefaultStreams []string          // of tokens without the streams claim
}

// Webhook is a server that decides on tokens that are not known here.
type Webhook struct {
	URL    string
	Secret string        // signs the questions
	Keep   time.Duration // how long an answer counts
}

// maxAuthKeys is the most static keys at once.
const maxAuthKeys = 1000

// object reads a group of keys, of YAML or of JSON, which is YAML as well. Scalars
// come as texts, lists and groups as they are.
func object(n *yaml.Node, example string, known ...string) (map[string]*yaml.Node, *Error) {
	if n.Kind != yaml.MappingNode {
		return nil, &Error{Cause: "no keys", Remedy: "write " + example}
	}
	fields := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name := n.Content[i].Value
		if !slices.Contains(known, name) {
			return nil, &Error{Cause: fmt.Sprintf("unknown key %q", name), Remedy: "it has " + strings.Join(known, ", ")}
		}
		fields[name] = n.Content[i+1]
	}
	return fields, nil
}

// root parses text and returns its only node, nil for nothing.
func root(text, example string) (*yaml.Node, *Error) {
	var document yaml.Node
	if strings.TrimSpace(text) == "" {
		return nil, nil //nolint:nilnil // nothing
	}
	if err := yaml.Load([]byte(text), &document); err != nil {
		return nil, &Error{Cause: "not YAML", Remedy: "write " + example}
	}
	n := &document
	if n.Kind == yaml.DocumentNode && len(n.Content) == 1 {
		n = n.Content[0]
	}
	if empty(n) || n.Kind == yaml.MappingNode && len(n.Content) == 0 {
		return nil, nil //nolint:nilnil // nothing
	}
	return n, nil
}

// scalar stores the text of a field, if it is there.
func scalar(fields map[string]*yaml.Node, name string, at *string) *Error {
	n, ok := fields[name]
	if !ok || empty(n) {
		return nil
	}
	if n.Kind != yaml.ScalarNode {
		return &Error{Cause: name + ": not a single value", Remedy: "write one value after the colon"}
	}
	if strings.ContainsFunc(n.Value, func(r rune) bool { return r < ' ' }) {
		return &Error{Cause: name + ": has a control character", Remedy: "write it on one line"}
	}
	*at = n.Value
	return nil
}

// several stores the texts of a field that is a list, if it is there.
func several(fields map[string]*yaml.Node, name string, at *[]string, check func(string) *Error) *Error {
	n, ok := fields[name]
	if !ok || empty(n) {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		return &Error{Cause: name + ": not a list", Remedy: "write [first, second]"}
	}
	var all []string
	for _, item := range n.Content {
		if item.Kind != yaml.ScalarNode {
			return &Error{Cause: name + ": not a list of values", Remedy: "write [first, second]"}
		}
		if err := check(item.Value); err != nil {
			err.Cause = name + ": " + err.Cause
			return err
		}
		all = append(all, item.Value)
	}
	*at = all
	return nil
}

func checkAction(word string) *Error {
	var at string
	return oneOf(&at, "publish", "play", "admin")(word)
}

var streamPattern = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9._-]{0,63})?\*?$`)

func checkPattern(text string) *Error {
	if text == "" || !streamPattern.MatchString(text) {
		return &Error{Cause: fmt.Sprintf("%q is no name of a stream", text), Remedy: "use a name, or the beginning of names and *"}
	}
	return nil
}

const keyExample = `[{name: studio, hash: "sha256:…", actions: [publish], streams: [studio-*]}]`

// authKeys reads a list of Keys.
func authKeys(at *[]Key) func(string) *Error {
	return func(s string) *Error {
		list, err := root(s, keyExample)
		if err != nil {
			return err
		}
		if list == nil {
			*at = nil
			return nil
		}
		if list.Kind != yaml.SequenceNode {
			return &Error{Cause: "not a list", Remedy: "write " + keyExample}
		}
		if len(list.Content) > maxAuthKeys {
			return &Error{Cause: fmt.Sprintf("%d keys", len(list.Content)), Remedy: fmt.Sprintf("list at most %d", maxAuthKeys)}
		}
		var all []Key
		for i, entry := range list.Content {
			k, err := readKey(entry)
			if err == nil && slices.ContainsFunc(all, func(other Key) bool { return other.Name == k.Name || other.Hash == k.Hash }) {
				err = &Error{Cause: "its name or its hash is another key's", Remedy: "give each its own"}
			}
			if err != nil {
				err.Cause = fmt.Sprintf("entry %d: %s", i+1, err.Cause)
				return err
			}
			all = append(all, k)
		}
		*at = all
		return nil
	}
}

func readKey(n *yaml.Node) (Key, *Error) {
	var k Key
	fields, err := object(n, keyExample, "name", "hash", "actions", "streams")
	for _, read := range []func() *Error{
		func() *Error { return scalar(fields, "name", &k.Name) },
		func() *Error { return scalar(fields, "hash", &k.Hash) },
		func() *Error { return several(fields, "actions", &k.Actions, checkAction) },
		func() *Error { return several(fields, "streams", &k.Streams, checkPattern) },
	} {
		if err == nil {
			err = read()
		}
	}
	digits, ok := strings.CutPrefix(k.Hash, "sha256:")
	sum, broken := hex.DecodeString(digits)
	switch {
	case err != nil:
		return k, err
	case !streamPattern.MatchString(k.Name) || k.Name == "" || strings.HasSuffix(k.Name, "*"):
		return k, &Error{Cause: "name: not 1 to 64 letters, digits and . _ -", Remedy: "name the key, such as studio"}
	case !ok || broken != nil || len(sum) != 32:
		return k, &Error{Cause: "hash: not sha256: and 64 hexadecimal digits", Remedy: "whipcast token --key makes a key and its hash; the key itself does not belong here"}
	case len(k.Actions) == 0:
		return k, &Error{Cause: "actions: none", Remedy: "list what it is for: publish, play or admin"}
	case len(k.Streams) == 0 || len(k.Streams) > 100:
		return k, &Error{Cause: fmt.Sprintf("streams: %d", len(k.Streams)), Remedy: `list 1 to 100 names or beginnings of names, such as ["*"] for all`}
	}
	return k, nil
}

const jwksExample = "{issuer: https://login.example.org, audience: whipcast}"

// jwks reads a JWKS.
func jwks(at *JWKS) func(string) *Error {
	return func(s string) *Error {
		n, err := root(s, jwksExample)
		if err != nil {
			return err
		}
		if n == nil {
			*at = JWKS{}
			return nil
		}
		var j JWKS
		fields, err := object(n, jwksExample, "issuer", "audience", "url", "principal", "actions", "streams", "words", "default_actions", "default_streams")
		for _, read := range []func() *Error{
			func() *Error { return scalar(fields, "issuer", &j.Issuer) },
			func() *Error { return scalar(fields, "audience", &j.Audience) },
			func() *Error { return scalar(fields, "url", &j.URL) },
			func() *Error { return scalar(fields, "principal", &j.Principal) },
			func() *Error { return scalar(fields, "actions", &j.Actions) },
			func() *Error { return scalar(fields, "streams", &j.Streams) },
			func() *Error { return several(fields, "default_actions", &j.DefaultActions, checkAction) },
			func() *Error { return several(fields, "default_streams", &j.DefaultStreams, checkPattern) },
			func() *Error { return j.words(fields["words"]) },
			j.check,
		} {
			if err == nil {
				err = read()
			}
		}
		if err != nil {
			return err
		}
		*at = j
		return nil
	}
}

// words reads what words of the actions claim mean.
func (j *JWKS) words(n *yaml.Node) *Error {
	if n == nil || empty(n) {
		return nil
	}
	if n.Kind != yaml.MappingNode || len(n.Content) > 200 {
		return &Error{Cause: "words: not at most 100 words and what they mean", Remedy: "write {broadcaster: publish}"}
	}
	j.Words = map[string]string{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		word, action := n.Content[i].Value, n.Content[i+1].Value
		if err := checkAction(action); err != nil {
			err.Cause = "words: " + err.Cause
			return err
		}
		j.Words[word] = action
	}
	return nil
}

func (j *JWKS) check() *Error {
	switch {
	case j.Issuer == "":
		return &Error{Cause: "issuer: not given", Remedy: "write what the tokens have as iss, such as https://login.example.org"}
	case j.Issuer == "whipcast":
		return &Error{Cause: "issuer: that is the gateway itself", Remedy: "whipcast token makes its tokens; auth.jwks is for others"}
	case j.Audience == "":
		return &Error{Cause: "audience: not given", Remedy: "write what the tokens have as aud: without it tokens for other services would be good here"}
	case j.URL != "" && !guarded(j.URL):
		return &Error{Cause: "url: not behind https", Remedy: "write one such as https://login.example.org/keys; only this machine may do without TLS"}
	case j.URL == "" && !guarded(j.Issuer):
		return &Error{Cause: "issuer: no https URL", Remedy: "give the url of the key set as well"}
	case len(j.DefaultStreams) > 100:
		return &Error{Cause: fmt.Sprintf("default_streams: %d", len(j.DefaultStreams)), Remedy: "list at most 100"}
	}
	return nil
}

// guarded says whether a URL is behind TLS, or on this machine.
func guarded(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.User != nil {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || err == nil && ip.IsLoopback())
}

const webhookExample = "{url: https://example.org/whipcast, secret: …}"

// webhook reads a Webhook.
func webhook(at *Webhook) func(string) *Error {
	return func(s string) *Error {
		n, err := root(s, webhookExample)
		if err != nil {
			return err
		}
		if n == nil {
			*at = Webhook{}
			return nil
		}
		w := Webhook{Keep: 30 * time.Second}
		var keep string
		fields, err := object(n, webhookExample, "url", "secret", "keep")
		for _, read := range []func() *Error{
			func() *Error { return scalar(fields, "url", &w.URL) },
			func() *Error { return scalar(fields, "secret", &w.Secret) },
			func() *Error { return scalar(fields, "keep", &keep) },
		} {
			if err == nil {
				err = read()
			}
		}
		if err == nil && keep != "" {
			if err = duration(&w.Keep, 0, 30*time.Second)(keep); err != nil {
				err.Cause = "keep: " + err.Cause
			}
		}
		switch {
		case err != nil:
			return err
		case !isWeb(w.URL):
			return &Error{Cause: "url: not a URL", Remedy: "write one such as https://example.org/whipcast"}
		case len(w.Secret) < 16:
			return &Error{Cause: "secret: shorter than 16 characters", Remedy: "make one, as by openssl rand -hex 32, and tell the server: it checks by it who asks"}
		}
		*at = w
		return nil
	}
}

// written returns a value as JSON; what is empty is left out.
func written(value map[string]any) map[string]any {
	maps.DeleteFunc(value, func(_ string, v any) bool {
		switch v := v.(type) {
		case string:
			return v == ""
		case []string:
			return len(v) == 0
		case map[string]string:
			return len(v) == 0
		}
		return false
	})
	return value
}

func marshal(value any) string {
	text, err := json.Marshal(value)
	if err != nil { // texts only: it cannot fail
		return ""
	}
	return string(text)
}

func authKeysText(at *[]Key) func() string {
	return func() string {
		if len(*at) == 0 {
			return ""
		}
		var all []map[string]any
		for _, k := range *at {
			all = append(all, written(map[string]any{"name": k.Name, "hash": k.Hash, "actions": k.Actions, "streams": k.Streams}))
		}
		return marshal(all)
	}
}

func jwksText(at *JWKS) func() string {
	return func() string {
		if at.Issuer == "" {
			return ""
		}
		return marshal(written(map[string]any{
			"issuer": at.Issuer, "audience": at.Audience, "url": at.URL, "principal": at.Principal, "actions": at.Actions,
			"streams": at.Streams, "words": at.Words, "default_actions": at.DefaultActions, "default_streams": at.DefaultStreams,
		}))
	}
}

func webhookText(at *Webhook) func() string {
	return func() string {
		if at.URL == "" {
			return ""
		}
		return marshal(map[string]any{"url": at.URL, "secret": at.Secret, "keep": short(at.Keep)})
	}
}
