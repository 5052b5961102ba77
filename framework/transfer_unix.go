//go:build unix

package framework

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"wsframe/framework/hub"
)

// Transfer moves all connections to the worker at the other end of peer, a Unix stream socket, which it closes. It is called in
// the old worker while the new one runs Adopt. After an error nothing has moved and everything goes on here.
func (a *App) Transfer(ctx context.Context, peer *os.File) (Moved, error) {
	w, err := newUnixWire(ctx, peer)
	if err != nil {
		return Moved{}, err
	}
	defer w.close()
	return a.transfer(ctx, w)
}

// Adopt takes over the connections of the worker at the other end of peer. serving is called as soon as they are served here,
// while actions may still run there.
func (a *App) Adopt(ctx context.Context, peer *os.File, serving func()) (Moved, error) {
	w, err := newUnixWire(ctx, peer)
	if err != nil {
		return Moved{}, err
	}
	defer w.close()
	return a.adopt(w, serving)
}

// unixWire passes messages, and descriptors with the first byte of a batch.
type unixWire struct {
	conn  *net.UnixConn
	stop  func() bool
	oob   []byte
	files []int // received, not yet taken
}

var errWire = errors.New("not a transfer's socket")

func newUnixWire(ctx context.Context, f *os.File) (*unixWire, error) {
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	conn, ok := c.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(errWire, c.Close())
	}
	w := &unixWire{conn: conn, oob: make([]byte, syscall.CmsgSpace(4*batchSize))}
	w.stop = context.AfterFunc(ctx, func() { _ = conn.Close() }) // every wait ends with ctx
	return w, nil
}

func (w *unixWire) close() {
	w.stop()
	_ = w.conn.Close()
	for _, fd := range w.files {
		_ = syscall.Close(fd)
	}
}

const wireHead = 5

func (w *unixWire) send(kind byte, v any, conns []*hub.Conn) error {
	b := make([]byte, wireHead, 1024)
	if v != nil {
		body, err := json.Marshal(v)
		if err != nil {
			return err
		}
		b = append(b, body...)
	}
	b[0] = kind
	binary.BigEndian.PutUint32(b[1:], uint32(len(b)-wireHead))
	n := 0
	if len(conns) > 0 {
		fds, err := duplicates(conns)
		if err == nil {
			n, _, err = w.conn.WriteMsgUnix(b, unix.UnixRights(fds...), nil)
		}
		for _, fd := range fds {
			_ = syscall.Close(fd)
		}
		if err != nil {
			return err
		}
	}
	_, err := w.conn.Write(b[n:])
	return err
}

// duplicates gives a descriptor of its own for each connection: those of the runtime's poller must not leave its hands.
func duplicates(conns []*hub.Conn) (fds []int, err error) {
	for _, c := range conns {
		var dup int
		var inner error
		err := c.Socket(func(fd uintptr) { dup, inner = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) })
		if err = errors.Join(err, inner); err != nil {
			return fds, fmt.Errorf("descriptor of %d: %w", c.FD, err)
		}
		fds = append(fds, dup)
	}
	return fds, nil
}

const maxBody = 64 << 20

func (w *unixWire) receive() (byte, []byte, error) {
	head := make([]byte, wireHead)
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
	return head[0], body, nil
}

// read fills b and keeps the descriptors that come along.
func (w *unixWire) read(b []byte) error {
	for len(b) > 0 {
		n, oobn, _, _, err := w.conn.ReadMsgUnix(b, w.oob)
		if oobn > 0 {
			messages, bad := syscall.ParseSocketControlMessage(w.oob[:oobn])
			if bad != nil {
				return bad
			}
			for i := range messages {
				fds, bad := syscall.ParseUnixRights(&messages[i])
				if bad != nil {
					return bad
				}
				w.files = append(w.files, fds...)
			}
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

// socket makes a connection of the next descriptor; they come in the order of the batch.
func (w *unixWire) socket(i int) (*net.TCPConn, error) {
	if len(w.files) == 0 {
		return nil, fmt.Errorf("descriptor %d of a batch is missing", i)
	}
	fd := w.files[0]
	w.files = w.files[1:]
	f := os.NewFile(uintptr(fd), "moved")
	c, err := net.FileConn(f) // a duplicate in the poller
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return nil, errors.Join(errWire, c.Close())
	}
	return tcp, nil
}
