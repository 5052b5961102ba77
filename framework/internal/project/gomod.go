package project

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/semver"
)

// newGoMod returns the go.mod of a new project. It lists all that the framework requires, so that
// the go command has nothing to add and needs no network beyond the downloads.
func newGoMod(modulePath string, framework []byte) ([]byte, error) {
	f := new(modfile.File)
	if err := f.AddModuleStmt(modulePath); err != nil {
		return nil, err
	}
	if err := f.AddReplace(frameworkPath, "", "./"+folder, ""); err != nil {
		return nil, err
	}
	f.AddNewRequire(frameworkPath, "v0.0.0", false)
	return mergeRequires(f, framework)
}

// mergeRequires raises the versions of a project's go.mod to those of the framework. What the
// project has besides, or newer, stays.
func mergeRequires(f *modfile.File, framework []byte) ([]byte, error) {
	other, err := modfile.Parse(folder+"/go.mod", framework, nil)
	if err != nil {
		return nil, err
	}
	if other.Go != nil && (f.Go == nil || olderGo(f.Go.Version, other.Go.Version)) {
		if err := f.AddGoStmt(other.Go.Version); err != nil {
			return nil, err
		}
	}
	list := slices.Clone(f.Require)
	for i, r := range list {
		list[i] = &modfile.Require{Mod: r.Mod, Indirect: r.Indirect}
	}
	for _, r := range other.Require {
		at := slices.IndexFunc(list, func(l *modfile.Require) bool { return l.Mod.Path == r.Mod.Path })
		switch {
		case at < 0:
			list = append(list, &modfile.Require{Mod: r.Mod, Indirect: true})
		case semver.Compare(list[at].Mod.Version, r.Mod.Version) < 0:
			list[at].Mod.Version = r.Mod.Version
		}
	}
	f.SetRequireSeparateIndirect(list)
	f.Cleanup()
	return f.Format()
}

// olderGo compares versions such as 1.26.0 and 1.26rc1.
func olderGo(a, b string) bool {
	canonical := func(v string) string {
		v = "v" + strings.Replace(strings.Replace(v, "rc", "-rc", 1), "beta", "-beta", 1)
		return v
	}
	return semver.Compare(canonical(a), canonical(b)) < 0
}

// mergeSums returns a go.sum with the lines of two.
func mergeSums(a, b []byte) []byte {
	lines := strings.Split(strings.TrimSpace(strings.ReplaceAll(string(a)+"\n"+string(b), "\r\n", "\n")), "\n")
	slices.Sort(lines)
	lines = slices.DeleteFunc(slices.Compact(lines), func(l string) bool { return strings.TrimSpace(l) == "" })
	return []byte(strings.Join(lines, "\n") + "\n")
}

// parseGoMod reads a project's go.mod. Its error says what a project's has to have.
func parseGoMod(content []byte) (*modfile.File, error) {
	f, err := modfile.Parse("go.mod", content, nil)
	if err != nil {
		return nil, err
	}
	if f.Module == nil {
		return nil, fmt.Errorf("go.mod has no line \"module …\"")
	}
	if f.Module.Mod.Path == frameworkPath {
		return nil, fmt.Errorf("this is the framework's own checkout (module %s), and no project", frameworkPath)
	}
	if !slices.ContainsFunc(f.Require, func(r *modfile.Require) bool { return r.Mod.Path == frameworkPath }) {
		return nil, fmt.Errorf("go.mod does not require %s: this is no project, or its line \"require %s v0.0.0\" was removed", frameworkPath, frameworkPath)
	}
	for _, r := range f.Replace {
		if r.Old.Path != frameworkPath {
			continue
		}
		if path.Clean(r.New.Path) != folder || r.New.Version != "" || r.Old.Version != "" {
			return nil, fmt.Errorf("go.mod, line %d, takes the framework from %s, and not from ./%s, which is what upgrade replaces", r.Syntax.Start.Line, r.New, folder)
		}
		return f, nil
	}
	return nil, fmt.Errorf("go.mod has no line \"replace %s => ./%s\"", frameworkPath, folder)
}

// sameText tells whether two files differ by nothing but line ends.
func sameText(a, b []byte) bool {
	return bytes.Equal(bytes.ReplaceAll(a, []byte("\r\n"), []byte("\n")), bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")))
}
