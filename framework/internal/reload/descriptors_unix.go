//go:build unix

package reload

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"wsframe/framework/internal/hub"
	"wsframe/library/socket"
)

// UnixPipe passes messages, and descriptors with the first byte of one.
type UnixPipe struct {
	ctx   context.Context
	conn  *net.UnixConn
	stop  func() bool
	oob   []byte
	files []int // received, not yet taken

	// A claim is a byte in a pipe: one read gets it. The new process has no end to write to.
	claims, offers *os.File
}

// NewPipe makes a Pipe of one end of a Unix stream socket, which it closes. Every wait ends with ctx.
func NewPipe(ctx context.Context, f *os.File) (*UnixPipe, error) {
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	conn, ok := c.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(errNotTransfer, c.Close())
	}
	w := &UnixPipe{ctx: ctx, conn: conn, oob: make([]byte, syscall.CmsgSpace(4*maxRights))}
	w.stop = context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	return w, nil
}

func (w *UnixPipe) Close() {
	w.stop()
	_ = w.conn.Close()
	for _, fd := range w.files {
		_ = syscall.Close(fd)
	}
	_, _ = w.claims.Close(), w.offers.Close() // nil ones say so
}

const (
	pipeHead  = 5
	maxRights = 253 // descriptors in a message, by the kernel
	maxBody   = 64 << 20
	firstPart = 4 << 10

	spareFiles = 1024 // besides the connections'
)

func (w *UnixPipe) Send(kind byte, body []byte, conns []*hub.Conn) error {
	// The descriptors are not this function's, but nobody closes them meanwhile.
	fds := make([]int, len(conns))
	for i, c := range conns {
		fds[i] = c.Descriptor()
	}
	return w.sendRights(kind, body, fds)
}

func (w *UnixPipe) sendRights(kind byte, body []byte, fds []int) error {
	if len(body) > maxBody {
		return fmt.Errorf("transfer message of %d bytes", len(body))
	}
	if err := w.limit(w.conn.SetWriteDeadline, roundTime); err != nil {
		return err
	}
	// The descriptors go with the head, and with a little more: a body may be large.
	first := body[:min(len(body), firstPart)]
	b := make([]byte, pipeHead, pipeHead+len(first))
	b[0] = kind
	binary.BigEndian.PutUint32(b[1:], uint32(len(body)))
	b = append(b, first...)
	n := 0
	if len(fds) > 0 {
		var err error
		if n, _, err = w.conn.WriteMsgUnix(b, unix.UnixRights(fds...), nil); err != nil {
			return err
		}
	}
	rest := net.Buffers{b[n:], body[len(first):]}
	_, err := rest.WriteTo(w.conn)
	return err
}

// limit sets a deadline, which ctx's end moves into the past.
func (w *UnixPipe) limit(set func(time.Time) error, d time.Duration) error {
	end := time.Time{}
	if d > 0 {
		end = time.Now().Add(d)
	}
	if err := set(end); err != nil {
		return err
	}
	return w.ctx.Err()
}

func (w *UnixPipe) Receive(limit time.Duration) (byte, []byte, error) {
	if err := w.limit(w.conn.SetReadDeadline, limit); err != nil {
		return 0, nil, err
	}
	head := make([]byte, pipeHead)
	if err := w.read(head); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > maxBody {
		return 0, nil, fmt.Errorf("transfer message of %d bytes", n)
	}
	body := make([]byte, n)
	if err := w.read(body); err != nil {
		return 0, nil, err
	}
	if head[0] == msgHello {
		if err := w.greeted(); err != nil {
			return 0, nil, err
		}
	}
	return head[0], body, nil
}

// read fills b and keeps the descriptors that come along.
func (w *UnixPipe) read(b []byte) error {
	for len(b) > 0 {
		n, oobn, _, _, err := w.conn.ReadMsgUnix(b, w.oob)
		fds, bad := socket.Rights(w.oob[:oobn])
		if w.files = append(w.files, fds...); bad != nil {
			return bad
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return io.ErrUnexpectedEOF
		}
		b = b[n:]
	}
	return nil
}

func (w *UnixPipe) HangUp() { _ = w.conn.CloseRead() } // the reader sees an end

// take gives the next descriptor; they come in the order in which they were sent.
func (w *UnixPipe) take(name string) (*os.File, error) {
	if len(w.files) == 0 {
		return nil, errors.New("a descriptor is missing")
	}
	fd := w.files[0]
	w.files = w.files[1:]
	return os.NewFile(uintptr(fd), name), nil
}

// Socket is a file, since it does not block and so is in the poller. net.FileConn would duplicate it and set anew what is set.
func (w *UnixPipe) Socket() (hub.Stream, error) {
	f, err := w.take("moved")
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Prepare has the kernel enlarge the table of descriptors once: in a process with several threads each of the many small steps
// to the same size takes milliseconds.
func (w *UnixPipe) Prepare(n int) {
	raw, err := w.conn.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		var limit syscall.Rlimit
		if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
			return
		}
		if high, err := unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, min(n+spareFiles, int(limit.Cur)-1)); err == nil {
			_ = syscall.Close(high)
		}
	})
}

func (w *UnixPipe) Hello(body []byte) (err error) {
	if w.claims, w.offers, err = os.Pipe(); err != nil {
		return err
	}
	return control(w.claims, func(fd int) error { return w.sendRights(msgHello, body, []int{fd}) })
}

func (w *UnixPipe) greeted() (err error) {
	if w.claims != nil {
		return errNotTransfer
	}
	w.claims, err = w.take("claims")
	return err
}

func (w *UnixPipe) Offer() error {
	_, err := w.offers.Write([]byte{1})
	return err
}

func (w *UnixPipe) Claim() bool {
	if w.claims == nil {
		return false
	}
	got := false
	err := control(w.claims, func(fd int) error {
		for {
			n, err := syscall.Read(fd, make([]byte, 1)) // it does not block
			if err != syscall.EINTR {
				got = n == 1
				return err
			}
		}
	})
	return err == nil && got
}

func control(f *os.File, do func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	return errors.Join(raw.Control(func(fd uintptr) { inner = do(int(fd)) }), inner)
}
