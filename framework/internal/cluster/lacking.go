package cluster

import (
	"maps"
)

// lack describes what Redis lacks of a live connection.
type lack struct {
	opened  bool // its Opened, with which its user's entry is written
	unheard bool // everything: Redis has never heard of it
}

// lack notes connections of which Redis lacks something.
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

// heard notes that Redis may have a part of these connections.
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

// filled notes that Redis has everything of these connections.
func (j *journal) filled(fds []int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, fd := range fds {
		delete(j.lacking, fd)
	}
	j.notify()
}
