package project

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// upgrade runs Upgrade with functions that succeed, but for the changes of edit.
func upgrade(dir string, sources fs.FS, edit func(*UpgradeOptions)) (printed string, changed bool, err error) {
	var out strings.Builder
	o := UpgradeOptions{
		Dir: dir, Sources: sources, Out: &out,
		Go: func(_ context.Context, args ...string) error {
			if args[0] == "build" && args[1] == "-o" {
				return os.WriteFile(args[2], []byte("the new program"), 0o755)
			}
			return nil
		},
		Check: func(context.Context, string) error { return nil },
	}
	if edit != nil {
		edit(&o)
	}
	changed, err = Upgrade(context.Background(), o)
	return out.String(), changed, err
}

var next = framework("1.1.0", map[string]string{
	"framework/app.go": "", "framework/server.go": "package framework\n", "go.mod": "module wsframe\n\ngo 1.26.0\n\nrequire (\n\texample.org/a v1.3.0\n\texample.org/b v1.0.0\n)\n",
	"CHANGELOG.md": "# Changelog\n\n## 1.1.0\n\n### For clients\n\n- Something\n  new.\n\n## 1.0.0\n\n- The change of 1.0.0.\n",
})

func TestUpgrade(t *testing.T) {
	dir := newProject(t)
	write(t, filepath.Join(dir, "console"), "the program before")
	write(t, filepath.Join(dir, "app", "mine.go"), "package app\n")
	write(t, filepath.Join(dir, "wsframe", ".DS_Store"), "x")
	printed, changed, err := upgrade(dir, next, func(o *UpgradeOptions) {
		o.Live = func(context.Context) error {
			if b, err := os.ReadFile(filepath.Join(dir, "console")); string(b) != "the new program" {
				return fmt.Errorf("the server would reload %q %w", b, err)
			}
			return nil
		}
	})
	if err != nil || !changed {
		t.Fatal(err)
	}
	for _, part := range []string{"wsframe 1.0.0 (", "→ 1.1.0 (", "1 new, 1 gone", "go test\n", "reload -check\n", "## 1.1.0\n\n### For clients\n\n- Something\n  new."} {
		if !strings.Contains(printed, part) {
			t.Errorf("%q is missing in\n%s", part, printed)
		}
	}
	if strings.Contains(printed, "The change of 1.0.0") {
		t.Error(printed)
	}
	files := tree(t, dir)
	if files["wsframe/VERSION"] != "1.1.0\n" || files["wsframe/framework/app.go"] != "" || files["app/mine.go"] == "" || files["console"] != "the new program" ||
		!strings.Contains(files["go.mod"], "example.org/a v1.3.0 // indirect") || !strings.Contains(files["go.mod"], "example.org/b v1.0.0") {
		t.Error(files["wsframe/VERSION"], files["go.mod"])
	}
	if _, err := os.Stat(filepath.Join(dir, journalFolder)); err == nil {
		t.Error("the journal is left")
	}
	if printed, changed, err := upgrade(dir, next, nil); err != nil || changed || !strings.Contains(printed, "this project has wsframe 1.1.0") {
		t.Error(printed, err)
	}
	if _, _, err := upgrade(dir, framework("1.0.0", nil), nil); err == nil || !strings.Contains(err.Error(), "which is older; nothing was changed") {
		t.Error(err)
	}
}

// Whatever fails, the project is as it was.
func TestUpgradeFails(t *testing.T) {
	dir := newProject(t)
	write(t, filepath.Join(dir, "console"), "the program before")
	before := tree(t, dir)
	failed := errors.New("x_test.go:1: undefined: y")
	for _, step := range []string{"build", "vet", "test", "-o", "check", "live", "interrupted"} {
		_, changed, err := upgrade(dir, next, func(o *UpgradeOptions) {
			works := o.Go
			o.Go = func(ctx context.Context, args ...string) error {
				if slices.Contains(args, "-o") && step == "-o" || !slices.Contains(args, "-o") && args[0] == step {
					return failed
				}
				return works(ctx, args...)
			}
			o.Live = func(context.Context) error {
				if step == "live" {
					return failed
				}
				return nil
			}
			o.Check = func(context.Context, string) error {
				if step == "check" {
					return failed
				}
				if step == "interrupted" {
					return context.Canceled
				}
				return nil
			}
		})
		if err == nil || changed || !strings.Contains(err.Error(), "wsframe 1.0.0") || !strings.Contains(err.Error(), "is in its place again") {
			t.Errorf("%s: %v", step, err)
		}
		if after := tree(t, dir); !maps.Equal(before, after) {
			t.Fatalf("%s: the project has changed", step)
		}
	}
}

