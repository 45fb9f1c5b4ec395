package configs

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// TestConfiguration holds docs/configuration.md to the code. make docs writes it.
func TestConfiguration(t *testing.T) {
	const path = "../docs/configuration.md"
	want := reference(t)
	if os.Getenv("UPDATE_DOCS") != "" {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil { //nolint:gosec // a document
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("%s is not what the code says (%v): make docs", path, err)
	}
	for _, name := range Keys() {
		if !strings.Contains(want, "# "+name+"\n") {
			t.Errorf("there is no section %s", name)
		}
	}
}

// reference returns docs/configuration.md: each key with its variable, its default
// and what whipcast.yaml says of it.
func reference(t *testing.T) string {
	t.Helper()
	commented, err := os.ReadFile("whipcast.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var root yaml.Node
	if err := yaml.Load(commented, &root); err != nil {
		t.Fatal(err)
	}
	c := Default()
	keys := c.keys()
	var b strings.Builder
	b.WriteString("# Configuration\n\nGenerated from `configs/whipcast.yaml` and the code that reads it: `make docs` writes it anew.\n\n" +
		"A file needs only what differs from the defaults; `whipcast serve --config FILE` reads it. Each key is also an environment variable and a\n" +
		"flag, `--` and the key. A variable overrides the file, a flag overrides both. `whipcast check --config FILE` says what is wrong with it.\n")
	var walk func(prefix string, n *yaml.Node)
	walk = func(prefix string, n *yaml.Node) {
		for i := 0; i+1 < len(n.Content); i += 2 {
			field, value := n.Content[i], n.Content[i+1]
			name := prefix + field.Value
			at := slices.IndexFunc(keys, func(k key) bool { return k.name == name })
			if at < 0 {
				if prefix == "" {
					fmt.Fprintf(&b, "\n## %s\n", name)
				}
				if about := words(field.HeadComment); about != "" {
					b.WriteString("\n" + about + "\n")
				}
				walk(name+".", value)
				continue
			}
			if prefix == "" {
				fmt.Fprintf(&b, "\n## %s\n", name)
			} else {
				fmt.Fprintf(&b, "\n### %s\n", name)
			}
			k := keys[at]
			fmt.Fprintf(&b, "\n`%s`", k.variable())
			if d := k.text(); d != "" {
				fmt.Fprintf(&b, ", default `%s`", d)
			} else {
				b.WriteString(", empty by default")
			}
			b.WriteString("\n\n" + words(field.HeadComment) + "\n")
		}
	}
	walk("", root.Content[0])
	return b.String()
}

// words returns a comment as Markdown. One with columns stays as it is.
func words(comment string) string {
	var lines []string
	for line := range strings.Lines(comment) {
		line = strings.TrimRight(strings.TrimPrefix(strings.TrimSpace(line), "#"), " ")
		lines = append(lines, strings.TrimPrefix(line, " "))
	}
	text := strings.TrimSpace(strings.Join(lines, "\n"))
	if strings.Contains(text, "\n  ") || strings.Contains(text, "\n- ") {
		return "```text\n" + text + "\n```"
	}
	return strings.NewReplacer("<", "&lt;", "*", `\*`).Replace(text)
}
