package project

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"text/template"

	"golang.org/x/mod/modfile"
)

// parts are the templates of what Make writes.
//
//go:embed part
var parts embed.FS

// hookNames are the hooks that Make can write, by the names of its option.
var hookNames = []string{"close", "connect", "guard", "message", "reload", "shutdown", "start", "stop"}

// MakeOptions are what Make needs.
type MakeOptions struct {
	Dir     string // of the project or the framework's checkout: where its go.mod is
	Subject string // module.controller or module.controller.action
	Hooks   string // names with commas between them
	Model   bool   // with a table in the database
}

// Made is what Make has written.
type Made struct {
	Files []string // written or changed, by their path from Dir; none where all was there already
	Route string
	Note  string // what is left to do, or ""
}

// Make writes a controller with its test and mounts it in app/app.go. A second call with the same
// options finds that all is there. After an error, nothing was changed.
func Make(o MakeOptions) (*Made, error) {
	s, err := parseSubject(o.Subject)
	if err != nil {
		return nil, err
	}
	hooks, err := parseHooks(o.Hooks)
	if err != nil {
		return nil, err
	}
	modulePath, err := modulePathOf(o.Dir)
	if err != nil {
		return nil, err
	}
	files, err := controllerFiles(s, hooks, o, modulePath)
	if err != nil {
		return nil, err
	}
	if err := files.check(o.Dir, s); err != nil {
		return nil, err
	}
	made := &Made{Route: s.route()}
	changes, err := mountFiles(s, o, modulePath, made)
	if err != nil {
		return nil, err
	}
	return made, writeMade(o.Dir, files, changes, made)
}

func parseHooks(text string) (map[string]bool, error) {
	hooks := map[string]bool{}
	for name := range strings.SplitSeq(text, ",") {
		name = strings.TrimPrefix(strings.ToLower(strings.TrimSpace(name)), "on")
		if name == "" && strings.TrimSpace(text) == "" {
			continue
		}
		if !slices.Contains(hookNames, name) {
			return nil, fmt.Errorf("there is no hook %q; there are %s", name, strings.Join(hookNames, ", "))
		}
		hooks[name] = true
	}
	return hooks, nil
}

// modulePathOf returns the module path of the go.mod in a folder.
func modulePathOf(dir string) (string, error) {
	text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", errors.New("there is no go.mod here: make works in the folder of a project")
	}
	if err != nil {
		return "", err
	}
	f, err := modfile.ParseLax("go.mod", text, nil)
	if err != nil {
		return "", err
	}
	if f.Module == nil {
		return "", errors.New(`go.mod has no line "module …"`)
	}
	return f.Module.Mod.Path, nil
}

// newFiles are files of a package, which Make does not replace.
type newFiles map[string][]byte

// controllerFiles fills the templates for a controller.
func controllerFiles(s subject, hooks map[string]bool, o MakeOptions, modulePath string) (newFiles, error) {
	first := true // the package comment stands in one file
	dir := "app/" + s.module
	for _, name := range goFiles(filepath.Join(o.Dir, filepath.FromSlash(dir))) {
		if name != s.controller+".go" && !strings.HasSuffix(name, "_test.go") && name != s.controller+"_model.go" {
			first = false
		}
	}
	data := map[string]any{
		"First": first, "Package": s.module, "Controller": s.controller, "Type": exported(s.controller), "Action": exported(s.action),
		"In": exported(s.controller) + exported(s.action) + "In", "Event": s.controller + exported(s.action) + "Success",
		"Mount": s.mount(), "Route": s.route(), "Table": s.module + "_" + s.controller, "Module": modulePath,
		"Model": o.Model, "Hook": hooks, "Context": o.Model || hooks["start"] || hooks["stop"] || hooks["reload"] || hooks["shutdown"],
	}
	if data["In"] == data["Type"] {
		return nil, fmt.Errorf("make %q: the controller and its input would both be %s", o.Subject, data["In"])
	}
	files := newFiles{}
	for name, from := range map[string]string{".go": "controller.go", "_test.go": "test.go", "_model.go": "model.go"} {
		if from == "model.go" && !o.Model {
			continue
		}
		text, err := fs.ReadFile(parts, "part/"+from+".tmpl")
		if err != nil {
			return nil, err
		}
		t, err := template.New(from).Parse(string(text))
		if err != nil {
			return nil, err
		}
		var b bytes.Buffer
		if err := t.Execute(&b, data); err != nil {
			return nil, err
		}
		if files[path.Join(dir, s.controller+name)], err = format.Source(b.Bytes()); err != nil {
			return nil, fmt.Errorf("%s: %w", from, err)
		}
	}
	return files, nil
}

// goFiles lists the Go files of a folder, which may be missing.
func goFiles(dir string) (names []string) {
	entries, _ := os.ReadDir(dir) // check reports what is wrong with it
	for _, e := range entries {
		if filepath.Ext(e.Name()) == ".go" && !strings.HasPrefix(e.Name(), ".") && !strings.HasPrefix(e.Name(), "_") {
			names = append(names, e.Name())
		}
	}
	return names
}