// A process that is killed between any two steps leaves what the next upgrade puts back.
func TestUpgradeKilled(t *testing.T) {
	for n := range 9 {
		dir := newProject(t)
		write(t, filepath.Join(dir, "console"), "the program before")
		before := tree(t, dir)
		steps := 0
		_, _, err := upgrade(dir, next, func(o *UpgradeOptions) {
			o.Live = func(context.Context) error { return nil }
			o.step = func(string) error {
				if steps++; steps > n {
					return errKilled
				}
				return nil
			}
		})
		if !errors.Is(err, errKilled) {
			t.Fatalf("%d steps: %v", n, err)
		}
		// The next upgrade fails, so that what it finds first is visible.
		_, _, err = upgrade(dir, next, func(o *UpgradeOptions) { o.Go = func(context.Context, ...string) error { return errors.New("no") } })
		if err == nil || !maps.Equal(before, tree(t, dir)) {
			t.Errorf("after %d steps: %v", n, err)
		}
	}
}

// The renames of a swap and those of undoing it are repeated from where a process was killed.
func TestUndoFromAnywhere(t *testing.T) {
	for name, spoil := range map[string]func(j journal) error{
		"notes only":          func(j journal) error { return errors.Join(os.Rename(j.path("old"), j.place(folder)), j.copy("before")) },
		"no framework":        func(j journal) error { return os.Rename(j.place(folder), j.path("next")) },
		"old go.mod":          func(j journal) error { return os.Rename(j.path("before", "go.sum"), j.path("before", "go.sum")) },
		"go.mod put back":     func(j journal) error { return j.copy("before") },
		"program linked":      func(j journal) error { return os.Link(j.program(), j.path("replaced")) },
		"a rename went wrong": func(j journal) error { return os.WriteFile(j.place("go.mod.wsframe-new"), nil, 0o600) },
	} {
		dir := newProject(t)
		write(t, filepath.Join(dir, "console"), "the program before")
		before := tree(t, dir)
		j := journal{dir}
		r, err := readRelease(next)
		if err != nil {
			t.Fatal(err)
		}
		_, after, err := examine(dir, r)
		if err = errors.Join(err, os.MkdirAll(j.path(), 0o755)); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(j.begin(r, after), j.swap()); err != nil {
			t.Fatal(err)
		}
		if name == "notes only" {
			if err := os.Rename(j.place(folder), j.path("next")); err != nil {
				t.Fatal(err)
			}
		}
		if err := spoil(j); err != nil {
			t.Fatal(name, err)
		}
		_, err = j.undo()
		if err := errors.Join(err, os.RemoveAll(j.path())); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		now := tree(t, dir)
		delete(now, "go.mod.wsframe-new")
		if !maps.Equal(before, now) {
			t.Errorf("%s: the project has changed", name)
		}
	}
}

