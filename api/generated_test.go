package api_test

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/whipcast/whipcast/api"
)

// generated compares a file, or the part of it between two marks, with what it must be.
// With WHIPCAST_UPDATE=1 it is written.
func generated(t *testing.T, path, want string, marks ...string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil && os.Getenv("WHIPCAST_UPDATE") == "" {
		t.Fatal(err)
	}
	whole := want
	if len(marks) == 2 {
		before, rest, ok := strings.Cut(string(text), marks[0]+"\n")
		_, after, ok2 := strings.Cut(rest, marks[1])
		if !ok || !ok2 {
			t.Fatalf("%s has no marks", path)
		}
		whole = before + marks[0] + "\n" + want + marks[1] + after
	}
	if os.Getenv("WHIPCAST_UPDATE") != "" {
		if err := os.WriteFile(path, []byte(whole), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(text) != whole {
		t.Errorf("%s is not what the code says: run WHIPCAST_UPDATE=1 go test ./api", path)
	}
}

// schema is as much of JSON Schema as the description uses.
type schema struct {
	Ref                  string            `json:"$ref"`
	Type                 any               `json:"type"`
	Enum                 []string          `json:"enum"`
	Items                *schema           `json:"items"`
	Properties           map[string]schema `json:"properties"`
	AdditionalProperties any               `json:"additionalProperties"`
	Required             []string          `json:"required"`
	Description          string            `json:"description"`
}

// typescript writes a schema as a type.
func typescript(s *schema) string {
	if s.Ref != "" {
		return s.Ref[strings.LastIndexByte(s.Ref, '/')+1:]
	}
	if len(s.Enum) > 0 {
		return "'" + strings.Join(s.Enum, "' | '") + "'"
	}
	switch s.Type {
	case "string", "boolean":
		return fmt.Sprint(s.Type)
	case "integer", "number":
		return "number"
	case "array":
		if item := typescript(s.Items); strings.Contains(item, "|") {
			return "(" + item + ")[]"
		}
		return typescript(s.Items) + "[]"
	case "object":
		if value, ok := s.AdditionalProperties.(map[string]any); ok {
			ref, _ := value["$ref"].(string)
			kind, _ := value["type"].(string)
			return "Record<string, " + typescript(&schema{Ref: ref, Type: kind}) + ">"
		}
	}
	return "unknown"
}

// TestTypes: the types that the pages use are those of the description.
func TestTypes(t *testing.T) {
	var doc struct {
		Components struct {
			Schemas map[string]schema `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(newContract(t, nil).server.Document(), &doc); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("// The types of the API, made of /openapi.json: WHIPCAST_UPDATE=1 go test ./api\n")
	for _, name := range sorted(doc.Components.Schemas) {
		one := doc.Components.Schemas[name]
		fmt.Fprintf(&b, "\nexport interface %s {\n", name)
		for _, field := range sorted(one.Properties) {
			f := one.Properties[field]
			if field == "$schema" {
				t.Errorf("%s has a field $schema", name)
			}
			if f.Description != "" {
				fmt.Fprintf(&b, "  /** %s */\n", f.Description)
			}
			optional := "?"
			if slices.Contains(one.Required, field) {
				optional = ""
			}
			fmt.Fprintf(&b, "  %s%s: %s\n", field, optional, typescript(&f))
		}
		b.WriteString("}\n")
	}
	generated(t, "../web/src/api.ts", b.String())
}

func sorted[T any](all map[string]T) []string {
	var names []string
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// TestGuide: the tables of docs/api.md are those of the code.
func TestGuide(t *testing.T) {
	c := newContract(t, nil)
	var b strings.Builder
	b.WriteString("\n| operation | what it does |\n|---|---|\n")
	for _, path := range sorted(c.server.OpenAPI().Paths) {
		item := c.server.OpenAPI().Paths[path]
		for _, op := range []struct {
			method string
			is     bool
		}{{"GET", item.Get != nil}, {"POST", item.Post != nil}, {"PUT", item.Put != nil}, {"PATCH", item.Patch != nil}, {"DELETE", item.Delete != nil}} {
			if op.is {
				fmt.Fprintf(&b, "| `%s %s` | %s |\n", op.method, path, c.operations(path)[op.method])
			}
		}
	}
	b.WriteString("\n")
	generated(t, "../docs/api.md", b.String(), "<!-- operations -->", "<!-- end of operations -->")
	b.Reset()
	b.WriteString("\n| code | status | what to do |\n|---|---|---|\n")
	for _, m := range api.Problems() {
		fmt.Fprintf(&b, "| `%s` | %d | %s |\n", m.Code, m.Status, m.Detail)
	}
	b.WriteString("\n")
	generated(t, "../docs/api.md", b.String(), "<!-- codes -->", "<!-- end of codes -->")
}

func (c *contract) operations(path string) map[string]string {
	item, all := c.server.OpenAPI().Paths[path], map[string]string{}
	if item.Get != nil {
		all["GET"] = item.Get.Summary
	}
	if item.Post != nil {
		all["POST"] = item.Post.Summary
	}
	if item.Put != nil {
		all["PUT"] = item.Put.Summary
	}
	if item.Patch != nil {
		all["PATCH"] = item.Patch.Summary
	}
	if item.Delete != nil {
		all["DELETE"] = item.Delete.Summary
	}
	return all
}

// TestDocs: everybody may read the description and the page, which has nothing from
// elsewhere: no URL of another server, and a policy that forbids any.
func TestDocs(t *testing.T) {
	c := newContract(t, nil)
	outside := regexp.MustCompile(`(?i)(https?:)?//[a-z0-9.-]+\.[a-z]{2,}|@import|url\(|innerHTML`)
	for path, kind := range map[string]string{
		"/docs": "text/html; charset=utf-8", "/docs/page.js": "text/javascript; charset=utf-8",
		"/docs/page.css": "text/css; charset=utf-8", "/openapi.json": "application/openapi+json",
	} {
		got := call(c.handler, "GET", path, "")
		if got.status != 200 || got.header.Get("Content-Type") != kind || got.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d %v", path, got.status, got.header)
		}
		text := got.body
		if path == "/openapi.json" {
			text = strings.NewReplacer("rtsp://", "", "rtsps://", "", "camera.example.org", "").Replace(text)
		}
		if found := outside.FindString(text); found != "" {
			t.Errorf("%s has %q", path, found)
		}
		if path == "/docs" && !strings.Contains(got.header.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("policy %q", got.header.Get("Content-Security-Policy"))
		}
		if got := call(c.handler, "POST", path, ""); got.status != 405 {
			t.Errorf("POST %s: %d", path, got.status)
		}
	}
	if got := call(c.handler, "GET", "/docs/nothing", ""); got.status != 404 {
		t.Errorf("/docs/nothing: %d", got.status)
	}
	if !strings.Contains(string(c.server.Document()), `"openapi": "3.1.0"`) {
		t.Error("not OpenAPI 3.1")
	}
}
