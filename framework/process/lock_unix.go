//go:build unix

package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const lockFile = "wsframe.lock"

// Running reports whether a server runs, or is starting, with that runtime directory.
func Running(runtimeDir string) bool {
	f, err := os.Open(filepath.Join(runtimeDir, lockFile))
	if err != nil {
		return false
	}
	defer f.Close() // releases a lock that was free
	return syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) != nil
}

// lock acquires the runtime directory for one master. The kernel releases it when the process ends,
// however that happens.
func lock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the runtime directory cannot be written: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock the runtime directory: %w", err)
		}
		pid, _ := os.ReadFile(filepath.Join(dir, lockFile))
		err := fmt.Errorf("a server already runs with the runtime directory %s (pid %s)", dir, strings.TrimSpace(string(pid)))
		if p, bad := ReadLocation(dir); bad == nil {
			err = fmt.Errorf("%w; its manager is on %s", err, p.Manager)
		}
		return nil, err
	}
	// The pid is for the message above only. It is not trusted without the lock.
	_ = f.Truncate(0)
	_, _ = fmt.Fprintln(f, os.Getpid())
	return f, nil
}