// What was edited by hand is never replaced: the error says what to do.
func TestUpgradeEdited(t *testing.T) {
	for _, tc := range []struct {
		name string
		edit func(t *testing.T, dir string)
		want string
	}{
		{"changed", func(t *testing.T, dir string) { write(t, filepath.Join(dir, "wsframe/framework/app.go"), "package x") }, "  framework/app.go (changed)"},
		{"added", func(t *testing.T, dir string) { write(t, filepath.Join(dir, "wsframe/framework/mine.go"), "package x") }, "  framework/mine.go (added)"},
		{"missing", func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "wsframe/framework/app.go")) }, "  framework/app.go (missing)"},
		{"link", func(t *testing.T, dir string) {
			remove(t, filepath.Join(dir, "wsframe/framework/app.go"))
			if err := os.Symlink("../embed.go", filepath.Join(dir, "wsframe/framework/app.go")); err != nil {
				t.Fatal(err)
			}
		}, "framework/app.go (replaced by a L"},
		{"sums", func(t *testing.T, dir string) { write(t, filepath.Join(dir, "wsframe/SHA256SUMS"), "hello\n") }, "wsframe/SHA256SUMS, line 1, is no sum"},
		{"no sums", func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "wsframe/SHA256SUMS")) }, "no list of its files"},
		{"no version", func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "wsframe/VERSION")) }, "does not say its version"},
		{"no framework", func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "wsframe")) }, "there is no folder wsframe here"},
		{"a link to a framework", func(t *testing.T, dir string) {
			if err := errors.Join(os.Rename(filepath.Join(dir, "wsframe"), filepath.Join(dir, "elsewhere")), os.Symlink("elsewhere", filepath.Join(dir, "wsframe"))); err != nil {
				t.Fatal(err)
			}
		}, "wsframe is no folder of its own"},
		{"no go.mod", func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "go.mod")) }, "there is no go.mod here"},
		{"no go.sum", func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "go.sum")) }, "go.sum"},
		{"broken go.mod", func(t *testing.T, dir string) { write(t, filepath.Join(dir, "go.mod"), "module x\nrequir y\n") }, "go.mod:2"},
		{"no replace", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "go.mod"), "module x\nrequire wsframe v0.0.0\n")
		}, `no line "replace wsframe => ./wsframe"`},
		{"another place", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "go.mod"), "module x\nrequire wsframe v0.0.0\nreplace wsframe => ../wsframe\n")
		}, "go.mod, line 3, takes the framework from ../wsframe"},
		{"no require", func(t *testing.T, dir string) { write(t, filepath.Join(dir, "go.mod"), "module x\n") }, "does not require wsframe"},
		{"the checkout", func(t *testing.T, dir string) { write(t, filepath.Join(dir, "go.mod"), "module wsframe\n") }, "the framework's own checkout"},
		{"vendor", func(t *testing.T, dir string) { write(t, filepath.Join(dir, "vendor", "modules.txt"), "") }, "remove vendor/"},
	} {
		dir := newProject(t)
		tc.edit(t, dir)
		before := tree(t, dir)
		_, changed, err := upgrade(dir, next, nil)
		if err == nil || changed || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", tc.name, err)
		}
		if !maps.Equal(before, tree(t, dir)) {
			t.Errorf("%s: the project has changed", tc.name)
		}
	}
}

// What was edited after an upgrade was killed is not thrown away.
func TestUndoEdited(t *testing.T) {
	dir := newProject(t)
	_, _, err := upgrade(dir, next, func(o *UpgradeOptions) {
		o.step = func(name string) error {
			if name == "go vet" {
				return errKilled
			}
			return nil
		}
	})
	if !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	edited := tree(t, dir)["go.mod"] + "\nrequire example.org/mine v1.0.0\n"
	write(t, filepath.Join(dir, "go.mod"), edited)
	if _, _, err := upgrade(dir, next, nil); err == nil || !strings.Contains(err.Error(), ".wsframe-upgrade/before/go.mod") {
		t.Error(err)
	}
	if tree(t, dir)["go.mod"] != edited {
		t.Error("go.mod was replaced")
	}
	write(t, filepath.Join(dir, "go.mod"), tree(t, dir)[".wsframe-upgrade/before/go.mod"])
	if printed, changed, err := upgrade(dir, next, nil); err != nil || !changed || !strings.Contains(printed, "interrupted before") {
		t.Error(printed, err)
	}
}

// Two upgrades of a project do not run at the same time.
func TestUpgradeTwice(t *testing.T) {
	dir := newProject(t)
	_, _, err := upgrade(dir, next, func(o *UpgradeOptions) {
		o.Check = func(context.Context, string) error {
			_, _, err := upgrade(dir, next, nil)
			if err == nil || !strings.Contains(err.Error(), "another upgrade of this project runs") {
				t.Error(err)
			}
			return nil
		}
	})
	if err != nil {
		t.Error(err)
	}
}

// Where the project's own dependencies need others now, the go command is asked to complete go.mod.
func TestUpgradeTidies(t *testing.T) {
	dir := newProject(t)
	builds := 0
	_, changed, err := upgrade(dir, next, func(o *UpgradeOptions) {
		o.Go = func(_ context.Context, args ...string) error {
			switch builds++; {
			case builds == 1:
				return errors.New("missing go.sum entry; to add it: go mod tidy")
			case args[0] == "mod":
				write(t, filepath.Join(dir, "go.sum"), "tidy\n")
			case args[0] == "vet":
				return errors.New("no")
			}
			return nil
		}
	})
	if err == nil || changed || strings.Contains(err.Error(), "could not be put back") || strings.Contains(tree(t, dir)["go.sum"], "tidy") {
		t.Error(err)
	}
}
