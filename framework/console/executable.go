package console

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// executable returns the path by which this program was started, with symbolic links unresolved. So
// a new release is found there after the link was switched, or the file was replaced.
func executable() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	path, err := exec.LookPath(os.Args[0])
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return self, nil
	}
	if path, err = filepath.Abs(path); err != nil {
		return self, nil
	}
	// The first argument is only what the caller says.
	a, errA := os.Stat(path)
	b, errB := os.Stat(self)
	if errA != nil || errB != nil || !os.SameFile(a, b) {
		return self, nil
	}
	return path, nil
}
