package testserver

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// BuildHall builds the console with the controller of testdata/hall as its application, by which
// clients reach the whole application API. root is the directory of go.mod, flags are those of go
// build.
func BuildHall(root, output string, flags ...string) error {
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{
		filepath.Join(root, "app/app.go"): filepath.Join(root, "internal/testserver/testdata/hall/app.go"),
	}})
	if err != nil {
		return err
	}
	file := output + ".overlay.json"
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		return err
	}
	defer os.Remove(file)
	cmd := exec.Command("go", append(append([]string{"build", "-overlay", file, "-o", output}, flags...), "./public")...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the console with the test's controller: %w\n%s", err, out)
	}
	return nil
}
