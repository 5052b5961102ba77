package framework_test

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"wsframe/framework"
	"wsframe/framework/frameworktest"
)

// A peer that does not take what is sent to it is given up by the kernel in good time (promise L6), wherever its connection was accepted.
func TestUnsentTimeout(t *testing.T) {
	h1, h2 := twoApps(t, nil)
	h1.Dial(someone) // the listener is prepared before anything is accepted
	c := h1.Dial(someone)
	fd := fdSeen(c)
	check := func(h *frameworktest.Harness) {
		t.Helper()
		ms, err := unix.GetsockoptInt(h.App.Hub().Get(fd).Descriptor(), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT)
		if err != nil || ms != 30_000 {
			t.Fatalf("TCP_USER_TIMEOUT is %d ms, %v", ms, err)
		}
	}
	c.Call("s.join", nil).Want(200, "joined")
	check(h1)
	move(t, h1.App, h2.App)
	c.Call("probe.see", nil).Want(200, "see")
	check(h2)
}

// A client that reads nothing is noticed after some hundred kilobytes, so that droppable frames are
// dropped in the outbox rather than kept in the kernel.
func TestUnsentBytes(t *testing.T) {
	h, _ := twoApps(t, nil)
	fd := fdSeen(h.Dial(someone)) // it reads replies to its calls only
	reply := framework.OK("price", strings.Repeat("x", 16<<10))
	sent := 0
	for waits := 0; waits == 0; sent += 16 << 10 {
		if sent > 2<<20 {
			t.Fatalf("the kernel has taken %d bytes", sent)
		}
		if err := h.App.SendToFD(fd, reply, framework.Latest("price")); err != nil {
			t.Fatal(err)
		}
		waits, _ = h.App.Hub().Get(fd).Pending()
	}
	t.Logf("%d bytes were taken by the kernels of both sides", sent)
}
