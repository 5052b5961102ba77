package wsframe

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// leftOut are tracked files that a project does not need. Each is a folder or a file.
var leftOut = []string{
	".ci",           // checks this repository
	".gitignore",    // a project has its own
	"docs/images",   // 450 KB of screenshots
	"embed_test.go", // this test
	"internal",      // tests of the repository, in modules of their own for the greater part
	"runtime",       // empty
}

// Every tracked file is embedded as it is, or left out on purpose.
func TestSourcesAreComplete(t *testing.T) {
	out, err := exec.Command("git", "ls-files", "-z").Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	tracked := strings.Split(strings.TrimRight(string(out), "\x00"), "\x00")
	if len(tracked) < 100 {
		t.Fatalf("only %d files are tracked", len(tracked))
	}
	for _, name := range tracked {
		out := slices.ContainsFunc(leftOut, func(l string) bool { return name == l || strings.HasPrefix(name, l+"/") })
		want, gone := os.ReadFile(name)
		if gone != nil {
			continue // removed, and not committed yet
		}
		got, err := fs.ReadFile(Sources, name)
		if out != (err != nil) {
			t.Errorf("%s: embedded %v, left out %v: list it in embed.go or in leftOut", name, err == nil, out)
			continue
		}
		if err == nil && !bytes.Equal(got, want) {
			t.Errorf("%s is embedded with another content", name)
		}
	}
}

// Nothing is embedded that is not tracked, such as what an editor or a build has left behind.
func TestSourcesAreTracked(t *testing.T) {
	out, err := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	known := map[string]bool{}
	for _, name := range strings.Split(string(out), "\x00") {
		known[name] = true
	}
	err = fs.WalkDir(Sources, ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !known[name] {
			t.Errorf("%s is embedded, and git ignores it", name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
