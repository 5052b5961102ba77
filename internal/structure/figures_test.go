package structure

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The figures that keep a package readable: of its types, its files, and of files that only make sense together.
const (
	maxMethods = 30
	maxFields  = 25
	maxLines   = 450
	maxCycle   = 8 // files of which each refers to the others, directly or not
)

// limits are those of single packages and types: the root package's, and what is still beyond the common ones. They only go down.
var limits = map[string]int{
	"wsframe/framework cycle":      5,
	"wsframe/framework.App fields": 22,
}

func limit(name string, common int) int {
	if n, ok := limits[name]; ok {
		return n
	}
	return common
}

// figures are measured by the types, so that a reference to a method or a field counts, too.
func TestFigures(t *testing.T) {
	for path, f := range measure(t, "wsframe/framework/...") {
		short := strings.TrimPrefix(path, "wsframe/")
		if f.cycle != nil {
			t.Logf("%-36s %2d files, %2d in a cycle, %5d lines", short, f.files, len(f.cycle), f.lines)
		}
		if n := limit(path+" cycle", maxCycle); len(f.cycle) > n {
			t.Errorf("%s: %d files form a cycle, at most %d: %v", short, len(f.cycle), n, f.cycle)
		}
		for name, n := range f.long {
			if n <= limit(path+"/"+name+" lines", maxLines) {
				continue
			}
			t.Errorf("%s/%s has %d lines, at most %d", short, name, n, maxLines)
		}
		for name, n := range f.methods {
			if n > limit(path+"."+name+" methods", maxMethods) {
				t.Errorf("%s.%s has %d methods, at most %d", short, name, n, maxMethods)
			}
		}
		for name, n := range f.fields {
			if l := limit(path+"."+name+" fields", maxFields); n > l {
				t.Errorf("%s.%s has %d fields, at most %d", short, name, n, l)
			}
		}
	}
}

type figures struct {
	files, lines    int
	cycle           []string       // the files of the largest one
	long            map[string]int // files that are too long
	methods, fields map[string]int // by type
}

func measure(t *testing.T, pattern string) map[string]figures {
	t.Helper()
	cmd := exec.Command("go", "list", "-export", "-deps", "-json=ImportPath,Dir,GoFiles,Export,DepOnly", pattern)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	type listed struct {
		ImportPath, Dir, Export string
		GoFiles                 []string
		DepOnly                 bool
	}
	var ours []listed
	exports := map[string]string{}
	for d := json.NewDecoder(out); ; {
		var p listed
		if err := d.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		exports[p.ImportPath] = p.Export
		if !p.DepOnly {
			ours = append(ours, p)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	fset := token.NewFileSet()
	imports := importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	all := map[string]figures{}
	for _, p := range ours {
		var files []*ast.File
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, f)
		}
		info := &types.Info{Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{}}
		config := types.Config{Importer: imports}
		pkg, err := config.Check(p.ImportPath, fset, files, info)
		if err != nil {
			t.Fatal(err)
		}
		all[p.ImportPath] = figuresOf(fset, pkg, files, info)
	}
	if len(all) < 15 {
		t.Fatal(fmt.Sprint("only these packages were measured: ", len(all)))
	}
	return all
}

func figuresOf(fset *token.FileSet, pkg *types.Package, files []*ast.File, info *types.Info) figures {
	f := figures{files: len(files), long: map[string]int{}, methods: map[string]int{}, fields: map[string]int{}}
	file := func(pos token.Pos) string { return filepath.Base(fset.Position(pos).Filename) }
	for _, one := range files {
		n := fset.File(one.Pos()).LineCount()
		if f.lines += n; n > maxLines {
			f.long[file(one.Pos())] = n
		}
	}
	refers := map[string]map[string]bool{}
	for id, o := range info.Uses {
		if o.Pkg() != pkg || !o.Pos().IsValid() {
			continue
		}
		v, isVar := o.(*types.Var)
		if o.Parent() != pkg.Scope() && o.Parent() != nil && !(isVar && v.IsField()) {
			continue // local
		}
		if from, to := file(id.Pos()), file(o.Pos()); from != to {
			if refers[from] == nil {
				refers[from] = map[string]bool{}
			}
			refers[from][to] = true
		}
	}
	f.cycle = largestCycle(refers)
	for _, name := range pkg.Scope().Names() {
		named, ok := pkg.Scope().Lookup(name).Type().(*types.Named)
		if _, isType := pkg.Scope().Lookup(name).(*types.TypeName); !ok || !isType || named.Obj().Pkg() != pkg {
			continue
		}
		f.methods[name] = named.NumMethods()
		if s, ok := named.Underlying().(*types.Struct); ok {
			f.fields[name] = s.NumFields()
		}
	}
	return f
}

// largestCycle gives the largest set of which each reaches each.
func largestCycle(refers map[string]map[string]bool) (largest []string) {
	reach := map[string]map[string]bool{}
	for from := range refers {
		seen := map[string]bool{}
		var walk func(string)
		walk = func(at string) {
			for to := range refers[at] {
				if !seen[to] {
					seen[to] = true
					walk(to)
				}
			}
		}
		walk(from)
		reach[from] = seen
	}
	for from := range reach {
		var set []string
		for to := range reach[from] {
			if reach[to][from] {
				set = append(set, to)
			}
		}
		if len(set) > len(largest) {
			largest = set
		}
	}
	slices.Sort(largest)
	return largest
}
