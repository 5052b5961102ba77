package gateway

import (
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// rawConn returns the descriptor of a connection; nil = it has none.
func rawConn(conn net.Conn) syscall.RawConn {
	c, ok := conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// read reads from the connection. It counts the bytes before pending can miss them.
func (t *turn) read(conn net.Conn, b []byte) (n int, err error) {
	if t.raw == nil {
		return conn.Read(b)
	}
	outer := t.raw.Read(func(fd uintptr) bool {
		t.mu.Lock()
		defer t.mu.Unlock()
		for {
			if n, err = unix.Read(int(fd), b); err != unix.EINTR {
				break
			}
		}
		if n > 0 {
			t.arrived += uint64(n)
			// PHP sends a small write only after the acknowledgement of the one before (RFC 896),
			// which the kernel would otherwise delay by 40 ms. The option holds until the next
			// acknowledgement.
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1)
		}
		return err != unix.EAGAIN
	})
	switch {
	case outer != nil:
		return 0, outer
	case err != nil:
		return 0, os.NewSyscallError("read", err)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// pending returns the number of bytes that have arrived and were not read. The caller holds t.mu.
func (t *turn) pending() uint64 {
	if t.raw == nil {
		return 0
	}
	n := 0
	_ = t.raw.Control(func(fd uintptr) { // of a closed connection, nothing is read any more
		n, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) // 0 as well
	})
	return uint64(max(n, 0))
}
