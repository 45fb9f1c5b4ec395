package configs

import (
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// Storage is one place besides memory that streams are stored in as plain HLS.
// Which fields count says the Type.
type Storage struct {
	Type string // "s3", "directory" or "httpput"

	// Of s3.
	Endpoint      string
	Region        string
	Bucket        string
	Prefix        string
	PathStyle     bool
	AccessKey     string
	SecretKey     string
	ACL           string
	Encryption    string
	EncryptionKey string

	// Of directory.
	Path string
	Sync string // "playlists", "none" or "all"

	// Of httpput.
	URL         string
	Headers     map[string]string
	Certificate string
	Key         string
	Authority   string
	MakeFolders bool
	NoDelete    bool

	Gzip bool // of s3 and httpput: playlists are stored compressed

	// Keep is how long media stays after it left the live window, and after the end
	// of its stream: 0 for not at all, or KeepForever.
	Keep   time.Duration
	Replay bool // a stream that has ended leaves playlists

	// Of all.
	Fence         bool          // two gateways do not write one stream
	PlaylistEvery time.Duration // least time between two writes of one playlist
	Memory        int64         // bytes that may wait in memory
	Spool         int64         // bytes that may wait in the data directory besides; 0: none
	Serve         string        // "parts" or "segments" are read from here, though the gateway has the playlists; or ""
	PublicURL     string        // where viewers read them, without a slash at its end
}

// KeepForever is a Keep that never ends.
const KeepForever = time.Duration(math.MaxInt64)

// maxStorages is the most places at once.
const maxStorages = 8

// newStorage returns a Storage of that type with its defaults.
func newStorage(kind string) Storage {
	// What takes files by PUT cannot always be read, and seldom heeds conditions.
	s := Storage{Type: kind, Fence: kind != "httpput", Memory: 256 << 20, Spool: 1 << 30}
	if kind == "directory" {
		s.Sync, s.Spool = "playlists", 0 // one disk does not save another
	}
	return s
}

// keys returns the table of a Storage's keys, bound to s: those of its type.
func (s *Storage) keys() []key {
	all := []key{{name: "type", parse: oneOf(&s.Type, "s3", "directory", "httpput"), text: text(&s.Type)}}
	switch s.Type {
	case "s3":
		all = append(all,
			key{name: "endpoint", parse: path(&s.Endpoint), text: text(&s.Endpoint)},
			key{name: "region", parse: path(&s.Region), text: text(&s.Region)},
			key{name: "bucket", parse: path(&s.Bucket), text: text(&s.Bucket)},
			key{name: "prefix", parse: path(&s.Prefix), text: text(&s.Prefix)},
			key{name: "path_style", parse: truth(&s.PathStyle), text: word(&s.PathStyle)},
			key{name: "access_key", parse: path(&s.AccessKey), text: text(&s.AccessKey)},
			key{name: "secret_key", secret: true, parse: path(&s.SecretKey), text: text(&s.SecretKey)},
			key{name: "acl", parse: path(&s.ACL), text: text(&s.ACL)},
			key{name: "encryption", parse: path(&s.Encryption), text: text(&s.Encryption)},
			key{name: "encryption_key", parse: path(&s.EncryptionKey), text: text(&s.EncryptionKey)},
			key{name: "gzip", parse: truth(&s.Gzip), text: word(&s.Gzip)},
		)
	case "directory":
		all = append(all,
			key{name: "path", parse: path(&s.Path), text: text(&s.Path)},
			key{name: "sync", parse: oneOf(&s.Sync, "playlists", "none", "all"), text: text(&s.Sync)},
		)
	case "httpput":
		all = append(all,
			key{name: "url", secret: true, parse: path(&s.URL), text: text(&s.URL)},
			key{name: "certificate", parse: path(&s.Certificate), text: text(&s.Certificate)},
			key{name: "key", parse: path(&s.Key), text: text(&s.Key)},
			key{name: "authority", parse: path(&s.Authority), text: text(&s.Authority)},
			key{name: "make_folders", parse: truth(&s.MakeFolders), text: word(&s.MakeFolders)},
			key{name: "no_delete", parse: truth(&s.NoDelete), text: word(&s.NoDelete)},
			key{name: "gzip", parse: truth(&s.Gzip), text: word(&s.Gzip)},
		)
	}
	return append(all,
		key{name: "fence", parse: truth(&s.Fence), text: word(&s.Fence)},
		key{name: "playlist_every", parse: duration(&s.PlaylistEvery, 0, time.Minute), text: span(&s.PlaylistEvery)},
		key{name: "keep", parse: s.parseKeep, text: s.keepText},
		key{name: "replay", parse: truth(&s.Replay), text: word(&s.Replay)},
		key{name: "memory", parse: size(&s.Memory, 1<<20, 1<<40), text: amount(&s.Memory)},
		key{name: "spool", parse: size(&s.Spool, 0, 1<<50), text: amount(&s.Spool)},
		key{name: "serve", parse: orNothing(oneOf(&s.Serve, "parts", "segments")), text: text(&s.Serve)},
		key{name: "public_url", parse: trimmed(&s.PublicURL), text: text(&s.PublicURL)},
	)
}

// check finds what is missing.
func (s *Storage) check() *Error {
	missing := func(key, remedy string) *Error {
		return &Error{Key: key, Cause: "not given", Remedy: remedy}
	}
	switch {
	case s.Type == "s3" && s.Bucket == "":
		return missing("bucket", "name the bucket")
	case s.Type == "s3" && (s.AccessKey == "") != (s.SecretKey == ""):
		return missing("access_key, secret_key", "give both, or none to use those of the environment")
	case s.Type == "directory" && s.Path == "":
		return missing("path", "name a folder")
	case s.Type == "httpput" && s.URL == "":
		return missing("url", "give the URL that files are put behind")
	case (s.Certificate == "") != (s.Key == ""):
		return missing("certificate, key", "give both or none")
	}
	if err := s.checkServe(); err != nil {
		return err
	}
	for _, at := range []string{s.Endpoint, s.URL} {
		if at != "" && !isWeb(at) {
			return &Error{Key: "endpoint, url", Cause: "not a URL", Remedy: "write one such as https://s3.example.org"}
		}
	}
	return s.checkKeep()
}

// checkKeep finds what contradicts Keep.
func (s *Storage) checkKeep() *Error {
	switch {
	case s.Replay && s.Keep == 0:
		return &Error{Key: "replay", Cause: "its media would be deleted: keep is live", Remedy: "set keep to forever, or to a time such as 24h"}
	case s.NoDelete && s.Keep != 0 && s.Keep != KeepForever:
		return &Error{Key: "keep", Cause: "nothing is deleted with no_delete", Remedy: "set keep to forever, or leave no_delete out"}
	}
	return nil
}

// checkServe checks how viewers read the place. The URL stands in playlists, with
// the names of files behind it.
func (s *Storage) checkServe() *Error {
	if (s.Serve == "") != (s.PublicURL == "") {
		return &Error{Key: "serve, public_url", Cause: "not given", Remedy: "give both or none"}
	}
	if s.PublicURL == "" {
		return nil
	}
	const remedy = "write one such as https://cdn.example.org/live"
	u, err := url.Parse(s.PublicURL)
	odd := strings.ContainsFunc(s.PublicURL, func(r rune) bool { return r <= ' ' || r == '"' || r >= 0x7f })
	switch {
	case err != nil || !isWeb(s.PublicURL) || odd:
		return &Error{Key: "public_url", Cause: "not a URL", Remedy: remedy}
	case strings.ContainsFunc(u.Host, func(r rune) bool { return !strings.ContainsRune("-.:[]", r) && !isAlphanumeric(r) }):
		return &Error{Key: "public_url", Cause: "not the name or address of a host", Remedy: remedy}
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(s.PublicURL, "#"):
		return &Error{Key: "public_url", Cause: "has more than scheme, host and path", Remedy: remedy}
	}
	return nil
}

func isAlphanumeric(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
}

// trimmed takes a URL without slashes at its end.
func trimmed(at *string) func(string) *Error {
	return func(s string) *Error { return path(at)(strings.TrimRight(s, "/")) }
}

// orNothing also takes the empty text, which changes nothing.
func orNothing(parse func(string) *Error) func(string) *Error {
	return func(s string) *Error {
		if s == "" {
			return nil
		}
		return parse(s)
	}
}

// isWeb says whether a text is the URL of a web server.
func isWeb(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https")
}

func truth(at *bool) func(string) *Error {
	return func(s string) *Error {
		if s != "true" && s != "false" {
			return &Error{Cause: "unknown word", Remedy: "use true or false"}
		}
		*at = s == "true"
		return nil
	}
}

func word(at *bool) func() string { return func() string { return fmt.Sprint(*at) } }

// storages reads a list of Storages: YAML, or JSON, which is YAML as well.
func storages(at *[]Storage) func(string) *Error {
	return func(s string) *Error {
		var all []Storage
		err := entries(s, maxStorages, "write [{type: directory, path: ./hls}]", func(n *yaml.Node) *Error {
			one, err := readStorage(n)
			all = append(all, one)
			return err
		})
		if err == nil {
			err = checkOneServes(all)
		}
		if err == nil {
			*at = all
		}
		return err
	}
}

// entries reads a list of groups of keys and calls each with one.
func entries(s string, most int, example string, each func(n *yaml.Node) *Error) *Error {
	var root yaml.Node
	if strings.TrimSpace(s) == "" {
		return nil
	}
	if err := yaml.Load([]byte(s), &root); err != nil {
		return &Error{Cause: "not YAML", Remedy: example}
	}
	list := &root
	if list.Kind == yaml.DocumentNode && len(list.Content) == 1 {
		list = list.Content[0]
	}
	if list.Kind != yaml.SequenceNode && !empty(list) {
		return &Error{Cause: "not a list", Remedy: example}
	}
	if len(list.Content) > most {
		return &Error{Cause: fmt.Sprintf("%d entries", len(list.Content)), Remedy: fmt.Sprintf("list at most %d", most)}
	}
	for i, entry := range list.Content {
		if err := each(entry); err != nil {
			if err.Key != "" {
				err.Cause = err.Key + ": " + err.Cause
			}
			err.Cause = fmt.Sprintf("entry %d: %s", i+1, err.Cause)
			return err
		}
	}
	return nil
}

// checkOneServes says whether at most one place is read by viewers whose playlists
// the gateway has: a playlist names each file once.
func checkOneServes(all []Storage) *Error {
	serving := 0
	for i, s := range all {
		if s.Serve == "" {
			continue
		}
		if serving++; serving > 1 {
			return &Error{Cause: fmt.Sprintf("entry %d: serve: another entry has it", i+1), Remedy: "leave it at one"}
		}
	}
	return nil
}

func readStorage(n *yaml.Node) (Storage, *Error) {
	if n.Kind != yaml.MappingNode {
		return Storage{}, &Error{Cause: "no keys", Remedy: "write {type: directory, path: ./hls}"}
	}
	var s Storage
	fields := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		fields[n.Content[i].Value] = n.Content[i+1]
	}
	if kind := fields["type"]; kind != nil {
		s = newStorage(kind.Value)
	}
	if err := s.keys()[0].parse(s.Type); err != nil {
		err.Key = "type"
		return s, err
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if err := s.read(n.Content[i].Value, n.Content[i+1]); err != nil {
			err.Key = n.Content[i].Value
			return s, err
		}
	}
	if s.Replay && fields["keep"] == nil {
		s.Keep = KeepForever
	}
	return s, s.check()
}

