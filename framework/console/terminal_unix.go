//go:build unix

package console

import (
	"errors"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// terminal is the one on which a server was started in the foreground: the server ends with it.
type terminal struct {
	fd    int
	whole bool // stdin, stdout and stderr are it, so that its end is the server's even where no SIGHUP says so
}

// openTerminal finds it; nil where there is none, or where SIGHUP is ignored, as under nohup.
func openTerminal() *terminal {
	if signal.Ignored(syscall.SIGHUP) {
		return nil
	}
	whole := isTerminal(0) && isTerminal(1) && isTerminal(2)
	fd, err := syscall.Open("/dev/tty", syscall.O_RDWR|syscall.O_NOCTTY|syscall.O_CLOEXEC, 0)
	switch {
	case err == nil:
		return &terminal{fd, whole}
	case whole: // not the controlling one
		return &terminal{0, whole}
	}
	return nil
}

func isTerminal(fd int) bool {
	_, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
	return err == nil
}

// gone tells whether it was hung up.
func (t *terminal) gone() bool {
	_, err := unix.IoctlGetWinsize(t.fd, unix.TIOCGWINSZ)
	return errors.Is(err, syscall.EIO) || errors.Is(err, syscall.ENXIO)
}
