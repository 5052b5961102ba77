//go:build unix

package console

import (
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

var extraSignals = []os.Signal{syscall.SIGHUP, syscall.SIGUSR1}

func isReload(s os.Signal) bool { return s == syscall.SIGHUP }

// monotonic is the time that systemd compares reloads by.
func monotonic() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// inheritedFile is a descriptor that the parent gave, and that no child gets.
func inheritedFile(fd int, name string) *os.File {
	syscall.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), name)
}