// parseKeep reads live, forever or a duration.
func (s *Storage) parseKeep(text string) *Error {
	switch text {
	case "live":
		s.Keep = 0
	case "forever":
		s.Keep = KeepForever
	default:
		if _, err := time.ParseDuration(text); err != nil {
			return &Error{Cause: "not a duration", Remedy: "write live, forever or a time such as 24h"}
		}
		return duration(&s.Keep, 2*time.Hour, 10*365*24*time.Hour)(text)
	}
	return nil
}

func (s *Storage) keepText() string {
	switch s.Keep {
	case 0:
		return "live"
	case KeepForever:
		return "forever"
	}
	return span(&s.Keep)()
}

// read sets one key.
func (s *Storage) read(name string, value *yaml.Node) *Error {
	if name == "headers" && s.Type == "httpput" {
		if value.Kind != yaml.MappingNode {
			return &Error{Cause: "no fields", Remedy: "write {Authorization: Bearer …}"}
		}
		s.Headers = map[string]string{}
		for i := 0; i+1 < len(value.Content); i += 2 {
			field, text := value.Content[i].Value, value.Content[i+1].Value
			if field == "" || strings.ContainsFunc(field+text, func(r rune) bool { return r < ' ' }) {
				return &Error{Cause: "a field has a control character, or no name", Remedy: "write each on one line"}
			}
			s.Headers[field] = text
		}
		return nil
	}
	all := s.keys()
	at := slices.IndexFunc(all, func(k key) bool { return k.name == name })
	if at < 0 {
		var names []string
		for _, k := range all {
			names = append(names, k.name)
		}
		if s.Type == "httpput" {
			names = append(names, "headers")
		}
		return &Error{Cause: "unknown key of " + s.Type, Remedy: s.Type + " has " + strings.Join(names, ", ")}
	}
	if value.Kind != yaml.ScalarNode {
		return &Error{Cause: "not a single value", Remedy: "write one value after the colon"}
	}
	return all[at].parse(value.Value)
}

