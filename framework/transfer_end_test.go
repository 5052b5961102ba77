//go:build unix

package framework_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"wsframe/framework"
	"wsframe/framework/frameworktest"
	"wsframe/framework/internal/hub"
	"wsframe/library/config"
)

// farewell is a controller whose actions end as soon as their connections are being moved.
type farewell struct{ app func() *framework.App }

func (f *farewell) wait() {
	for !f.app().Hub().Frozen() {
		time.Sleep(time.Millisecond)
	}
}

func (f *farewell) Leave(c *framework.Ctx) (*framework.Reply, error) {
	f.wait()
	_ = c.Push(framework.OK("almost", ""))
	return framework.OK("bye", ""), c.Close(4001, "done")
}

func (f *farewell) Stay(*framework.Ctx) (*framework.Reply, error) {
	f.wait()
	return framework.OK("bye", ""), nil
}

// masked encodes a client's frame.
func masked(first byte, payload string) []byte {
	b := []byte{first, 0x80 | byte(len(payload)), 0, 0, 0, 0}
	return append(b, payload...)
}

// rawClient is a connection whose bytes a test writes itself.
func rawClient(t *testing.T, h *frameworktest.Harness, id framework.Identity) net.Conn {
	t.Helper()
	nc := shaking(t, h, id)
	fmt.Fprint(nc, "\r\n")
	head := make([]byte, 0, 512)
	for one := make([]byte, 1); !bytes.HasSuffix(head, []byte("\r\n\r\n")); head = append(head, one...) {
		if _, err := nc.Read(one); err != nil {
			t.Fatal(err)
		}
	}
	return nc
}

// A connection that ends while connections are being moved ends with its last replies and its close code, whatever ends it.
func TestEndsInAMove(t *testing.T) {
	t.Parallel()
	f := &farewell{}
	mount := func(framework.Deps) ([]framework.Controller, error) {
		return []framework.Controller{framework.Mount("f", f)}, nil
	}
	h1, h2 := frameworktest.NewWorkers(t, true, mount, frameworktest.Quiet(), frameworktest.Config(func(c *config.App) { c.Limits.MessageRate = 0 }))
	f.app = func() *framework.App { return h1.App }
	leave, stay := masked(0x81, `{"method":"f.leave"}`), masked(0x81, `{"method":"f.stay"}`)
	cases := []struct {
		name   string
		send   []byte
		code   int
		events []string
	}{
		{"it closes itself", leave, 4001, []string{"almost", "bye"}},
		{"the peer's close frame", append(bytes.Clone(stay), masked(0x88, "\x0f\xa5")...), 4005, []string{"bye"}},
		{"a bad frame", append(bytes.Clone(stay), 0x81, 1, 'x'), 1002, []string{"bye"}},
	}
	const each = 20
	var clients []net.Conn
	for i := range each * len(cases) {
		nc := rawClient(t, h1, user(fmt.Sprint(i)))
		_, _ = nc.Write(cases[i%len(cases)].send)
		clients = append(clients, nc)
	}
	h1.Eventually("all act", func() bool {
		n := 0
		for _, c := range connsOf(h1.App) {
			in, _ := c.Counts()
			n += int(in)
		}
		return n == len(clients)
	})
	gave, _ := move(t, h1.App, h2.App)
	t.Logf("%+v", gave)
	for i, nc := range clients {
		tc := cases[i%len(cases)]
		b, err := io.ReadAll(nc) // to the end: an error is a reset
		at := 0
		for _, event := range tc.events {
			n := strings.Index(string(b[at:]), `"event":"`+event)
			if n < 0 {
				t.Fatalf("%s: %q has not come: %q %v", tc.name, event, b, err)
			}
			at += n
		}
		end := []byte{0x88, 0, byte(tc.code >> 8), byte(tc.code)}
		if n := bytes.LastIndexByte(b, 0x88); err != nil || n < at || len(b) < n+4 || !bytes.Equal(b[n+2:n+4], end[2:]) {
			t.Fatalf("%s: the end is %q %v, wanted is %d", tc.name, b, err, tc.code)
		}
	}
	h1.Eventually("nothing is left", func() bool { _, inside := h1.App.Hub().Remaining(); return inside == 0 })
}

func connsOf(a *framework.App) (list []*hub.Conn) {
	a.Hub().Each(func(c *hub.Conn) bool { list = append(list, c); return true })
	return list
}
