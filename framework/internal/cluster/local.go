package cluster

// local reads the live connections of this process.
type local struct {
	numbers *Numbers
	walk    func(yield func(fd int64) bool)   // nil = none
	has     func(fd int64) bool               // nil = none is live
	state   func(fd int64) (e Entry, ok bool) // nil = none is live
}

// entry returns the state of a live connection of this incarnation; nil = it is not live.
func (lc *local) entry(fd int64) *Entry {
	if lc.state == nil || fd < lc.numbers.floor.Load() {
		return nil
	}
	e, ok := lc.state(fd)
	if !ok {
		return nil
	}
	return &e
}

// entries returns the states of those that are live.
func (lc *local) entries(fds []int64) map[int64]*Entry {
	live := make(map[int64]*Entry, len(fds))
	for _, fd := range fds {
		if e := lc.entry(fd); e != nil {
			live[fd] = e
		}
	}
	return live
}

// alive reports whether an fd is a live connection.
func (lc *local) alive(fd int64) bool { return lc.has != nil && lc.has(fd) }

// gone reports that the connection of an addition has already ended, so that nothing would undo it.
// If it ends afterwards, the journal gets its Closed after the addition.
func (lc *local) gone(fd int64) bool { return lc.has != nil && !lc.has(fd) }

// fds lists the live connections of this incarnation.
func (lc *local) fds() (fds []int64) {
	if lc.walk == nil {
		return nil
	}
	floor := lc.numbers.floor.Load()
	lc.walk(func(fd int64) bool {
		if fd >= floor {
			fds = append(fds, fd)
		}
		return true
	})
	return fds
}
