package cluster

// local reads the live connections of this process.
type local struct {
	numbers *Numbers
	walk    func(yield func(Entry) bool) // nil = none
	has     func(fd int64) bool          // nil: all are walked
}

// each walks the live connections of this incarnation.
func (lc *local) each(yield func(*Entry) bool) {
	if lc.walk == nil {
		return
	}
	floor := lc.numbers.floor.Load()
	lc.walk(func(e Entry) bool { return e.FD < floor || yield(&e) })
}

// alive returns a function that reports whether an fd is a live connection.
func (lc *local) alive() func(fd int64) bool {
	if lc.has != nil {
		return lc.has
	}
	fds := map[int64]bool{}
	lc.each(func(e *Entry) bool { fds[e.FD] = true; return true })
	return func(fd int64) bool { return fds[fd] }
}

// gone reports that the connection of an addition has already ended, so that nothing would undo it.
// If it ends afterwards, the journal gets its Closed after the addition.
func (lc *local) gone(fd int64) bool { return lc.has != nil && !lc.has(fd) }

func (lc *local) fds() []int64 {
	var fds []int64
	lc.each(func(e *Entry) bool { fds = append(fds, e.FD); return true })
	return fds
}
