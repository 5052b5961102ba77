//go:build linux && !race

package hub

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxRaw is the largest write, in bytes, that runs as a raw system call.
const maxRaw = 64 << 10

// receiveNow reads what a socket has received, or returns EAGAIN.
//
// A raw system call avoids the scheduler's bookkeeping, which wakes a second thread for each call
// of an otherwise idle process. The goroutine keeps its processor and cannot be preempted, so the
// call must end at once: MSG_DONTWAIT applies whatever the mode of the descriptor, and b has
// readSize bytes.
func receiveNow(fd int, b []byte) (int, error) {
	n, _, errno := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)),
		unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}

// sendNow writes what the kernel accepts of b at once, or returns EAGAIN. It is a raw system call
// like that of receiveNow.
func sendNow(fd int, b []byte) (int, error) {
	if len(b) == 0 || len(b) > maxRaw {
		return syscall.Write(fd, b)
	}
	n, _, errno := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)),
		unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}
