//go:build unix

package process

import (
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"syscall"

	"wsframe/library/socket"
)

// maxFiles bounds the descriptors that wait for their message.
const maxFiles = 16

var errFiles = errors.New("not the descriptors that were announced")

// inbox reads the control channel and keeps the descriptors that come with it. The kernel delivers
// them in order, and not after the last byte of their message.
type inbox struct {
	conn  *net.UnixConn
	oob   []byte
	files []*os.File // nil = the kernel has dropped some here: no descriptor was free
}

func newInbox(conn net.Conn) *inbox {
	return &inbox{conn: conn.(*net.UnixConn), oob: make([]byte, syscall.CmsgSpace(4*maxFiles))}
}

// Read implements io.Reader.
func (in *inbox) Read(b []byte) (int, error) {
	n, oobn, flags, _, err := in.conn.ReadMsgUnix(b, in.oob) // received descriptors are close-on-exec
	fds, bad := socket.Rights(in.oob[:oobn])
	for _, fd := range fds {
		in.files = append(in.files, os.NewFile(uintptr(fd), "handed over"))
	}
	if bad != nil {
		return 0, bad
	}
	if flags&syscall.MSG_CTRUNC != 0 {
		in.files = append(in.files, nil)
	}
	if len(in.files) > maxFiles {
		return 0, errFiles
	}
	if n == 0 && err == nil {
		err = io.EOF
	}
	return max(n, 0), err // it is -1 beside an error
}

// pop returns the descriptors of the message that has just been read, or none where the kernel has
// dropped one of them.
func (in *inbox) pop(n int) ([]*os.File, error) {
	if n < 0 {
		return nil, errFiles
	}
	if lost := slices.Index(in.files, nil); lost >= 0 && lost < n {
		closeFiles(in.files[:lost])
		in.files = in.files[lost+1:]
		return nil, nil
	}
	if n > len(in.files) {
		return nil, errFiles
	}
	files := in.files[:n:n]
	in.files = in.files[n:]
	return files, nil
}

func (in *inbox) close() { closeFiles(in.files) }

// writeFiles writes b, and the files with its first byte.
func writeFiles(conn net.Conn, b []byte, files []*os.File) (n int, err error) {
	if len(files) == 0 {
		return conn.Write(b)
	}
	err = withDescriptors(files, nil, func(fds []int) (err error) {
		n, _, err = conn.(*net.UnixConn).WriteMsgUnix(b, syscall.UnixRights(fds...), nil)
		return err
	})
	if err != nil || n == len(b) {
		return max(n, 0), err
	}
	rest, err := conn.Write(b[n:])
	return n + rest, err
}

// withDescriptors calls f with the descriptors, while none of the files can be closed. File.Fd
// would make the files blocking.
func withDescriptors(files []*os.File, fds []int, f func([]int) error) error {
	if len(files) == 0 {
		return f(fds)
	}
	raw, err := files[0].SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(fd uintptr) { inner = withDescriptors(files[1:], append(fds, int(fd)), f) })
	return errors.Join(err, inner)
}

// socketPair makes two connected Unix stream sockets that children do not inherit.
func socketPair(name string) (a, b *os.File, err error) {
	syscall.ForkLock.RLock()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fds[0])
		syscall.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	return os.NewFile(uintptr(fds[0]), name), os.NewFile(uintptr(fds[1]), name), nil
}
