//go:build unix

package socket

import (
	"os"
	"syscall"
	"testing"
)

func TestRights(t *testing.T) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(pair[0])
	defer syscall.Close(pair[1])
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := syscall.Sendmsg(pair[0], []byte("x"), syscall.UnixRights(int(w.Fd()), int(w.Fd())), nil, 0); err != nil {
		t.Fatal(err)
	}
	oob := make([]byte, syscall.CmsgSpace(16))
	_, n, _, _, err := syscall.Recvmsg(pair[1], make([]byte, 1), oob, 0)
	if err != nil {
		t.Fatal(err)
	}
	fds, err := Rights(oob[:n])
	if err != nil || len(fds) != 2 {
		t.Fatal(fds, err)
	}
	_ = w.Close()
	for _, fd := range fds {
		if _, err := syscall.Write(fd, []byte("y")); err != nil {
			t.Error(err)
		}
		_ = syscall.Close(fd)
	}
	if fds, err := Rights(nil); fds != nil || err != nil {
		t.Error(fds, err)
	}
	if _, err := Rights([]byte("no control data at all")); err == nil {
		t.Error("garbage is read")
	}
}
