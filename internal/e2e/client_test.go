//go:build e2e

package e2e

import (
	"os/exec"
	"testing"
)

// TestClientRules runs the tests of wsframe.js that need no server: waiting calls, close codes,
// back-off, positions.
func TestClientRules(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatal("node is not installed (Debian: apt-get install nodejs)")
	}
	if out, err := exec.Command(node, "--test", "testdata/client.test.js").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
