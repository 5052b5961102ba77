package process

import (
	"os"
	"sync"
)

const (
	fewFiles   = 8  // enough for a move
	spareFiles = 16 // a new worker also connects to Redis while clients come
)

// spare holds descriptors for a reload. A worker without a free descriptor could neither receive
// the socket of a transfer nor send its connections.
type spare struct {
	mu    sync.Mutex
	files []*os.File
}

// fill opens descriptors until there are n, as far as there are any.
func (s *spare) fill(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.files) < n {
		f, err := os.Open(os.DevNull)
		if err != nil {
			return
		}
		s.files = append(s.files, f)
	}
}

// free closes them.
func (s *spare) free() {
	s.mu.Lock()
	defer s.mu.Unlock()
	closeFiles(s.files)
	s.files = nil
}
