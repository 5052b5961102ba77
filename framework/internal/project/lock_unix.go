//go:build unix

package project

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// acquire locks a file until the returned one is closed, or the process ends in any way.
func acquire(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = errors.New("another upgrade of this project runs")
		}
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return f, nil
}
