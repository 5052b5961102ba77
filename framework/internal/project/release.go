package project

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

const (
	folder      = "wsframe"    // the framework's copy in a project
	versionFile = "VERSION"    // in the copy: the version of the framework
	sumsFile    = "SHA256SUMS" // in the copy: the sum of each other file, as sha256sum prints it
)

// release is a framework: its version and its files by path, with forward slashes.
type release struct {
	version string
	files   map[string][]byte
}

// readRelease takes the framework out of its sources. Its own tests stay behind: they need parts of
// the framework's repository that projects do not have. Those of the sample applications stay.
func readRelease(sources fs.FS) (*release, error) {
	if sources == nil {
		return nil, errors.New("this program carries no sources of the framework: its public/console.go does not name them (Sources: wsframe.Sources)")
	}
	r := &release{files: map[string][]byte{}}
	err := fs.WalkDir(sources, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || isOwnTest(name) {
			return err
		}
		b, err := fs.ReadFile(sources, name)
		r.files[name] = b
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the framework's sources: %w", err)
	}
	for _, name := range []string{versionFile, "go.mod", "go.sum", "CHANGELOG.md"} {
		if r.files[name] == nil {
			return nil, fmt.Errorf("the framework's sources in this program have no %s", name)
		}
	}
	r.version = strings.TrimSpace(string(r.files[versionFile]))
	r.files[sumsFile] = sumsOf(r.files)
	return r, nil
}

// isOwnTest tells whether a file serves the framework's own tests.
func isOwnTest(name string) bool {
	if strings.HasPrefix(name, "app/") {
		return strings.HasSuffix(name, "_e2e_test.go")
	}
	return strings.HasSuffix(name, "_test.go") || slices.Contains(strings.Split(path.Dir(name), "/"), "testdata")
}

// label names a release so that two builds of one version can be told apart.
func (r *release) label() string { return label(r.version, r.files[sumsFile]) }

func label(version string, sums []byte) string {
	sum := sha256.Sum256(sums)
	return version + " (" + hex.EncodeToString(sum[:4]) + ")"
}

// sumsOf returns the lines of SHA256SUMS.
func sumsOf(files map[string][]byte) []byte {
	var b bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if name != sumsFile {
			fmt.Fprintf(&b, "%x  %s\n", sha256.Sum256(files[name]), name)
		}
	}
	return b.Bytes()
}

// write writes the files into a folder that does not exist.
func (r *release) write(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	return writeFiles(dir, r.files)
}

// writeFiles writes files into a folder, in which their own folders are made. None is replaced.
func writeFiles(dir string, files map[string][]byte) error {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		target := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		if err := writeNew(target, files[name]); err != nil {
			return err
		}
	}
	return nil
}

// writeNew writes a file that does not exist. Its content is on disk when it returns.
func writeNew(name string, content []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// replace puts a file in the place of another, whose permissions it gets, or where none is. It is
// complete at once, by a rename.
func replace(name string, content []byte) error {
	if at, err := filepath.EvalSymlinks(name); err == nil {
		name = at
	}
	next := name + ".wsframe-new"
	_ = os.Remove(next) // of a process that was killed
	err := writeNew(next, content)
	if info, bad := os.Stat(name); err == nil && bad == nil {
		err = os.Chmod(next, info.Mode().Perm())
	}
	if err == nil {
		err = os.Rename(next, name)
	}
	if err != nil {
		_ = os.Remove(next)
		return err
	}
	return nil
}

// copyState is what is found of the framework in a project.
type copyState struct {
	version string
	sums    []byte
	changed []string // files that are not as the framework was released, each with what is wrong
}

func (c *copyState) label() string { return label(c.version, c.sums) }

// inspect compares a project's copy of the framework with its list of sums. Its error says that the
// folder is no copy.
func inspect(dir string) (*copyState, error) {
	info, err := os.Lstat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no folder %s here", filepath.Base(dir))
	case err != nil:
		return nil, err
	case !info.IsDir():
		return nil, fmt.Errorf("%s is no folder of its own (%s): it cannot be upgraded", filepath.Base(dir), info.Mode().Type())
	}
	c := &copyState{}
	if c.sums, err = os.ReadFile(filepath.Join(dir, sumsFile)); err != nil {
		return nil, fmt.Errorf("%s has no list of its files, so nobody can tell what was changed: %w", filepath.Base(dir), err)
	}
	version, err := os.ReadFile(filepath.Join(dir, versionFile))
	if err != nil {
		return nil, fmt.Errorf("%s does not say its version: %w", filepath.Base(dir), err)
	}
	c.version = strings.TrimSpace(string(version))
	want := map[string]string{}
	for n, line := range strings.Split(strings.TrimRight(string(c.sums), "\r\n"), "\n") {
		sum, name, ok := strings.Cut(strings.TrimRight(line, "\r"), "  ")
		if !ok || len(sum) != 2*sha256.Size || !fs.ValidPath(name) {
			return nil, fmt.Errorf("%s, line %d, is no sum with a file's name: was the file edited?", path.Join(filepath.Base(dir), sumsFile), n+1)
		}
		want[name] = sum
	}
	if c.changed, err = compare(dir, want); err != nil {
		return nil, err
	}
	return c, nil
}

// compare lists the files of a folder that are not what the sums say. Names that begin with a dot
// are those of editors and file managers.
func compare(dir string, want map[string]string) (changed []string, err error) {
	seen := map[string]bool{sumsFile: true}
	err = filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || file == dir {
			return err
		}
		if strings.HasPrefix(d.Name(), ".") {
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		if d.IsDir() {
			return nil
		}
		name, err := filepath.Rel(dir, file)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		if seen[name] {
			return nil
		}
		seen[name] = true
		if want[name] == "" {
			changed = append(changed, name+" (added)")
			return nil
		}
		if !d.Type().IsRegular() {
			changed = append(changed, name+" (replaced by a "+d.Type().String()+")")
			return nil
		}
		b, err := os.ReadFile(file)
		if err == nil && fmt.Sprintf("%x", sha256.Sum256(b)) != want[name] {
			changed = append(changed, name+" (changed)")
		}
		return err
	})
	for name := range want {
		if !seen[name] {
			changed = append(changed, name+" (missing)")
		}
	}
	slices.Sort(changed)
	return changed, err
}
