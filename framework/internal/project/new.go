package project

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"go/format"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/template"
)

// templates are the files of a new project but for those that it takes from the framework. "dot."
// at the beginning of a name stands for ".", which go:embed leaves out.
//
//go:embed template
var templates embed.FS

// NewOptions are what New needs.
type NewOptions struct {
	Dir     string // does not exist, or is empty; its parent exists
	Module  string // module path; "" = example.com/ and the folder's name
	Demo    bool   // with the sample applications chat and live and their pages
	Sources fs.FS  // of the framework
}

// Created is what New has made.
type Created struct {
	Dir       string // absolute
	Module    string
	Framework string // its version
	Files     int
	Note      string // what may surprise, or ""
}

// New writes a project. After an error, nothing of it is left.
func New(o NewOptions) (*Created, error) {
	dir, err := target(o.Dir)
	if err != nil {
		return nil, err
	}
	if o.Module == "" {
		o.Module = moduleFor(dir)
	}
	if err := checkModule(o.Module); err != nil {
		return nil, err
	}
	r, err := readRelease(o.Sources)
	if err != nil {
		return nil, err
	}
	files, err := projectFiles(r, o.Module, filepath.Base(dir), o.Demo)
	if err != nil {
		return nil, err
	}
	for name, content := range r.files {
		files[folder+"/"+name] = content
	}
	if err := install(dir, files); err != nil {
		return nil, err
	}
	return &Created{Dir: dir, Module: o.Module, Framework: r.label(), Files: len(files), Note: workspaceNote(dir)}, nil
}

// target returns the absolute path of a folder that can become a project.
func target(dir string) (string, error) {
	if strings.TrimSpace(dir) == "" {
		return "", errors.New("where? console new DIR makes a project in the folder DIR")
	}
	if strings.ContainsRune(dir, 0) {
		return "", fmt.Errorf("folder %q: its name has a control character", dir)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return dir, checkTarget(dir)
	case err != nil:
		return dir, checked(checkFolder(filepath.Base(dir)), err)
	case !info.IsDir():
		return "", fmt.Errorf("%s exists, and is no folder", dir)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	if len(entries) > 0 {
		return "", fmt.Errorf("%s is not empty: it has %s", dir, entries[0].Name())
	}
	return dir, nil
}

// checkTarget checks a folder that is to be made.
func checkTarget(dir string) error {
	if err := checkFolder(filepath.Base(dir)); err != nil {
		return err
	}
	if _, err := os.Lstat(dir); err == nil {
		return fmt.Errorf("%s is a symbolic link to nothing", dir)
	}
	parent := filepath.Dir(dir)
	info, err := os.Stat(parent)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("the folder %s does not exist: make it first", parent)
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is no folder", parent)
	}
	return nil
}

// checked prefers the error that explains more.
func checked(better, err error) error {
	if better != nil {
		return better
	}
	return err
}

// projectFiles returns the files of a new project, without its copy of the framework.
func projectFiles(r *release, modulePath, name string, demo bool) (map[string][]byte, error) {
	files, err := fill(modulePath, name, string(r.files["go.mod"]))
	if err != nil {
		return nil, err
	}
	if files["go.mod"], err = newGoMod(modulePath, r.files["go.mod"]); err != nil {
		return nil, err
	}
	files["go.sum"] = r.files["go.sum"]
	for from, content := range r.files {
		if strings.HasPrefix(from, "config/") || from == "public/static/wsframe.js" {
			files[from] = content
		}
	}
	files[routesFile] = addRoute(nil, "hello.hello.greet *hello.Hello")
	if demo {
		return files, addDemo(files, r, modulePath)
	}
	return files, nil
}

