package archtest_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/whipcast/whipcast/internal/archtest"
)

// listed is what `go list -json` says of one package.
type listed struct {
	ImportPath string
	Imports    []string
	Doc        string
}

func packages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,Doc", archtest.Module+"/...")
	cmd.Dir = "../.."
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var all []listed
	for dec := json.NewDecoder(out); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if err := cmd.Wait(); err != nil || len(all) < 5 {
		t.Fatalf("go list: %v, %d packages", err, len(all))
	}
	return all
}

func relative(path string) (string, bool) {
	return strings.CutPrefix(path, archtest.Module+"/")
}

func matchAny(patterns []string, pkg string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return archtest.Match(p, pkg) })
}

func TestImportTable(t *testing.T) {
	for _, p := range packages(t) {
		name, ours := relative(p.ImportPath)
		if !ours {
			continue
		}
		i := slices.IndexFunc(archtest.Rules(), func(r archtest.Rule) bool { return archtest.Match(r.Package, name) })
		if i < 0 {
			t.Errorf("%s is not in the import table: give it a row in internal/archtest", name)
			continue
		}
		if p.Doc == "" {
			t.Errorf("%s has no package comment", name)
		}
		for _, path := range p.Imports {
			if other, ours := relative(path); ours && !matchAny(archtest.Rules()[i].May, other) {
				t.Errorf("%s imports %s; the table allows %v", name, other, archtest.Rules()[i].May)
			}
		}
	}
}

// TestDocument: the code map of ARCHITECTURE.md names every package, with what it
// may import.
func TestDocument(t *testing.T) {
	text, err := os.ReadFile("../../ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ = bytes.Cut(text, []byte("## Code map"))
	text, _, _ = bytes.Cut(text, []byte("\n## "))
	quoted := regexp.MustCompile("`([^`]+)`")
	words := func(cell string) []string {
		var all []string
		for _, m := range quoted.FindAllStringSubmatch(cell, -1) {
			all = append(all, m[1])
		}
		slices.Sort(all)
		return all
	}
	documented := map[string][]string{}
	for line := range strings.SplitSeq(string(text), "\n") {
		if cells := strings.Split(line, "|"); len(cells) == 5 {
			may := words(cells[3])
			if strings.TrimSpace(cells[3]) == "everything" {
				may = []string{"*"}
			}
			for _, name := range words(cells[1]) {
				documented[name] = may
			}
		}
	}
	for _, p := range packages(t) {
		name, ours := relative(p.ImportPath)
		i := slices.IndexFunc(archtest.Rules(), func(r archtest.Rule) bool { return archtest.Match(r.Package, name) })
		if !ours || i < 0 {
			continue // TestImportTable says so
		}
		may, known := documented[name]
		delete(documented, name)
		if want := slices.Sorted(slices.Values(archtest.Rules()[i].May)); !known || !slices.Equal(may, want) {
			t.Errorf("ARCHITECTURE.md: %s in the code map: %v, may import %v; the table allows %v", name, known, may, want)
		}
	}
	for name := range documented {
		t.Errorf("ARCHITECTURE.md: there is no package %s", name)
	}
}

func TestThirdPartyBorders(t *testing.T) {
	for _, p := range packages(t) {
		name, ours := relative(p.ImportPath)
		if !ours {
			continue
		}
		for _, path := range p.Imports {
			for _, b := range archtest.Borders() {
				if strings.HasPrefix(path, b.Path) && !matchAny(b.Only, name) {
					t.Errorf("%s imports %s; only %v may", name, path, b.Only)
				}
			}
		}
	}
}

func TestDepth(t *testing.T) {
	imports := make(map[string][]string)
	for _, p := range packages(t) {
		imports[p.ImportPath] = p.Imports
	}
	var depth func(path string) int
	depth = func(path string) int {
		deepest := 0
		for _, next := range imports[path] {
			if _, ours := relative(next); ours {
				deepest = max(deepest, depth(next))
			}
		}
		return deepest + 1
	}
	for path := range imports {
		name, ours := relative(path)
		if ours && !strings.HasPrefix(name, "cmd/") && name != "internal/e2e" && depth(path) > archtest.MaxDepth {
			t.Errorf("%s stands on %d layers of ours, at most %d are allowed", name, depth(path), archtest.MaxDepth)
		}
	}
}

func TestMatch(t *testing.T) {
	for _, tt := range []struct {
		pattern, pkg string
		want         bool
	}{
		{"stream", "stream", true},
		{"stream", "streams", false},
		{"packager/*", "packager/au", true},
		{"packager/*", "packager", false},
		{"packager/*", "packager/au/x", false},
		{"*", "anything/at/all", true},
	} {
		if got := archtest.Match(tt.pattern, tt.pkg); got != tt.want {
			t.Errorf("Match(%q, %q) = %v", tt.pattern, tt.pkg, got)
		}
	}
}
