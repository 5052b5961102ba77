package structure

import (
	"encoding/json"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// withoutExample are the public packages without an Example, each with the reason.
var withoutExample = map[string]string{
	"wsframe/framework/api":     "has data alone, no functions",
	"wsframe/framework/process": "starts this program again as its worker, which a test's program is not; package console shows the use",
	"wsframe/public/static":     "has the embedded demo pages alone",
	"wsframe/app":               "is an example itself: the application",
	"wsframe/app/chat":          "is an example itself: the application",
	"wsframe/app/index":         "is an example itself: the application",
	"wsframe/app/live":          "is an example itself: the application",
}

// Each public package shows one whole use of itself, as an Example that runs: one with the output that is expected.
func TestExamples(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Name,Dir,TestGoFiles,XTestGoFiles", "wsframe/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath, Name, Dir     string
			TestGoFiles, XTestGoFiles []string
		}
		if err := d.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if p.Name == "main" || strings.Contains(p.ImportPath+"/", "/internal/") {
			continue
		}
		seen[p.ImportPath] = true
		switch has := hasExample(t, p.Dir, append(p.TestGoFiles, p.XTestGoFiles...)); {
		case has && withoutExample[p.ImportPath] != "":
			t.Errorf("%s has an Example; it is no exception any more", p.ImportPath)
		case !has && withoutExample[p.ImportPath] == "":
			t.Errorf("%s has no Example that runs (with a comment // Output: at its end)", p.ImportPath)
		}
	}
	for path := range withoutExample {
		if !seen[path] {
			t.Errorf("%s is an exception and does not exist", path)
		}
	}
}

func hasExample(t *testing.T, dir string, names []string) bool {
	t.Helper()
	var files []*ast.File
	for _, name := range names {
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, name), nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	for _, e := range doc.Examples(files...) {
		if e.Output != "" {
			return true
		}
	}
	return false
}
