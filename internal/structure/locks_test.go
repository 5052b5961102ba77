package structure

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// lockDirs hold the packages whose locks the table in docs/architecture.md lists.
var lockDirs = []string{"framework", "library"}

// lockless are packages that only tests use.
var lockless = []string{"framework/internal/nodetest"}

// findLocks returns the locks of the product: fields and package variables that are a mutex, or
// hold mutexes, as package.Type.field or package.variable.
func findLocks(t *testing.T) map[string]bool {
	t.Helper()
	locks := map[string]bool{}
	for _, dir := range lockDirs {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			name, _ := filepath.Rel(root, path)
			switch {
			case err != nil:
				return err
			case d.IsDir() && slices.Contains(lockless, filepath.ToSlash(name)):
				return filepath.SkipDir
			case d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go"):
				return nil
			}
			f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			for _, lock := range locksOf(f) {
				locks[f.Name.Name+"."+lock] = true
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(locks) < 40 {
		t.Fatalf("only %d locks were found", len(locks))
	}
	return locks
}

// locksOf returns the locks that a file declares outside functions, without the package's name.
func locksOf(f *ast.File) (locks []string) {
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, s := range g.Specs {
			switch s := s.(type) {
			case *ast.TypeSpec:
				locks = append(locks, locksIn(s.Name.Name, s.Type)...)
			case *ast.ValueSpec:
				for i, name := range s.Names {
					typ := s.Type
					if typ == nil && i < len(s.Values) {
						typ = s.Values[i] // of a composite literal, its type
						if c, ok := typ.(*ast.CompositeLit); ok {
							typ = c.Type
						}
					}
					locks = append(locks, locksIn(name.Name, typ)...)
				}
			}
		}
	}
	return locks
}

// locksIn returns name where the type is a mutex, or holds mutexes, and the fields of a struct that
// are such.
func locksIn(name string, typ ast.Expr) (locks []string) {
	switch typ := typ.(type) {
	case *ast.SelectorExpr:
		pkg, ok := typ.X.(*ast.Ident)
		if ok && pkg.Name == "sync" && (typ.Sel.Name == "Mutex" || typ.Sel.Name == "RWMutex") {
			return []string{name}
		}
	case *ast.StarExpr:
		return locksIn(name, typ.X)
	case *ast.ArrayType:
		return locksIn(name, typ.Elt)
	case *ast.MapType:
		return locksIn(name, typ.Value)
	case *ast.ChanType:
		return locksIn(name, typ.Value)
	case *ast.StructType:
		for _, f := range typ.Fields.List {
			for _, id := range f.Names {
				locks = append(locks, locksIn(name+"."+id.Name, f.Type)...)
			}
			if sel, ok := f.Type.(*ast.SelectorExpr); ok && f.Names == nil { // embedded
				locks = append(locks, locksIn(name+"."+sel.Sel.Name, sel)...)
			}
		}
	}
	return locks
}

func TestLocksOf(t *testing.T) {
	const source = `package p
import "sync"
var single sync.Mutex
var (
	made = [2]sync.RWMutex{}
	none int
)
type s[T any] struct {
	sync.Mutex
	a, b sync.Mutex
	many [64]*sync.RWMutex
	of   struct{ mu sync.Mutex }
	once sync.Once
}
func f() { var mu sync.Mutex; mu.Lock() }
`
	f, err := parser.ParseFile(token.NewFileSet(), "p.go", source, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"single", "made", "s.Mutex", "s.a", "s.b", "s.many", "s.of.mu"}
	if got := locksOf(f); !slices.Equal(got, want) {
		t.Errorf("found %v, want %v", got, want)
	}
}

var (
	lockRow  = regexp.MustCompile("(?m)^\\| `([^`|]+)` \\| ([^|\n]+) \\| ([^|\n]+) \\|$")
	lockName = regexp.MustCompile(`\b[a-z]+\.[A-Za-z.]*[a-zA-Z]`)
)

// lockOrder is the table of locks: which others each one is followed by. It reports rows that are
// no good.
func lockOrder(t *testing.T, section string) map[string][]string {
	t.Helper()
	order := map[string][]string{}
	for _, m := range lockRow.FindAllStringSubmatch(section, -1) {
		name, under := m[1], m[3]
		if _, again := order[name]; again {
			t.Errorf("the lock %s has two rows", name)
		}
		order[name] = nil
		for _, span := range codeSpan.FindAllString(under, -1) {
			order[name] = append(order[name], strings.Trim(span, "`"))
		}
		if leaf := strings.HasPrefix(under, "leaf"); leaf != (len(order[name]) == 0) {
			t.Errorf("the row of %s must begin with leaf, or name the locks that are taken under it", name)
		}
	}
	return order
}

// lockCycle returns locks of which each may be taken under the one before it, and the first under
// the last, or nil.
func lockCycle(order map[string][]string) []string {
	done := map[string]bool{}
	var path []string
	var visit func(lock string) []string
	visit = func(lock string) []string {
		if i := slices.Index(path, lock); i >= 0 {
			return slices.Clone(path[i:])
		}
		if done[lock] {
			return nil
		}
		path = append(path, lock)
		for _, next := range order[lock] {
			if cycle := visit(next); cycle != nil {
				return cycle
			}
		}
		path = path[:len(path)-1]
		done[lock] = true
		return nil
	}
	for lock := range order {
		if cycle := visit(lock); cycle != nil {
			return cycle
		}
	}
	return nil
}

func TestLockCycle(t *testing.T) {
	order := map[string][]string{"a": {"b", "c"}, "b": {"d"}, "c": {"d"}, "d": nil}
	if cycle := lockCycle(order); cycle != nil {
		t.Errorf("found %v", cycle)
	}
	order["d"] = []string{"c"}
	if cycle := lockCycle(order); len(cycle) != 2 || !slices.Contains(cycle, "c") || !slices.Contains(cycle, "d") {
		t.Errorf("found %v, want c and d", cycle)
	}
}

// The table in docs/architecture.md has each lock of the product, and gives an order without a
// cycle, which is also that of the drawing above it.
func TestLocks(t *testing.T) {
	_, section, _ := strings.Cut(documents(t)["docs/architecture.md"], "\n## Concurrency\n")
	section, _, _ = strings.Cut(section, "\n## ")
	order := lockOrder(t, section)
	locks := findLocks(t)
	for lock := range locks {
		if _, listed := order[lock]; !listed {
			t.Errorf("docs/architecture.md does not list the lock %s", lock)
		}
	}
	for lock, under := range order {
		if !locks[lock] {
			t.Errorf("docs/architecture.md lists %s, which is no lock", lock)
		}
		for _, next := range under {
			if _, listed := order[next]; !listed {
				t.Errorf("docs/architecture.md: the row of %s names %s, which is no lock of the table", lock, next)
			}
		}
	}
	if cycle := lockCycle(order); cycle != nil {
		t.Errorf("docs/architecture.md: these locks are taken under each other: %v", cycle)
	}
	arrows := 0
	for line := range strings.SplitSeq(fence.FindString(section), "\n") {
		before := ""
		for part := range strings.SplitSeq(line, "→") {
			for _, lock := range lockName.FindAllString(part, -1) {
				if !locks[lock] {
					t.Errorf("docs/architecture.md draws %s, which is no lock", lock)
				}
				if before == "" {
					continue
				}
				if arrows++; !slices.Contains(order[before], lock) {
					t.Errorf("docs/architecture.md draws %s → %s, which is not in the row of %s", before, lock, before)
				}
			}
			before = lockName.FindString(part)
		}
	}
	if arrows < 10 {
		t.Errorf("only %d arrows were found in the drawing of the order", arrows)
	}
}
