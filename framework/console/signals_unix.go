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

// monotonic returns the time of CLOCK_MONOTONIC, by which systemd orders reloads.
func monotonic() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// inheritedFile returns a file that the parent process has passed on. Children of this process do
// not inherit it.
func inheritedFile(fd int, name string) *os.File {
	syscall.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), name)
}
