package project

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// journal is the folder of an upgrade that runs or was killed. It is beside what is replaced, so
// that a rename moves things there and back.
//
//	next/      the new framework, until it takes the place of wsframe/
//	old/       the previous framework, from then until the upgrade has succeeded
//	done/      the previous framework, once it has
//	before/    go.mod and go.sum as they were
//	after/     go.mod and go.sum as the upgrade writes them
//	console    the program, until it takes the place of the previous one
//	replaced   the previous program
//
// The upgrade is undone by the next command while old/ exists, and is complete where it does not.
type journal struct{ root string }

// journalFolder is skipped by the go command, as its name begins with a dot.
const journalFolder = ".wsframe-upgrade"

// kept are the files of a project that an upgrade changes besides wsframe/.
var kept = []string{"go.mod", "go.sum"}

func (j journal) path(parts ...string) string {
	return filepath.Join(append([]string{j.root, journalFolder}, parts...)...)
}

func (j journal) place(name string) string { return filepath.Join(j.root, name) }

// program is the path of the project's program.
func (j journal) program() string {
	if runtime.GOOS == "windows" {
		return j.place("console.exe")
	}
	return j.place("console")
}

// begin writes what the upgrade needs, before anything of the project is changed.
func (j journal) begin(next *release, after map[string][]byte) error {
	for _, dir := range []string{"before", "after"} {
		if err := os.MkdirAll(j.path(dir), 0o755); err != nil {
			return err
		}
	}
	for _, name := range kept {
		before, err := os.ReadFile(j.place(name))
		if err != nil {
			return err
		}
		if err := errors.Join(writeNew(j.path("before", name), before), writeNew(j.path("after", name), after[name])); err != nil {
			return err
		}
	}
	return next.write(j.path("next"))
}

// swap puts the new framework in place.
func (j journal) swap() error {
	if err := os.Rename(j.place(folder), j.path("old")); err != nil {
		return err
	}
	if err := os.Rename(j.path("next"), j.place(folder)); err != nil {
		return err
	}
	return j.copy("after")
}

// copy puts the go.mod and go.sum of one moment in place.
func (j journal) copy(from string) error {
	for _, name := range kept {
		b, err := os.ReadFile(j.path(from, name))
		if err != nil {
			return err
		}
		if err := replace(j.place(name), b); err != nil {
			return err
		}
	}
	return nil
}

// install puts the new program in place of the previous one.
func (j journal) install() error {
	// The program that runs keeps its file: it is linked first and then replaced by a rename.
	if err := os.Link(j.program(), j.path("replaced")); err != nil {
		if err := os.Rename(j.program(), j.path("replaced")); err != nil {
			return err
		}
	}
	return os.Rename(j.path("console"), j.program())
}

// commit ends the upgrade.
func (j journal) commit() error {
	if err := os.Rename(j.path("old"), j.path("done")); err != nil {
		return err
	}
	_ = j.remove() // the next upgrade tries again
	return nil
}

// remove removes the journal, but for the file that is locked, and its folder.
func (j journal) remove() error {
	entries, err := os.ReadDir(j.path())
	for _, e := range entries {
		if e.Name() != lockName {
			err = errors.Join(err, os.RemoveAll(j.path(e.Name())))
		}
	}
	return err
}

// undo puts everything back, if an upgrade has begun and not succeeded, and tells whether it has
// changed anything. It can be killed and repeated at any point.
func (j journal) undo() (undone bool, err error) {
	if _, err := os.Lstat(j.path("old")); err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
		return false, j.remove()
	}
	if err := j.untouched(); err != nil {
		return false, err
	}
	if err := j.copy("before"); err != nil {
		return false, err
	}
	if _, err := os.Lstat(j.path("replaced")); err == nil {
		if err := os.Rename(j.path("replaced"), j.program()); err != nil {
			return false, err
		}
	}
	if err := os.RemoveAll(j.path("next")); err != nil {
		return false, err
	}
	if err := os.Rename(j.place(folder), j.path("next")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if err := os.Rename(j.path("old"), j.place(folder)); err != nil {
		return false, err
	}
	return true, j.remove()
}

// untouched refuses to undo an upgrade after which somebody has edited what it would put back.
func (j journal) untouched() error {
	for _, name := range kept {
		now, err := os.ReadFile(j.place(name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		before, errBefore := os.ReadFile(j.path("before", name))
		after, errAfter := os.ReadFile(j.path("after", name))
		if err := errors.Join(errBefore, errAfter); err != nil {
			return fmt.Errorf("an upgrade was interrupted, and its notes in %s are incomplete: %w", journalFolder, err)
		}
		if !sameText(now, before) && !sameText(now, after) {
			return fmt.Errorf("an upgrade was interrupted, and %s was edited since: compare it with %s, which was there before, make it the same, and try again",
				name, filepath.ToSlash(filepath.Join(journalFolder, "before", name)))
		}
	}
	return nil
}