// listed writes a list of Storages as JSON, "" for none.
func listed(at *[]Storage) func() string {
	return func() string {
		if len(*at) == 0 {
			return ""
		}
		var all []map[string]any
		for _, s := range *at {
			one := map[string]any{}
			for _, k := range s.keys() {
				if v := k.text(); v != "" {
					one[k.name] = v
				}
			}
			if len(s.Headers) > 0 {
				one["headers"] = s.Headers
			}
			all = append(all, one)
		}
		text, err := json.Marshal(all)
		if err != nil { // texts only: it cannot fail
			return ""
		}
		return string(text)
	}
}

// flow writes a node of the file as JSON, so that it can be read as the value of
// a variable is.
func flow(n *yaml.Node) (string, *Error) {
	plain, err := simple(n, 0)
	if err != nil {
		return "", err
	}
	text, failed := json.Marshal(plain)
	if failed != nil {
		return "", &Error{Cause: "not readable", Remedy: "write a list of groups of keys"}
	}
	return string(text), nil
}

func simple(n *yaml.Node, depth int) (any, *Error) {
	const deepest = 4
	switch {
	case depth > deepest || n.Kind == yaml.AliasNode:
		return nil, &Error{Cause: "a YAML alias, or lists in lists", Remedy: "write the values themselves"}
	case n.Kind == yaml.ScalarNode:
		return n.Value, nil
	case n.Kind == yaml.SequenceNode:
		list := []any{}
		for _, item := range n.Content {
			v, err := simple(item, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	}
	group := map[string]any{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name := n.Content[i].Value
		if _, twice := group[name]; twice {
			return nil, &Error{Cause: fmt.Sprintf("key %q appears twice", name), Remedy: "keep one"}
		}
		v, err := simple(n.Content[i+1], depth+1)
		if err != nil {
			return nil, err
		}
		group[name] = v
	}
	return group, nil
}
