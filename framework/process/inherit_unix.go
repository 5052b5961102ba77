//go:build unix

package process

import (
	"fmt"
	"net"
	"os"
	"syscall"
)

// socketFile returns a duplicate of a listener's descriptor for children, as a file in blocking
// mode. os.File.Fd makes a non-blocking file blocking, and with it the socket on which another
// worker accepts.
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
	// The flag belongs to the socket, which all descriptors share. Workers set it again before they
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
