//go:build e2e

package e2e

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// TestClientRules runs the tests of wsframe.js and its package that need no server: calls, states,
// close codes, pauses, positions, types.
func TestClientRules(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatal("node is not installed (Debian: apt-get install nodejs)")
	}
	if out, err := exec.Command(node, "--test", filepath.Join(root, "internal", "npm")).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
