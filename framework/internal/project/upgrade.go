package project

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/semver"
)

// lockName is the file in the journal that an upgrade locks.
const lockName = "lock"

// UpgradeOptions are what Upgrade needs.
type UpgradeOptions struct {
	Dir     string // of the project
	Sources fs.FS  // of the new framework
	Out     io.Writer
	// Go runs the go command in Dir. Its error has what the command printed.
	Go func(ctx context.Context, args ...string) error
	// Check examines the new program, which is at path.
	Check func(ctx context.Context, path string) error
	// Live asks the server that runs the project's program whether it could reload the new one,
	// which is in its place by then. It is nil where no server runs it: its place is not touched.
	Live func(ctx context.Context) error
	// Flags are those of the go command for the program, such as -ldflags.
	Flags []string

	step func(string) error // for tests: fails where a process is killed
}

// Upgrade replaces a project's copy of the framework by a newer one. It builds, vets and tests the
// project, and examines the new program. Where anything fails or ctx ends, it puts everything back.
// It tells whether the project has another framework now.
func Upgrade(ctx context.Context, o UpgradeOptions) (changed bool, err error) {
	j := journal{o.Dir}
	next, err := readRelease(o.Sources)
	if err != nil {
		return false, err
	}
	lock, err := j.open(o.Out)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, j.close(lock)) }()
	old, after, err := examine(o.Dir, next)
	if err != nil {
		return false, fmt.Errorf("%w; nothing was changed", err)
	}
	if bytes.Equal(old.sums, next.files[sumsFile]) {
		fmt.Fprintf(o.Out, "this project has wsframe %s already\n", old.label())
		return false, nil
	}
	fmt.Fprintf(o.Out, "wsframe %s → %s: %s\n", old.label(), next.label(), differences(old.sums, next.files[sumsFile]))
	changelog, err := os.ReadFile(filepath.Join(o.Dir, folder, "CHANGELOG.md"))
	if err != nil {
		return false, err
	}
	err = o.replace(ctx, j, next, after)
	if errors.Is(err, errKilled) {
		return false, err
	}
	if err != nil {
		undone, bad := j.undo()
		if bad != nil {
			return false, fmt.Errorf("%w\nThe previous framework could not be put back (%w): run upgrade again", err, bad)
		}
		if undone {
			return false, fmt.Errorf("%w\nwsframe %s is in its place again", err, old.label())
		}
		return false, fmt.Errorf("%w\nnothing was changed", err)
	}
	if news := newEntries(string(changelog), string(next.files["CHANGELOG.md"])); news != "" {
		fmt.Fprintf(o.Out, "\nWhat is new:\n\n%s\n\n", news)
	}
	return true, nil
}

// errKilled stands for the end of the process in tests.
var errKilled = errors.New("killed")

// open locks the journal, and undoes what an upgrade before has left.
func (j journal) open(out io.Writer) (*os.File, error) {
	if _, err := os.Stat(j.place("go.mod")); err != nil {
		return nil, errors.New("there is no go.mod here: upgrade works in the folder of a project")
	}
	if _, err := os.Lstat(j.place(folder)); err != nil {
		if _, err := os.Lstat(j.path("old")); err != nil {
			return nil, fmt.Errorf("there is no folder %s here: upgrade works in a project that console new has made", folder)
		}
	}
	if err := os.MkdirAll(j.path(), 0o755); err != nil {
		return nil, err
	}
	lock, err := acquire(j.path(lockName))
	if err != nil {
		return nil, err
	}
	undone, err := j.undo()
	if err != nil {
		_ = lock.Close()
		return nil, err
	}
	if undone {
		fmt.Fprintln(out, "an upgrade was interrupted before: what it had changed was put back")
	}
	return lock, nil
}

// close unlocks the journal, and removes it where nothing is in it.
func (j journal) close(lock *os.File) error {
	entries, err := os.ReadDir(j.path())
	if err == nil && len(entries) == 1 {
		err = os.RemoveAll(j.path())
	}
	return errors.Join(err, lock.Close())
}

