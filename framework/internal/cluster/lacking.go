package cluster

import (
	"maps"
)

// lack is what Redis has not taken of a live connection.
type lack struct {
	opened  bool // its Opened: its user's entry is to be written, too
	unheard bool // all of it
}

// lack notes connections that Redis lacks something of.
func (j *journal) lack(fds map[int64]lack) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.lacking == nil {
		j.lacking = map[int64]lack{}
	}
	for fd, l := range fds {
		if was, ok := j.lacking[fd]; ok {
			l.opened, l.unheard = l.opened || was.opened, was.unheard
		}
		j.lacking[fd] = l
	}
}

func (j *journal) lacks() map[int64]lack {
	j.mu.Lock()
	defer j.mu.Unlock()
	return maps.Clone(j.lacking)
}

// heard notes that Redis may have been told of these connections.
func (j *journal) heard(fds []int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, fd := range fds {
		if l, ok := j.lacking[fd]; ok {
			l.unheard = false
			j.lacking[fd] = l
		}
	}
}

// filled notes that Redis lacks nothing of these connections.
func (j *journal) filled(fds []int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, fd := range fds {
		delete(j.lacking, fd)
	}
	j.notify()
}
