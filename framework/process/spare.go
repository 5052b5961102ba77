package process

import (
	"os"
	"sync"
)

const (
	fewFiles   = 8  // a move needs less, for a while
	spareFiles = 16 // and a new worker has connections of its own to make, to Redis, while others come
)

// spare keeps descriptors for a reload: a worker that has no other left could be told of none, and
// not hand its connections over.
type spare struct {
	mu    sync.Mutex
	files []*os.File
}

// fill has n of them, as far as there are any.
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

// free lets them go.
func (s *spare) free() {
	s.mu.Lock()
	defer s.mu.Unlock()
	closeFiles(s.files)
	s.files = nil
}
