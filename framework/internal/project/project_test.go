package project

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/mod/modfile"
)

// framework is a small one, with what a project takes from it.
func framework(version string, changes map[string]string) fstest.MapFS {
	files := fstest.MapFS{}
	for name, text := range map[string]string{
		"VERSION": version + "\n", "CHANGELOG.md": "# Changelog\n\n## " + version + "\n\n- The change of " + version + ".\n",
		"go.mod": "module wsframe\n\ngo 1.26.0\n\nrequire example.org/a v1.2.0\n", "go.sum": "example.org/a v1.2.0 h1:x=\n",
		"embed.go": "package wsframe\n", "framework/app.go": "package framework\n", "framework/app_test.go": "package framework\n",
		"framework/testdata/x.txt": "x", "config/app.yaml": "demo: true\n", "public/static/wsframe.js": "js", "public/console.go": "package main\n\nimport \"wsframe/app\"\n",
		"app/app.go":    "package app\n\nimport \"wsframe/framework\"\n\nfunc Controllers(d framework.Deps) ([]framework.Controller, error) {\n\treturn []framework.Controller{}, nil\n}\n",
		"app/a_test.go": "package app_test\n\nimport \"wsframe/app\"\n", "app/a_e2e_test.go": "package app\n", "app/testdata/routes.txt": "chat.room.say *chat.Room\n",
	} {
		files[name] = &fstest.MapFile{Data: []byte(text)}
	}
	for name, text := range changes {
		if text == "" {
			delete(files, name)
			continue
		}
		files[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return files
}

// newProject makes a project and returns its folder.
func newProject(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "我的 店")
	if _, err := New(NewOptions{Dir: dir, Module: "example.com/shop", Sources: framework("1.0.0", nil)}); err != nil {
		t.Fatal(err)
	}
	return dir
}

// tree returns the files below a folder, which is nil where it does not exist.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	if _, err := os.Stat(dir); err != nil {
		return nil
	}
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		short, _ := filepath.Rel(dir, name)
		if d.IsDir() {
			files[filepath.ToSlash(short)+"/"] = ""
			return nil
		}
		if to, err := os.Readlink(name); err == nil {
			files[filepath.ToSlash(short)] = "→ " + to
			return nil
		}
		b, err := os.ReadFile(name)
		files[filepath.ToSlash(short)] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

func TestNew(t *testing.T) {
	dir := newProject(t)
	files := tree(t, dir)
	for name, part := range map[string]string{
		"go.mod": "replace wsframe => ./wsframe", "go.sum": "example.org/a", "app/app.go": `"example.com/shop/app/hello"`, "app/hello/hello_test.go": `"example.com/shop/app"`,
		"public/console.go": `"example.com/shop/public/static"`, "public/static/wsframe.js": "js", "public/static/hello.html": "我的 店", "config/app.yaml": "demo",
		".gitignore": "/runtime/*", "runtime/.gitkeep": "", "app/testdata/routes.txt": "hello.hello.greet *hello.Hello\n", "Dockerfile": "golang:1.26", "README.md": "# 我的 店",
		"wsframe/VERSION": "1.0.0", "wsframe/framework/app.go": "package framework", "wsframe/SHA256SUMS": "  framework/app.go\n", "wsframe/app/a_test.go": "",
	} {
		if text, ok := files[name]; !ok || !strings.Contains(text, part) {
			t.Errorf("%s: %q", name, text)
		}
	}
	for _, name := range []string{"wsframe/framework/app_test.go", "wsframe/framework/testdata/x.txt", "wsframe/app/a_e2e_test.go", "app/a_test.go"} {
		if _, ok := files[name]; ok {
			t.Errorf("%s is there", name)
		}
	}
	if f, err := modfile.Parse("go.mod", []byte(files["go.mod"]), nil); err != nil || f.Go.Version != "1.26.0" || len(f.Require) != 2 || !f.Require[1].Indirect {
		t.Errorf("%s\n%v", files["go.mod"], err)
	}
	if state, err := inspect(filepath.Join(dir, "wsframe")); err != nil || len(state.changed) > 0 {
		t.Error(state, err)
	}
	if entries, err := os.ReadDir(filepath.Dir(dir)); err != nil || len(entries) != 1 {
		t.Error("something else is left", entries, err)
	}
}

