package process

import (
	"testing"

	"golang.org/x/sys/unix"
)

// The workers set TCP_USER_TIMEOUT on the listeners that they inherit: the kernel refuses that on
// MPTCP sockets.
func TestListenersTakeTheUnsentTimeout(t *testing.T) {
	ln, err := open(Socket{Name: "outside", Key: "outside.port", Host: "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	raw, err := ln.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var refused error
	err = raw.Control(func(fd uintptr) { refused = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 1000) })
	if err != nil || refused != nil {
		t.Fatal(err, refused)
	}
}
