package configs

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
)

// Shown is one key of a configuration as it may be shown.
type Shown struct {
	Key    string
	Value  any  // text, or of nested keys what JSON has
	Secret bool // the value is a secret or has some: they are Hidden
}

// Hidden stands for a secret.
const Hidden = "(not shown)"

// hiddenNames are the names of nested keys whose values are never shown: a hash of a
// key is one, too, for a weak key can be found by it.
func hiddenNames() []string {
	return []string{"hash", "secret", "secret_key", "access_key", "encryption_key", "headers", "credential"}
}

// Shown returns all keys in effect, in the order of whipcast.yaml, without secrets.
func (c Config) Shown() []Shown {
	var all []Shown
	for _, k := range c.keys() {
		s := Shown{Key: k.name, Value: k.text(), Secret: k.secret}
		switch {
		case s.Value == "":
		case k.nested:
			var value any
			if err := json.Unmarshal([]byte(k.text()), &value); err != nil {
				value = Hidden // rather nothing than too much
			}
			s.Value = hide(value)
		case k.secret:
			s.Value = Hidden
		default:
			s.Value = hide(s.Value)
		}
		all = append(all, s)
	}
	return all
}

// hide replaces all secrets in a value that was JSON.
func hide(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for name, one := range v {
			v[name] = hide(one)
			if slices.Contains(hiddenNames(), name) && one != "" {
				v[name] = Hidden
			}
		}
	case []any:
		for i := range v {
			v[i] = hide(v[i])
		}
	case string:
		return hideURL(v)
	}
	return value
}

// hideURL takes out of a URL what can be a secret: user, query and fragment.
func hideURL(text string) string {
	if !strings.Contains(text, "://") {
		return text
	}
	u, err := url.Parse(text)
	if err != nil {
		return Hidden
	}
	if u.User != nil {
		u.User = url.User("hidden")
	}
	if u.RawQuery != "" {
		u.RawQuery = "hidden"
	}
	u.Fragment = ""
	return u.String()
}
