//go:build unix

package console

import (
	"errors"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// terminal is where a server was started in the foreground. The server ends with it.
type terminal struct {
	fd int
	// whole means that stdin, stdout and stderr are this terminal. Its end then ends the server
	// even without SIGHUP.
	whole bool
}

// openTerminal returns the terminal of this process. It is nil where there is none, or where SIGHUP
// is ignored, as under nohup.
func openTerminal() *terminal {
	if signal.Ignored(syscall.SIGHUP) {
		return nil
	}
	whole := isTerminal(0) && isTerminal(1) && isTerminal(2)
	fd, err := syscall.Open("/dev/tty", syscall.O_RDWR|syscall.O_NOCTTY|syscall.O_CLOEXEC, 0)
	switch {
	case err == nil:
		return &terminal{fd, whole}
	case whole: // a terminal that is not the controlling one
		return &terminal{0, whole}
	}
	return nil
}

func isTerminal(fd int) bool {
	_, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
	return err == nil
}

// gone tells whether the terminal was closed.
func (t *terminal) gone() bool {
	_, err := unix.IoctlGetWinsize(t.fd, unix.TIOCGWINSZ)
	return errors.Is(err, syscall.EIO) || errors.Is(err, syscall.ENXIO)
}