// fill fills the templates.
func fill(modulePath, name, goMod string) (map[string][]byte, error) {
	goVersion := "1"
	if m := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(goMod); m != nil {
		goVersion = m[1]
	}
	image := regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(path.Base(modulePath)), "-")
	data := map[string]string{"Module": modulePath, "Name": name, "Go": goVersion, "Image": strings.Trim(image, "-")}
	files := map[string][]byte{}
	err := fs.WalkDir(templates, "template", func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(templates, file)
		if err != nil {
			return err
		}
		to := strings.TrimSuffix(strings.TrimPrefix(file, "template/"), ".tmpl")
		to = path.Join(path.Dir(to), regexp.MustCompile(`^dot\.`).ReplaceAllString(path.Base(to), "."))
		values := data
		if strings.HasSuffix(to, ".html") {
			values = map[string]string{"Name": template.HTMLEscapeString(name)}
		}
		t, err := template.New(file).Option("missingkey=error").Parse(string(text))
		if err != nil {
			return err
		}
		var b bytes.Buffer
		if err := t.Execute(&b, values); err != nil {
			return err
		}
		files[to] = b.Bytes()
		if path.Ext(to) == ".go" {
			files[to], err = format.Source(files[to]) // the module path decides the order of the imports
		}
		return err
	})
	return files, err
}

// onlySamples hold what exactly the sample applications offer, to which a project adds.
var onlySamples = []string{"app/contract_test.go", "app/testdata/contract.ts"}

// addDemo adds the framework's sample applications, in place of the page of the first controller.
func addDemo(files map[string][]byte, r *release, modulePath string) error {
	delete(files, "public/static/hello.html")
	delete(files, "public/static/hello.js")
	first := "framework.Mount(\"hello.hello\", &hello.Hello{})"
	for from, content := range r.files {
		if !strings.HasPrefix(from, "app/") && !strings.HasPrefix(from, "public/") || slices.Contains(onlySamples, from) {
			continue
		}
		if path.Ext(from) == ".go" {
			text := string(content)
			for _, part := range []string{"app", "public"} {
				text = regexp.MustCompile(`"wsframe/`+part+`(["/])`).ReplaceAllString(text, `"`+modulePath+"/"+part+"$1")
			}
			var err error
			if content, err = format.Source([]byte(text)); err != nil {
				return fmt.Errorf("%s: %w", from, err)
			}
		}
		files[from] = content
	}
	f, err := parseAppFile(appFile, files[appFile])
	if err != nil {
		return err
	}
	if files[appFile], err = f.add(modulePath+"/app/hello", first); err != nil {
		return err
	}
	files[routesFile] = addRoute(files[routesFile], "hello.hello.greet *hello.Hello")
	return nil
}

// install puts files into a folder: those of a new folder appear at once by a rename, and those of
// an empty one are moved there one after the other, go.mod last.
func install(dir string, files map[string][]byte) (err error) {
	_, exists := os.Stat(dir)
	place := filepath.Dir(dir)
	if exists == nil {
		place = dir // it may be the only one that this user can write
	}
	temp, err := os.MkdirTemp(place, ".wsframe-new-")
	if err != nil {
		return fmt.Errorf("the project cannot be written: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	if err := errors.Join(os.Chmod(temp, 0o755), writeFiles(temp, files)); err != nil {
		return err
	}
	if exists != nil {
		return os.Rename(temp, dir)
	}
	entries, err := os.ReadDir(temp)
	if err != nil {
		return err
	}
	slices.SortStableFunc(entries, func(a, b fs.DirEntry) int { return rank(a.Name()) - rank(b.Name()) })
	for i, e := range entries {
		if err := os.Rename(filepath.Join(temp, e.Name()), filepath.Join(dir, e.Name())); err != nil {
			for _, moved := range entries[:i] {
				err = errors.Join(err, os.RemoveAll(filepath.Join(dir, moved.Name())))
			}
			return err
		}
	}
	return nil
}

func rank(name string) int {
	if name == "go.mod" {
		return 1
	}
	return 0
}

// workspaceNote tells of a go.work above a project, which the go command takes instead of go.mod.
func workspaceNote(dir string) string {
	for up := filepath.Dir(dir); ; up = filepath.Dir(up) {
		if _, err := os.Stat(filepath.Join(up, "go.work")); err == nil {
			return fmt.Sprintf("the workspace %s does not have this project: add it by `go work use`, or set GOWORK=off", filepath.Join(up, "go.work"))
		}
		if up == filepath.Dir(up) {
			return ""
		}
	}
}
