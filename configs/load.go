package configs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// maxFile bounds the configuration file. The reference has a few kilobytes.
const maxFile = 1 << 20

// Setting is one value from the command line.
type Setting struct {
	Flag  string // as the user wrote it, such as "--http.address"
	Key   string // such as "http.address"
	Value string
}

// Load makes the configuration: defaults, then the file at path (none when
// empty), then the WHIPCAST_ variables of environ (as from os.Environ), then
// flags. The error is an *Error, or one that says why the file cannot be read.
func Load(path string, environ []string, flags ...Setting) (Config, error) {
	var file []byte
	if path != "" {
		var err error
		if file, err = readFile(path); err != nil {
			return Config{}, err
		}
	}
	l := loader{config: Default(), where: map[string]string{}}
	if path != "" {
		if err := l.file(path, file); err != nil {
			return Config{}, err
		}
	}
	if err := l.environment(environ); err != nil {
		return Config{}, err
	}
	for _, f := range flags {
		if err := l.set(f.Flag, f.Key, f.Value); err != nil {
			return Config{}, err
		}
	}
	if err := l.config.Validate(); err != nil {
		if e, ok := errors.AsType[*Error](err); ok {
			e.Where = l.where[e.Key]
		}
		return Config{}, err
	}
	return l.config, nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w; check --config", err)
	}
	defer f.Close() //nolint:errcheck // only read
	file, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w; check --config", err)
	}
	if len(file) > maxFile {
		return nil, &Error{Where: path, Cause: "larger than 1 MiB", Remedy: "check --config"}
	}
	return file, nil
}

// loader remembers where each value came from.
type loader struct {
	config Config
	where  map[string]string // by key
}

func (l *loader) set(where, name, value string) error {
	for _, k := range l.config.keys() {
		if k.name != name {
			continue
		}
		l.where[name] = where
		err := k.set(value)
		if e, ok := errors.AsType[*Error](err); ok {
			e.Where = where
		}
		return err
	}
	return &Error{Where: where, Cause: fmt.Sprintf("unknown key %q", name), Remedy: suggest(name)}
}

func (l *loader) environment(environ []string) error {
	keys := l.config.keys()
	for _, pair := range environ {
		variable, value, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(variable, "WHIPCAST_") {
			continue
		}
		at := slices.IndexFunc(keys, func(k key) bool { return k.variable() == variable })
		if at < 0 && kubernetes(variable) {
			continue
		}
		if at < 0 {
			return &Error{Where: "environment", Cause: fmt.Sprintf("unknown variable %q", variable), Remedy: suggest(strings.ToLower(strings.TrimPrefix(variable, "WHIPCAST_")))}
		}
		if err := l.set(variable, keys[at].name, value); err != nil {
			return err
		}
	}
	return nil
}

// kubernetes says whether a variable is one that Kubernetes sets in each
// container when a Service is named whipcast.
func kubernetes(variable string) bool {
	return strings.HasPrefix(variable, "WHIPCAST_SERVICE_") || strings.HasPrefix(variable, "WHIPCAST_PORT")
}

