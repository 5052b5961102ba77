package project

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/scanner"
	"go/token"
	"path"
	"slices"
	"strconv"
	"strings"
)

const (
	appFile    = "app/app.go"
	routesFile = "app/testdata/routes.txt"
)

// sourceFile is app/app.go: where the controllers are listed.
type sourceFile struct {
	name  string // for messages
	text  []byte
	set   *token.FileSet
	file  *ast.File
	list  *ast.CompositeLit // []framework.Controller{…} in the function Controllers
	deps  string            // how Controllers calls its parameter; "" = it has no name
	frame string            // how the file calls the package framework
}

// parseAppFile finds the list of controllers. Its error says what the file lacks.
func parseAppFile(name string, text []byte) (*sourceFile, error) {
	f := &sourceFile{name: name, text: text, set: token.NewFileSet()}
	var err error
	if f.file, err = parser.ParseFile(f.set, name, text, parser.ParseComments|parser.SkipObjectResolution); err != nil {
		var list scanner.ErrorList
		if errors.As(err, &list) && len(list) > 0 {
			err = list[0]
		}
		return nil, fmt.Errorf("%w: the file must compile first", err)
	}
	f.frame = f.importName("wsframe/framework")
	if f.frame == "" || f.frame == "." || f.frame == "_" {
		return nil, fmt.Errorf("%s does not import wsframe/framework by a name", name)
	}
	var function *ast.FuncDecl
	for _, d := range f.file.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "Controllers" {
			function = fn
		}
	}
	if function == nil || function.Body == nil {
		return nil, fmt.Errorf("%s has no function Controllers", name)
	}
	if p := function.Type.Params.List; len(p) == 1 && len(p[0].Names) == 1 && p[0].Names[0].Name != "_" {
		f.deps = p[0].Names[0].Name
	}
	var lists []*ast.CompositeLit
	ast.Inspect(function.Body, func(n ast.Node) bool {
		if c, ok := n.(*ast.CompositeLit); ok && f.isControllers(c.Type) {
			lists = append(lists, c)
		}
		return true
	})
	if len(lists) != 1 {
		return nil, fmt.Errorf("%s has %d lists []%s.Controller{…} in Controllers, and one is needed", name, len(lists), f.frame)
	}
	f.list = lists[0]
	return f, nil
}

func (f *sourceFile) isControllers(t ast.Expr) bool {
	array, ok := t.(*ast.ArrayType)
	return ok && f.is(array.Elt, "Controller")
}

// is tells whether an expression is a name of the package framework.
func (f *sourceFile) is(e ast.Expr, name string) bool {
	s, ok := e.(*ast.SelectorExpr)
	if !ok || s.Sel.Name != name {
		return false
	}
	x, ok := s.X.(*ast.Ident)
	return ok && x.Name == f.frame
}

// importName returns how the file calls a package, or "" where it does not import it.
func (f *sourceFile) importName(pkg string) string {
	for _, i := range f.file.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err != nil || p != pkg {
			continue
		}
		if i.Name != nil {
			return i.Name.Name
		}
		return path.Base(p)
	}
	return ""
}

// nameFor returns how the file calls a package once it is imported. Its error tells of another
// meaning of that name.
func (f *sourceFile) nameFor(pkg string) (string, error) {
	if name := f.importName(pkg); name != "" {
		if name == "." || name == "_" {
			return "", fmt.Errorf("%s imports %s as %s, and needs a name for it", f.name, pkg, name)
		}
		return name, nil
	}
	name := path.Base(pkg)
	for _, i := range f.file.Imports {
		p, _ := strconv.Unquote(i.Path.Value) // it was parsed
		if i.Name == nil && path.Base(p) == name || i.Name != nil && i.Name.Name == name {
			return "", fmt.Errorf("%s imports %s by the name %s: take another name for the module", f.where(i), p, name)
		}
	}
	var other ast.Node
	fields := map[*ast.Ident]bool{}
	ast.Inspect(f.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			fields[n.Sel] = true
		case *ast.Ident:
			if n.Name == name && !fields[n] && n != f.file.Name {
				other = n
			}
		}
		return true
	})
	if other != nil {
		return "", fmt.Errorf("%s uses the name %s already: take another name for the module, or rename it there", f.where(other), name)
	}
	return name, nil
}