// check refuses files that exist with another content, and names that another file of the package
// declares. It forgets the files that exist as they are.
func (files newFiles) check(root string, s subject) error {
	dir := filepath.Join(root, "app", s.module)
	info, err := os.Lstat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("app/%s exists, and is no folder", s.module)
	}
	names := map[string]string{}
	for name, text := range files {
		for _, d := range declared(name, text) {
			names[d] = name
		}
	}
	for _, entry := range goFiles(dir) {
		name := path.Join("app", s.module, entry)
		text, err := os.ReadFile(filepath.Join(dir, entry))
		if err != nil {
			return err
		}
		if want, ok := files[name]; ok {
			if !sameText(code(want), code(text)) {
				return fmt.Errorf("%s exists with another content: take another name, or remove the file first", name)
			}
			delete(files, name)
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, text, parser.PackageClauseOnly)
		if err != nil {
			return err
		}
		if p := f.Name.Name; p != s.module && p != s.module+"_test" {
			return fmt.Errorf("%s is of the package %s, where %s is expected", name, p, s.module)
		}
		for _, d := range declared(name, text) {
			if by := names[d]; by != "" {
				return fmt.Errorf("%s declares %s already, which %s would declare: take another name for the controller", name, d, by)
			}
		}
	}
	return nil
}

// code returns a file without the comment before its package clause, which depends on whether the
// package has another file.
func code(text []byte) []byte {
	if at := bytes.Index(text, []byte("\npackage ")); at >= 0 {
		return text[at+1:]
	}
	return text
}

// declared lists what a file declares outside of its functions. Names of external tests are marked:
// they are of another package.
func declared(name string, text []byte) (names []string) {
	f, err := parser.ParseFile(token.NewFileSet(), name, text, parser.SkipObjectResolution)
	if err != nil {
		return nil // the compiler tells more
	}
	add := func(i *ast.Ident) {
		if strings.HasSuffix(f.Name.Name, "_test") {
			names = append(names, f.Name.Name+"."+i.Name)
			return
		}
		names = append(names, i.Name)
	}
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil && d.Name.Name != "init" {
				add(d.Name)
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					add(s.Name)
				case *ast.ValueSpec:
					for _, n := range s.Names {
						add(n)
					}
				}
			}
		}
	}
	return names
}

// mountFiles returns app.go and the list of routes as they shall be, where they change.
func mountFiles(s subject, o MakeOptions, modulePath string, made *Made) (map[string][]byte, error) {
	text, err := os.ReadFile(filepath.Join(o.Dir, filepath.FromSlash(appFile)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no %s here, in which the controller would be mounted", appFile)
	}
	if err != nil {
		return nil, err
	}
	f, err := parseAppFile(appFile, text)
	if err != nil {
		return nil, err
	}
	pkg := modulePath + "/app/" + s.module
	name, err := f.nameFor(pkg)
	if err != nil {
		return nil, err
	}
	typeName := exported(s.controller)
	value := "&" + name + "." + typeName + "{}"
	if o.Model {
		if f.deps == "" {
			return nil, fmt.Errorf("%s: Controllers has no name for its parameter; write func Controllers(d framework.Deps), so that the table gets d.DB", appFile)
		}
		value = fmt.Sprintf("%s.New%s(%[1]s.New%[2]sTable(%s.DB))", name, typeName, f.deps)
	}
	expression := fmt.Sprintf("%s.Mount(%q, %s)", f.frame, s.mount(), value)
	changes := map[string][]byte{}
	switch had, where := f.mounted(s.mount()); {
	case where == "":
		if changes[appFile], err = f.add(pkg, expression); err != nil {
			return nil, err
		}
	case had != expression:
		return nil, fmt.Errorf("%s mounts %q already, as %s: take another name", where, s.mount(), had)
	}
	list, err := os.ReadFile(filepath.Join(o.Dir, filepath.FromSlash(routesFile)))
	if err != nil {
		made.Note = "the list of routes is not in " + routesFile + ": add " + s.route() + " to the list that your tests have"
		return changes, nil
	}
	// The type's name in a list of routes has the package's own name.
	if next := addRoute(list, s.route()+" *"+s.module+"."+typeName); !sameText(next, list) {
		changes[routesFile] = next
	}
	return changes, nil
}

// writeMade writes new files, and then those that change. An error undoes what was written.
func writeMade(root string, files newFiles, changes map[string][]byte, made *Made) (err error) {
	var undo []func() error
	defer func() {
		if err != nil {
			made.Files = nil
			for _, f := range slices.Backward(undo) {
				err = errors.Join(err, f())
			}
		}
	}()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		file := filepath.Join(root, filepath.FromSlash(name))
		dir := filepath.Dir(file)
		if err := os.Mkdir(dir, 0o755); err == nil {
			undo = append(undo, func() error { return os.Remove(dir) })
		} else if !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := replace(file, files[name]); err != nil {
			return err
		}
		undo = append(undo, func() error { return os.Remove(file) })
		made.Files = append(made.Files, name)
	}
	for _, name := range slices.Sorted(maps.Keys(changes)) {
		file := filepath.Join(root, filepath.FromSlash(name))
		before, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := replace(file, changes[name]); err != nil {
			return err
		}
		undo = append(undo, func() error { return replace(file, before) })
		made.Files = append(made.Files, name)
	}
	return nil
}
