//go:build unix

package process

import (
	"fmt"
	"net"
	"os"
	"syscall"
)

// socketFile gives a listener's descriptor to children. It is a file in blocking mode: handing it
// to a child must not change the mode of the socket that another worker accepts on, which
// os.File.Fd does to a file that was made non-blocking.
func socketFile(ln *net.TCPListener) (*os.File, error) {
	raw, err := ln.SyscallConn()
	if err != nil {
		return nil, err
	}
	var fd int
	var dupErr error
	if err := raw.Control(func(v uintptr) {
		fd, dupErr = syscall.Dup(int(v))
		if dupErr == nil {
			syscall.CloseOnExec(fd)
		}
	}); err != nil {
		return nil, err
	}
	if dupErr != nil {
		return nil, dupErr
	}
	// The flag belongs to the socket, not to the descriptor; workers set it again, before they
	// accept.
	if err := syscall.SetNonblock(fd, false); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "listener"), nil
}

// controlPair makes the two ends of a control channel: ours, and the child's as a file.
func controlPair() (net.Conn, *os.File, error) {
	ours, theirs, err := socketPair("control")
	if err != nil {
		return nil, nil, err
	}
	conn, err := net.FileConn(ours) // a duplicate, non-blocking
	_ = ours.Close()
	if err != nil {
		_ = theirs.Close()
		return nil, nil, err
	}
	return conn, theirs, nil
}

func inheritConn(fd int) (net.Conn, error) {
	f := os.NewFile(uintptr(fd), "control")
	if f == nil {
		return nil, fmt.Errorf("descriptor %d is not open", fd)
	}
	defer f.Close() // FileConn duplicates, with close-on-exec
	return net.FileConn(f)
}

func inheritListener(fd int) (net.Listener, error) {
	f := os.NewFile(uintptr(fd), "listener")
	if f == nil {
		return nil, fmt.Errorf("descriptor %d is not open", fd)
	}
	defer f.Close()
	return net.FileListener(f)
}