// where is the place of a node as file:line.
func (f *sourceFile) where(n ast.Node) string {
	return fmt.Sprintf("%s:%d", f.name, f.set.Position(n.Pos()).Line)
}

// mounted returns the expression that mounts a name, as it stands in the file, and its place, or
// "".
func (f *sourceFile) mounted(name string) (expression, where string) {
	ast.Inspect(f.file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || !f.is(call.Fun, "Mount") || len(call.Args) == 0 {
			return true
		}
		lit, ok := call.Args[0].(*ast.BasicLit)
		if !ok || lit.Kind != token.STRING {
			return true
		}
		text, _ := strconv.Unquote(lit.Value) // it was parsed
		if text = strings.ToLower(text); !strings.Contains(text, ".") {
			text = "index." + text
		}
		if text == name && where == "" {
			var b bytes.Buffer
			_ = format.Node(&b, f.set, call) // into memory
			expression, where = b.String(), f.where(call)
		}
		return true
	})
	return expression, where
}

// add returns the file with another controller at the end of the list, and with the import of its
// package.
func (f *sourceFile) add(pkg, expression string) ([]byte, error) {
	edits := []edit{f.addElement(expression)}
	if f.importName(pkg) == "" {
		edits = append(edits, f.addImport(pkg))
	}
	slices.SortFunc(edits, func(a, b edit) int { return b.at - a.at })
	text := slices.Clone(f.text)
	for _, e := range edits {
		text = slices.Insert(text, e.at, []byte(e.text)...)
	}
	out, err := format.Source(text)
	if err != nil {
		return nil, fmt.Errorf("%s cannot be extended: %w", f.name, err)
	}
	return out, nil
}

// edit is a text to insert.
type edit struct {
	at   int
	text string
}

func (f *sourceFile) offset(p token.Pos) int { return f.set.Position(p).Offset }

func (f *sourceFile) addElement(expression string) edit {
	end := f.offset(f.list.Rbrace)
	if len(f.list.Elts) == 0 {
		return edit{end, "\n" + expression + ",\n"}
	}
	last := f.offset(f.list.Elts[len(f.list.Elts)-1].End())
	if hasComma(f.text[last:end]) {
		return edit{end, expression + ",\n"}
	}
	return edit{last, ",\n" + expression + ",\n"}
}

// hasComma tells whether a text between two tokens has a comma outside of comments.
func hasComma(text []byte) bool {
	set := token.NewFileSet()
	var s scanner.Scanner
	s.Init(set.AddFile("", set.Base(), len(text)), text, func(token.Position, string) {}, 0)
	_, tok, _ := s.Scan()
	return tok == token.COMMA
}

// addImport puts an import beside that of the framework, where format sorts it.
func (f *sourceFile) addImport(pkg string) edit {
	for _, d := range f.file.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.IMPORT {
			continue
		}
		for _, s := range g.Specs {
			i := s.(*ast.ImportSpec)
			if p, _ := strconv.Unquote(i.Path.Value); p != "wsframe/framework" {
				continue
			}
			if g.Lparen.IsValid() {
				return edit{f.offset(i.Pos()), strconv.Quote(pkg) + "\n"}
			}
			return edit{f.offset(g.Pos()), "import " + strconv.Quote(pkg) + "\n"}
		}
	}
	return edit{} // unreachable: parseAppFile has found the import
}

// addRoute adds a line to a list of routes, which stays sorted.
func addRoute(list []byte, line string) []byte {
	lines := strings.FieldsFunc(string(list), func(r rune) bool { return r == '\n' || r == '\r' })
	if !slices.Contains(lines, line) {
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return []byte(strings.Join(lines, "\n") + "\n")
}
