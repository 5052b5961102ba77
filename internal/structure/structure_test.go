// Package structure holds the rules that the tree keeps: who may import whom, and that every package says what it is for.
package structure

import (
	"bytes"
	"encoding/json"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

type pkg struct {
	ImportPath string
	Doc        string
	Imports    []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Doc,Imports", "wsframe/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	var list []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	if len(list) < 15 {
		t.Fatalf("only %d packages were found", len(list))
	}
	return list
}

// arrows are what each layer may import, besides itself and the tools. docs/architecture.md draws them.
var arrows = parse(`
public: app framework framework/auth framework/console
app: framework library
framework: framework/internal/names framework/internal/wire framework/hub framework/frame framework/auth framework/cluster framework/bus library
framework/hub: framework/auth framework/internal/wire
framework/frame: framework/internal/ijson
framework/auth: library
framework/cluster: library
framework/bus: library
framework/internal/names:
framework/internal/wire:
framework/internal/ijson:
framework/internal/backoff:
framework/internal/lograte:
framework/push: framework/internal/names framework/internal/wire framework/internal/ijson
framework/manager:
framework/process: framework/manager library
framework/console: framework library
framework/frameworktest: framework library
library:
internal: app framework library public
`)

// tools are packages below all others, which every package of framework may import.
var tools = []string{"framework/internal/backoff", "framework/internal/lograte"}

func parse(table string) map[string][]string {
	rows := map[string][]string{}
	for line := range strings.Lines(table) {
		if layer, imports, ok := strings.Cut(line, ":"); ok {
			rows[layer] = strings.Fields(imports)
		}
	}
	return rows
}

// layer is the key in arrows that a package belongs to: the longest that fits.
func layer(path string) string {
	path = strings.TrimPrefix(path, "wsframe/")
	best := ""
	for key := range arrows {
		if (path == key || strings.HasPrefix(path, key+"/")) && len(key) > len(best) {
			best = key
		}
	}
	return best
}

func TestImports(t *testing.T) {
	for _, p := range packages(t) {
		from := layer(p.ImportPath)
		if from == "" {
			t.Errorf("%s belongs to no layer", p.ImportPath)
			continue
		}
		for _, imported := range p.Imports {
			if !strings.HasPrefix(imported, "wsframe/") {
				continue
			}
			to := strings.TrimPrefix(imported, "wsframe/")
			allowed := layer(imported) == from
			for _, a := range arrows[from] {
				allowed = allowed || to == a || strings.HasPrefix(to, a+"/")
			}
			allowed = allowed || strings.HasPrefix(from, "framework") && slices.Contains(tools, to)
			if !allowed {
				t.Errorf("%s imports %s", p.ImportPath, imported)
			}
		}
	}
}

func TestPackageDocs(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.Doc) < 30 && !strings.HasPrefix(p.ImportPath, "wsframe/internal/") {
			t.Errorf("%s does not say what it is for", p.ImportPath)
		}
	}
}
