package process

import (
	"io"
	"os"
	"path/filepath"
	"testing"
)

// A copy of a directory is another place; another path to it is not.
func TestPlace(t *testing.T) {
	dir, copied := t.TempDir(), t.TempDir()
	if Place(dir) != "" {
		t.Error("a directory without a lock has a place")
	}
	f, err := lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(copied, lockFile), content, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if Place(dir) == "" || Place(dir) != Place(link) || Place(dir) == Place(copied) {
		t.Errorf("%q, by a link %q, copied %q", Place(dir), Place(link), Place(copied))
	}
}