func TestNewDemo(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "demo")
	made, err := New(NewOptions{Dir: dir, Demo: true, Sources: framework("1.0.0", nil)})
	if err != nil || made.Module != "example.com/demo" {
		t.Fatal(made, err)
	}
	files := tree(t, dir)
	if !strings.Contains(files["app/a_test.go"], `"example.com/demo/app"`) || files["app/testdata/routes.txt"] != "chat.room.say *chat.Room\nhello.hello.greet *hello.Hello\n" ||
		!strings.Contains(files["app/app.go"], `framework.Mount("hello.hello", &hello.Hello{})`) || !strings.Contains(files["public/console.go"], `"example.com/demo/app"`) {
		t.Error(files["app/a_test.go"], files["app/testdata/routes.txt"], files["app/app.go"], files["public/console.go"])
	}
}

// A folder that exists and is empty is filled; it may be the current one.
func TestNewHere(t *testing.T) {
	t.Chdir(t.TempDir())
	if _, err := New(NewOptions{Dir: ".", Module: "example.com/shop", Sources: framework("1.0.0", nil)}); err != nil {
		t.Fatal(err)
	}
	if files := tree(t, "."); files["go.mod"] == "" || files[".gitignore"] == "" {
		t.Error(slices.Sorted(maps.Keys(files)))
	}
}

// Names that would not work, or not everywhere, are refused, and nothing is written.
func TestNewRefuses(t *testing.T) {
	parent := t.TempDir()
	write(t, filepath.Join(parent, "full", "file"), "x")
	write(t, filepath.Join(parent, "file"), "x")
	if err := os.Symlink("nowhere", filepath.Join(parent, "link")); err != nil {
		t.Fatal(err)
	}
	before := tree(t, filepath.Join(parent, "full"))
	for _, tc := range []struct{ dir, module, want string }{
		{"full", "", "not empty: it has file"},
		{"file", "", "is no folder"},
		{"link", "", "symbolic link to nothing"},
		{"nowhere/shop", "", "does not exist: make it first"},
		{"file/shop", "", "not a directory"},
		{"a\nb", "", "control character"},
		{"a\x00b", "", "control character"},
		{"a\xffb", "", "not UTF-8"},
		{"a\u202eb", "", "not shown"},
		{"<script>", "", "some systems or shells do not take"},
		{`x"; DROP TABLE users; --`, "", "some systems or shells do not take"},
		{"a|b", "", "some systems"},
		{`a\b`, "", "some systems"},
		{"-rf", "", "taken for an option"},
		{"NUL", "", "Windows has a device"},
		{"com1.shop", "", "Windows has a device"},
		{"shop.", "", "dot or a blank"},
		{"shop ", "", "dot or a blank"},
		{strings.Repeat("x", 300), "", "200 bytes"},
		{"ok", "wsframe", "framework's own"},
		{"ok", "wsframe/x", "framework's own"},
		{"ok", "shop", "must have a dot"},
		{"ok", "example.com/../shop", "example.com/shop"},
		{"ok", "/etc/passwd", "example.com/shop"},
		{"ok", "example.com/我的", "example.com/shop"},
		{"ok", "example.com/a b", "example.com/shop"},
		{"ok", "example.com/'; DROP", "example.com/shop"},
		{"ok", "example.com/<b>", "example.com/shop"},
		{"ok", "example.com/internal", "meaning of its own"},
		{"ok", "example.com/" + strings.Repeat("x", 300), "200 are allowed"},
		{"ok", "example.com/con", "example.com/shop"},
	} {
		_, err := New(NewOptions{Dir: filepath.Join(parent, "x") + "/../" + tc.dir, Module: tc.module, Sources: framework("1.0.0", nil)})
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q %q: %v", tc.dir, tc.module, err)
		}
	}
	for _, dir := range []string{"", "  "} {
		if _, err := New(NewOptions{Dir: dir, Sources: framework("1.0.0", nil)}); err == nil || !strings.Contains(err.Error(), "where?") {
			t.Error(err)
		}
	}
	if _, err := New(NewOptions{Dir: filepath.Join(parent, "ok")}); err == nil || !strings.Contains(err.Error(), "carries no sources") {
		t.Error(err)
	}
	entries, err := os.ReadDir(parent)
	if err != nil || len(entries) != 3 || !maps.Equal(before, tree(t, filepath.Join(parent, "full"))) {
		t.Error("something was written", entries, err)
	}
}

// Unusual names that work everywhere are taken.
func TestNewTakes(t *testing.T) {
	for name, module := range map[string]string{"it's & $HOME #1 @ 100%": "example.com/app", "Große Läden": "example.com/app", "My.Shop": "example.com/my.shop"} {
		made, err := New(NewOptions{Dir: filepath.Join(t.TempDir(), name), Sources: framework("1.0.0", nil)})
		if err != nil || made.Module != module {
			t.Errorf("%s: %+v %v", name, made, err)
		}
	}
}

func remove(t *testing.T, name string) {
	t.Helper()
	if err := os.RemoveAll(name); err != nil {
		t.Fatal(err)
	}
}
