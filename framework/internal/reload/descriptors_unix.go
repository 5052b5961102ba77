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

// UnixPipe is a Pipe that sends descriptors with the first byte of a message.
type UnixPipe struct {
	ctx   context.Context
	conn  *net.UnixConn
	stop  func() bool
	oob   []byte
	files []int // received and not yet used

	claims *os.File // a pipe in which each byte is a claim: only one read gets it
	offers *os.File // its other end; nil in the new process
}

// NewPipe makes a Pipe of one end of a Unix stream socket, which it closes. Every wait ends with
// ctx.
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
	maxRights = 253 // descriptors in a message: the kernel's limit
	maxBody   = 64 << 20
	firstPart = 4 << 10

	spareFiles = 1024 // besides the connections'
)

func (w *UnixPipe) Send(kind byte, body []byte, conns []*hub.Conn) error {
	// The descriptors belong to the connections, which stay open until the round is decided.
	fds := make([]int, len(conns))
	for i, c := range conns {
		fds[i] = c.Descriptor()
	}
	return w.sendRights(kind, body, fds)
}

// SendFiles implements Pipe.
func (w *UnixPipe) SendFiles(kind byte, body []byte, files []*os.File) error {
	fds := make([]int, len(files))
	return withFDs(files, fds, func() error { return w.sendRights(kind, body, fds) })
}

// withFDs calls do while the descriptors of files cannot be closed, without changing their mode.
func withFDs(files []*os.File, fds []int, do func() error) error {
	if len(files) == 0 {
		return do()
	}
	return control(files[0], func(fd int) error {
		fds[0] = fd
		return withFDs(files[1:], fds[1:], do)
	})
}

// File implements Pipe.
func (w *UnixPipe) File() (*os.File, error) { return w.nextFile("peer") }

func (w *UnixPipe) sendRights(kind byte, body []byte, fds []int) error {
	if len(body) > maxBody {
		return fmt.Errorf("transfer message of %d bytes", len(body))
	}
	if err := w.setDeadline(w.conn.SetWriteDeadline, roundTime); err != nil {
		return err
	}
	// The descriptors are sent with the head and a part of the body, which may be large.
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

// setDeadline sets a deadline. The end of ctx moves it into the past.
func (w *UnixPipe) setDeadline(set func(time.Time) error, d time.Duration) error {
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
	if err := w.setDeadline(w.conn.SetReadDeadline, limit); err != nil {
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
		if err := w.acceptHello(); err != nil {
			return 0, nil, err
		}
	}
	return head[0], body, nil
}

// read fills b and keeps the descriptors that come with it.
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

// nextFile returns the next descriptor, in the order in which they were sent.
func (w *UnixPipe) nextFile(name string) (*os.File, error) {
	if len(w.files) == 0 {
		return nil, errors.New("a descriptor is missing")
	}
	fd := w.files[0]
	w.files = w.files[1:]
	return os.NewFile(uintptr(fd), name), nil
}

// Socket returns the next descriptor as a file. It is non-blocking, so the poller accepts it;
// net.FileConn would cost a duplicate.
func (w *UnixPipe) Socket() (hub.Stream, error) {
	f, err := w.nextFile("moved")
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Prepare has the kernel enlarge the table of descriptors once. In a process with several threads
// each of the many small steps to the same size would take milliseconds.
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

func (w *UnixPipe) acceptHello() (err error) {
	if w.claims != nil {
		return errNotTransfer
	}
	w.claims, err = w.nextFile("claims")
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
