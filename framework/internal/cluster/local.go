package cluster

// local is the live connections of this process.
type local struct {
	numbers *Numbers
	walk    func(yield func(Entry) bool) // nil = none
	has     func(fd int64) bool          // nil: all are walked
}

// each walks the connections that are this incarnation's.
func (lc *local) each(yield func(*Entry) bool) {
	if lc.walk == nil {
		return
	}
	floor := lc.numbers.floor.Load()
	lc.walk(func(e Entry) bool { return e.FD < floor || yield(&e) })
}

// alive gives a function that tells whether an fd which Redis knows is a live connection.
func (lc *local) alive() func(fd int64) bool {
	if lc.has != nil {
		return lc.has
	}
	fds := map[int64]bool{}
	lc.each(func(e *Entry) bool { fds[e.FD] = true; return true })
	return func(fd int64) bool { return fds[fd] }
}

// gone tells of an operation whose connection has ended before it was noted: nothing would undo it.
// If the connection ends from here on, its Closed is noted later.
func (lc *local) gone(fd int64) bool { return lc.has != nil && !lc.has(fd) }

func (lc *local) fds() []int64 {
	var fds []int64
	lc.each(func(e *Entry) bool { fds = append(fds, e.FD); return true })
	return fds
}
