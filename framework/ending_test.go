package framework_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"wsframe/framework"
	"wsframe/framework/frameworktest"
)

// witness notes which ends it was told of, whichever node told it.
type witness struct {
	mu   sync.Mutex
	told map[int64]int
}

func (w *witness) Watch(c *framework.Ctx) (*framework.Reply, error) {
	return framework.OK("watched", "", c.FD), c.AddCloseListener("witness")
}

func (w *witness) OnClose(c *framework.Closed) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told[c.FD]++
}

func (w *witness) times(fd int64) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.told[fd]
}

func (w *witness) watches(c *frameworktest.Client) (fd int64) {
	c.Call("witness.watch", nil).Want(200, "watched").Into(&fd)
	return fd
}

// cutOff starts two nodes with short leases and cuts one off from Redis, which knows of two of its connections.
func cutOff(t *testing.T) (nodes []*frameworktest.Harness, w *witness, known [2]*frameworktest.Client, release func()) {
	w = &witness{told: map[int64]int{}}
	option, proxy := behindProxy(t, "node-1")
	nodes = frameworktest.NewCluster(t, 2, func(framework.Deps) ([]framework.Controller, error) {
		return []framework.Controller{framework.Mount("witness", w), framework.Mount("hall", &hall{})}, nil
	}, func(o *framework.Options) { o.Lease, o.StoreTimeout = 3*time.Second, 500*time.Millisecond }, option)
	for i := range known {
		known[i] = nodes[0].Dial(user("known"))
		w.watches(known[i])
	}
	nodes[0].Flush()
	release = proxy().Hold()
	t.Cleanup(release)
	fdOf(known[0], "hall") // so that there is something to write
	nodes[0].Eventually("it to be noticed", func() bool { return nodes[0].App.Node().Stats().Unreachable })
	return nodes, w, known, release
}

// A node cannot reach Redis, and is declared dead by one that can. Every end is told once: by that one, or here where Redis has never heard of the connection.
func TestEndsOfNodeThatIsCutOff(t *testing.T) {
	t.Parallel()
	var fds []int64
	var w *witness
	t.Cleanup(func() { // after both nodes have stopped
		for _, fd := range fds {
			if n := w.times(fd); n != 1 {
				t.Errorf("the end of %d was told %d times", fd, n)
			}
		}
	})
	nodes, watching, known, release := cutOff(t)
	w = watching
	clients := append(known[:], nodes[0].Dial(user("during")), nodes[0].Dial(user("during")))
	for _, c := range clients {
		fds = append(fds, w.watches(c))
	}
	clients[0].Vanish()
	clients[2].Vanish()
	nodes[0].Eventually("two to have ended", func() bool { return nodes[0].App.Hub().Len() == 2 })
	nodes[0].Eventually("the other node to declare it dead", func() bool { return w.times(fds[0]) == 1 && w.times(fds[1]) == 1 })
	release()
	clients[1].WantClose(framework.CloseRestart)
	clients[3].WantClose(framework.CloseRestart)
	nodes[0].Eventually("the rest to be told", func() bool { return w.times(fds[2]) == 1 && w.times(fds[3]) == 1 })
}

// A node that stops while Redis is away leaves the ends to whoever cleans up after it, but those that nobody else knows of.
func TestStopWhileRedisIsAway(t *testing.T) {
	t.Parallel()
	nodes, w, clients, release := cutOff(t)
	during := nodes[0].Dial(user("during"))
	fds := []int64{w.watches(clients[0]), w.watches(clients[1]), w.watches(during)}
	clients[0].Vanish()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if err := nodes[0].App.Shutdown(ctx, framework.CloseGoingAway, "", 0); err == nil {
		t.Error("stopped as if Redis were there")
	}
	nodes[1].Eventually("the other node to clean up", func() bool { return nodes[1].App.Node().Stats().Swept == 2 })
	release()
	for _, fd := range fds {
		if n := w.times(fd); n != 1 {
			t.Errorf("the end of %d was told %d times", fd, n)
		}
	}
}
