//go:build !unix

package nodetest

import (
	"bytes"
	"errors"
	"sync"
	"syscall"
	"testing"
)

// stream keeps what the hub writes.
type stream struct {
	ending

	writing sync.Mutex
	got     []byte
}

func newStream(testing.TB) *stream { return &stream{ending: ending{at: make(chan struct{})}} }

// written is all that was written so far.
func (s *stream) written() []byte {
	s.writing.Lock()
	defer s.writing.Unlock()
	return bytes.Clone(s.got)
}

func (s *stream) Write(b []byte) (int, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.got = append(s.got, b...)
	return len(b), nil
}

func (s *stream) Close() error { return nil }

func (s *stream) SyscallConn() (syscall.RawConn, error) { return nil, errors.ErrUnsupported }
