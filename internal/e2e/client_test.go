//go:build e2e

package e2e

import (
	"bufio"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// node returns a command of Node, and builds the package that it runs.
func node(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath("node")
	if err != nil {
		t.Fatal("node is not installed (Debian: apt-get install nodejs)")
	}
	return exec.Command(path, args...)
}

// npmPackage builds the package of wsframe.js and returns its folder.
func npmPackage(t *testing.T) string {
	t.Helper()
	dist := t.TempDir()
	out, err := node(t, "--input-type=module", "-e", `(await import(process.argv[1])).build(process.argv[2])`, filepath.Join(root, "internal", "npm", "build.mjs"), dist).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dist
}

// TestClientRules runs the tests of wsframe.js and its package that need no server: calls, states,
// close codes, pauses, positions, types.
func TestClientRules(t *testing.T) {
	if out, err := node(t, "--test", filepath.Join(root, "internal", "npm")).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// Clients behind lines that are cut, half-closed, refused, dead and slow get every message of a room
// once and in order, also through a reload.
func TestClientFaults(t *testing.T) {
	s := start(t)
	args := []string{filepath.Join("testdata", "client", "faults.mjs"), npmPackage(t), s.outside}
	for _, id := range []string{"writer", "r1", "r2", "r3", "r4", "r5"} {
		args = append(args, s.token("wechatUser", id))
	}
	cmd := node(t, args...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs strings.Builder
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	last := ""
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if last = lines.Text(); last == "reload" {
			s.ok("-s", "reload")
			if _, err := io.WriteString(in, "done\n"); err != nil {
				t.Error(err)
			}
		}
	}
	if err := cmd.Wait(); err != nil || !strings.HasPrefix(last, "ok") {
		t.Errorf("%v: %s\n%s", err, last, errs.String())
	}
	t.Log(last)
}
