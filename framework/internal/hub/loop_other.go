//go:build !linux

package hub

// loop exists on Linux only. Elsewhere each connection has a reader of its own.
type loop struct{}

type runner struct{ lost bool }

func (r *runner) begin()    {}
func (r *runner) end() bool { return true }

func (h *Hub) startLoops() error { return nil }

func (l *loop) attach(*Conn) error { return nil }
func (l *loop) detach(*Conn)       {}
func (l *loop) close()             {}