// file reads one YAML document: mappings of mappings, scalars, lists of scalars.
func (l *loader) file(path string, text []byte) error {
	loader, err := yaml.NewLoader(bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	var document, second yaml.Node
	switch err := loader.Load(&document); {
	case errors.Is(err, io.EOF):
		return nil // empty, or only comments
	case err != nil:
		return syntaxError(path, err)
	}
	if err := loader.Load(&second); !errors.Is(err, io.EOF) {
		if err != nil {
			return syntaxError(path, err)
		}
		return &Error{Where: at(path, &second), Cause: "a second document", Remedy: "keep one, without ---"}
	}
	root := &document
	if root.Kind == yaml.DocumentNode && len(root.Content) == 1 {
		root = root.Content[0]
	}
	if empty(root) {
		return nil
	}
	return l.mapping(path, "", root)
}

func (l *loader) mapping(path, prefix string, n *yaml.Node) error {
	if n.Kind != yaml.MappingNode {
		name := strings.TrimSuffix(prefix, ".")
		if name == "" {
			return &Error{Where: at(path, n), Cause: "the file is no list of keys", Remedy: "write lines such as data_dir: ./data"}
		}
		return &Error{Where: at(path, n), Key: name, Value: excerpt(n), Cause: "a group of keys, not a value", Remedy: suggest(name + ".")}
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		field, value := n.Content[i], n.Content[i+1]
		name := prefix + field.Value
		switch {
		case field.Kind != yaml.ScalarNode:
			return &Error{Where: at(path, field), Cause: "a key that is not a word", Remedy: "see whipcast.yaml for all keys"}
		case seen[name]:
			return &Error{Where: at(path, field), Cause: fmt.Sprintf("key %q appears twice", name), Remedy: "keep one"}
		}
		seen[name] = true
		if err := l.field(path, name, field, value); err != nil {
			return err
		}
	}
	return nil
}

func (l *loader) field(path, name string, field, value *yaml.Node) error {
	keys := l.config.keys()
	found := slices.IndexFunc(keys, func(k key) bool { return k.name == name })
	group := slices.ContainsFunc(keys, func(k key) bool { return strings.HasPrefix(k.name, name+".") })
	switch {
	case found < 0 && !group:
		return &Error{Where: at(path, field), Cause: fmt.Sprintf("unknown key %q", name), Remedy: suggest(name)}
	case group && empty(value):
		return nil // a group whose keys are all commented out
	case group:
		return l.mapping(path, name+".", value)
	}
	text, err := scalars(keys[found], value)
	if err != nil {
		err.Where, err.Key, err.Value = at(path, value), name, excerpt(value)
		if keys[found].secret {
			err.Value = "(not shown)"
		}
		return err
	}
	return l.set(at(path, value), name, text)
}

// scalars returns the text of a value, lists joined by commas.
func scalars(k key, n *yaml.Node) (string, *Error) {
	switch {
	case (k.list || k.nested) && empty(n):
		return "", nil
	case k.nested:
		return flow(n)
	case empty(n):
		return "", &Error{Cause: "no value", Remedy: "give one, or remove the line"}
	case n.Kind == yaml.AliasNode:
		return "", &Error{Cause: "a YAML alias", Remedy: "write the value itself"}
	case n.Kind == yaml.ScalarNode:
		return n.Value, nil
	case !k.list || n.Kind != yaml.SequenceNode:
		return "", &Error{Cause: "not a single value", Remedy: "write one value after the colon"}
	}
	var words []string
	for _, item := range n.Content {
		if item.Kind != yaml.ScalarNode || item.Value == "" || strings.Contains(item.Value, ",") {
			return "", &Error{Cause: "not a list of values", Remedy: "write [first, second]"}
		}
		words = append(words, item.Value)
	}
	return strings.Join(words, ","), nil
}

func empty(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

func excerpt(n *yaml.Node) string {
	switch n.Kind {
	case yaml.ScalarNode:
		return n.Value
	case yaml.SequenceNode:
		return "[…]"
	case yaml.MappingNode:
		return "{…}"
	default:
		return "*" + n.Value
	}
}

func at(path string, n *yaml.Node) string {
	return fmt.Sprintf("%s:%d", path, n.Line)
}

func syntaxError(path string, err error) error {
	where, cause := path, err.Error()
	if e, ok := errors.AsType[*yaml.LoadError](err); ok {
		cause = e.Message
		if e.Mark.Line > 0 {
			where = fmt.Sprintf("%s:%d", path, e.Mark.Line)
		}
	}
	return &Error{Where: where, Cause: "not YAML: " + strings.Join(strings.Fields(cause), " "), Remedy: "indent by spaces and quote values that have special characters"}
}

// suggest returns a remedy for an unknown key: the nearest one, or the group's.
func suggest(name string) string {
	var group []string
	best, least := "", len(name)/3+1
	first, _, _ := strings.Cut(strings.ReplaceAll(name, "_", "."), ".")
	for _, k := range Keys() {
		if strings.HasPrefix(k, first+".") {
			group = append(group, k)
		}
		for ; k != ""; k = k[:max(strings.LastIndex(k, "."), 0)] { // the key, then its groups
			for _, form := range []string{k, strings.ReplaceAll(k, ".", "_"), k[strings.LastIndex(k, ".")+1:]} {
				if d := distance(form, name); d < least {
					best, least = k, d
				}
			}
		}
	}
	switch {
	case strings.HasSuffix(name, ".") && len(group) > 0:
		return "it holds " + strings.Join(group, ", ")
	case best != "":
		return fmt.Sprintf("did you mean %q?", best)
	case len(group) > 0:
		return first + " holds " + strings.Join(group, ", ")
	default:
		return "see whipcast.yaml for all keys"
	}
}

// distance is the number of letters to insert, remove or replace between a and b.
func distance(a, b string) int {
	if len(b) > 64 {
		return len(b)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