// examine refuses a project that cannot be upgraded. It returns the project's copy of the
// framework, and the go.mod and go.sum for the new one.
func examine(dir string, next *release) (*copyState, map[string][]byte, error) {
	mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return nil, nil, err
	}
	f, err := parseGoMod(mod)
	if err != nil {
		return nil, nil, err
	}
	sum, err := os.ReadFile(filepath.Join(dir, "go.sum"))
	if err != nil {
		return nil, nil, err
	}
	old, err := inspect(filepath.Join(dir, folder))
	if err != nil {
		return nil, nil, err
	}
	if len(old.changed) > 0 {
		return nil, nil, fmt.Errorf("%s/ is not as wsframe %s was released:\n%s\nput these files back (git checkout -- %[1]s; git clean -d %[1]s), and keep changes in app/",
			folder, old.version, shortList(old.changed))
	}
	if semver.Compare("v"+old.version, "v"+next.version) > 0 {
		return nil, nil, fmt.Errorf("the project has wsframe %s, and this program brings %s, which is older", old.version, next.version)
	}
	if _, err := os.Stat(filepath.Join(dir, "vendor", "modules.txt")); err == nil {
		return nil, nil, errors.New("the project has its dependencies in vendor/, which upgrade cannot renew: remove vendor/, upgrade, and run go mod vendor")
	}
	after := map[string][]byte{"go.sum": mergeSums(sum, next.files["go.sum"])}
	if after["go.mod"], err = mergeRequires(f, next.files["go.mod"]); err != nil {
		return nil, nil, err
	}
	return old, after, nil
}

// shortList prints at most 20 lines.
func shortList(lines []string) string {
	const most = 20
	if len(lines) > most {
		lines = append(slices.Clone(lines[:most]), fmt.Sprintf("and %d more", len(lines)-most))
	}
	return "  " + strings.Join(lines, "\n  ")
}

// differences counts what changes between two lists of sums.
func differences(old, next []byte) string {
	sums := func(text []byte) map[string]string {
		m := map[string]string{}
		for line := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n") {
			sum, name, _ := strings.Cut(line, "  ")
			m[strings.TrimRight(name, "\r")] = sum
		}
		return m
	}
	a, b := sums(old), sums(next)
	changed, added, gone := 0, 0, 0
	for name, sum := range b {
		switch a[name] {
		case "":
			added++
		case sum:
		default:
			changed++
		}
	}
	for name := range a {
		if b[name] == "" {
			gone++
		}
	}
	return fmt.Sprintf("%d files changed, %d new, %d gone", changed, added, gone)
}

// replace does everything that undo can undo, and then commits.
func (o *UpgradeOptions) replace(ctx context.Context, j journal, next *release, after map[string][]byte) error {
	steps := []struct {
		name string
		do   func() error
	}{
		{"", func() error { return j.begin(next, after) }},
		{"", j.swap},
		{"go build", func() error { return o.build(ctx, j) }},
		{"go vet", func() error { return o.Go(ctx, "vet", "./...") }},
		{"go test", func() error { return o.Go(ctx, "test", "./...") }},
		{"console", func() error {
			return o.Go(ctx, slices.Concat([]string{"build", "-o", j.path("console")}, o.Flags, []string{"./public"})...)
		}},
		{"checkconfig, routes", func() error { return o.Check(ctx, j.path("console")) }},
	}
	if o.Live != nil {
		steps = append(steps, struct {
			name string
			do   func() error
		}{"reload -check", func() error {
			if err := j.install(); err != nil {
				return err
			}
			return o.Live(ctx)
		}})
	}
	for _, s := range steps {
		if err := o.at(s.name); err != nil {
			return err
		}
		if s.name != "" {
			fmt.Fprintln(o.Out, s.name)
		}
		if err := s.do(); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("the upgrade was interrupted: %w", err)
		}
	}
	if err := o.at("commit"); err != nil {
		return err
	}
	return j.commit()
}

// build builds the project. Where its own dependencies need others together with those of the
// framework, the go command completes go.mod and go.sum first.
func (o *UpgradeOptions) build(ctx context.Context, j journal) error {
	err := o.Go(ctx, "build", "./...")
	if err == nil || !strings.Contains(err.Error(), "go mod tidy") && !strings.Contains(err.Error(), "go.sum") {
		return err
	}
	if bad := o.Go(ctx, "mod", "tidy"); bad != nil {
		return fmt.Errorf("%w\n%w", err, bad)
	}
	for _, name := range kept {
		b, err := os.ReadFile(j.place(name))
		if err != nil {
			return err
		}
		if err := replace(j.path("after", name), b); err != nil {
			return err
		}
	}
	return o.Go(ctx, "build", "./...")
}

// at is a point at which tests kill the process.
func (o *UpgradeOptions) at(name string) error {
	if o.step == nil {
		return nil
	}
	return o.step(name)
}
