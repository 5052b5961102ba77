package directory_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wsframe/framework/api"
	"wsframe/framework/auth"
	"wsframe/framework/internal/ask"
	"wsframe/framework/internal/cluster"
	"wsframe/framework/internal/directory"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/nodetest"
)

// redis is what nodes have said of themselves.
type redis struct {
	signs []cluster.Sign
	err   error
	asked int
}

func (r *redis) Signs(context.Context) ([]cluster.Sign, error) {
	r.asked++
	return r.signs, r.err
}

type node struct {
	*directory.Directory
	hub *nodetest.Hub
}

var since = time.Unix(1_700_000_000, 0)

func newNode(t *testing.T, b *nodetest.Bus, r *redis, id string, alone bool) *node {
	n := &node{hub: nodetest.NewHub(t, hub.Config{})}
	n.Directory = directory.New(directory.Config{
		Hub: n.hub.Hub, Nodes: b.Node(id).Nodes, Cluster: func() directory.Cluster { return r }, Node: id, Alone: alone,
		About: api.NodeSign{Version: "v1"}, Since: since,
	})
	return n
}

func (n *node) connect(t *testing.T, fd int64, uid string, rooms ...string) *nodetest.Conn {
	t.Helper()
	c := n.hub.Connect(fd, auth.Identity{ID: uid}, nil)
	_, err := c.Bind(uid)
	for _, room := range rooms {
		if err == nil {
			_, err = c.Join(room)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// two are two nodes with connections 1 to 5 of the users a, b and c; a has one on each.
func two(t *testing.T) (b *nodetest.Bus, n1, n2 *node) {
	b = nodetest.NewBus()
	n1, n2 = newNode(t, b, &redis{}, "n1", false), newNode(t, b, &redis{}, "n2", false)
	n1.connect(t, 1, "a", "R", "S")
	n2.connect(t, 2, "a", "R")
	n1.connect(t, 3, "b", "R")
	n2.connect(t, 4, "c", "T")
	n2.connect(t, 5, "c")
	return b, n1, n2
}

// words joins the values by spaces.
func words(values ...any) string { return strings.TrimSuffix(fmt.Sprintln(values...), "\n") }

func want(t *testing.T, what string, got any, err error, want string) {
	t.Helper()
	if fmt.Sprint(got) != want || err != nil {
		t.Errorf("%s: %v %v, want %s", what, got, err, want)
	}
}

// Connections and users are found on whatever node; those that are being closed count as gone.
func TestOnline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, n1, n2 := two(t)
		online := func(fd int64, is bool) {
			t.Helper()
			got, err := n1.Online(t.Context(), fd)
			want(t, fmt.Sprint("online ", fd), got, err, fmt.Sprint(is))
		}
		uidOnline := func(uid string, is bool) {
			t.Helper()
			got, err := n1.UIDOnline(t.Context(), uid)
			want(t, "online "+uid, got, err, fmt.Sprint(is))
		}
		online(1, true)
		online(2, true)
		online(99, false)
		online(0, false)
		uidOnline("a", true)
		uidOnline("c", true)
		uidOnline("nobody", false)
		n2.hub.Get(2).SetClosingSoon()
		n2.hub.Get(4).SetClosingSoon()
		online(2, false)
		uidOnline("a", true)
		uidOnline("c", true)
		n2.hub.Get(5).SetClosingSoon()
		uidOnline("c", false)

		b.Mute("n2", true)
		if _, err := n1.Online(t.Context(), 99); !errors.Is(err, ask.ErrPartial) {
			t.Errorf("while a node is mute: %v", err)
		}
		if is, err := n1.UIDOnline(t.Context(), "a"); !is || err != nil {
			t.Errorf("a user of this node, while another is mute: %t %v", is, err)
		}
	})
}

// Users and rooms of several nodes count once.
func TestCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, n1, _ := two(t)
		c, err := n1.Counts(t.Context())
		if want := (api.Counts{Nodes: 2, Connections: 5, UIDs: 3, Rooms: 3}); c != want || err != nil {
			t.Errorf("%+v %v, want %+v", c, err, want)
		}
		n, err := n1.RoomCount(t.Context(), "R")
		want(t, "members of R", n, err, "3")
		if n := n1.Members("R"); n != 2 {
			t.Errorf("%d members of R here", n)
		}
		b.Mute("n2", true)
		c, err = n1.Counts(t.Context())
		if want := (api.Counts{Nodes: 1, Connections: 2, UIDs: 2, Rooms: 2}); c != want || !errors.Is(err, ask.ErrPartial) {
			t.Errorf("while a node is mute: %+v %v", c, err)
		}
	})
}

// Lists go over all nodes in one order, page by page; nobody is in them twice.
func TestLists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, n1, _ := two(t)
		fds := func(list []api.Connection) (fds []string) {
			for _, c := range list {
				fds = append(fds, words(c.FD, c.Node, c.UIDs))
			}
			return fds
		}
		ctx := t.Context()
		l, err := n1.Connections(ctx, 0, 3)
		want(t, "connections", fds(l), err, "[1 n1 [a] 2 n2 [a] 3 n1 [b]]")
		l, err = n1.Connections(ctx, 3, 3)
		want(t, "connections after 3", fds(l), err, "[4 n2 [c] 5 n2 [c]]")
		l, err = n1.RoomMembers(ctx, "R", 1, 10)
		want(t, "members after 1", fds(l), err, "[2 n2 [a] 3 n1 [b]]")
		names, err := n1.UIDs(ctx, "", 2)
		want(t, "users", names, err, "[a b]")
		names, err = n1.UIDs(ctx, "b", 2)
		want(t, "users after b", names, err, "[c]")
		names, err = n1.RoomNames(ctx, "", 10)
		want(t, "rooms", names, err, "[R S T]")
		names, err = n1.RoomNames(ctx, "RX", 1)
		want(t, "rooms after a name that there is not", names, err, "[S]")
		names, err = n1.RoomNames(ctx, "T", 1)
		want(t, "rooms after the last", names, err, "[]")
		for _, limit := range []int{0, -1, directory.MaxPage + 1} {
			if _, err := n1.UIDs(ctx, "", limit); !errors.Is(err, directory.ErrLimit) {
				t.Errorf("limit %d: %v", limit, err)
			}
		}
	})
}

// All living nodes are listed, this one first; one that does not answer is said to be missing.
func TestNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _, n2 := two(t)
		newNode(t, b, &redis{}, "n0", false)
		short := func(list []api.NodeInfo) (texts []string) {
			for _, n := range list {
				texts = append(texts, words(n.ID, n.Self, n.Missing, n.Connections, n.UIDs, n.Rooms, n.Since == since.Unix()))
			}
			return texts
		}
		list, err := n2.Nodes(t.Context())
		want(t, "nodes", short(list), err, "[n2 true false 3 2 2 true n0 false false 0 0 0 true n1 false false 2 2 2 true]")
		b.Mute("n1", true)
		list, err = n2.Nodes(t.Context())
		want(t, "nodes", short(list), err, "[n2 true false 3 2 2 true n0 false false 0 0 0 true n1 false true 0 0 0 false]")
		if err := n2.Greet(t.Context()); !errors.Is(err, ask.ErrPartial) {
			t.Errorf("a greeting that a node did not answer: %v", err)
		}
		time.Sleep(2 * time.Second)
		b.SetUnreachable(true)
		if list, err = n2.Nodes(t.Context()); !errors.Is(err, ask.ErrPartial) || len(list) == 0 || !list[0].Self {
			t.Errorf("without Redis: %v %v", short(list), err)
		}
	})
}

// Signs has the present state of this node and the last signs of the others. Unreadable signs are
// empty.
func TestSigns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &redis{}
		n := newNode(t, nodetest.NewBus(), r, "n2", false)
		n.connect(t, 1, "a", "R")
		signs := func() string {
			t.Helper()
			list, err := n.Signs(t.Context())
			if err != nil && r.err == nil {
				t.Error(err)
			}
			texts := []string{}
			for _, s := range list {
				texts = append(texts, words(s.ID, s.Self, s.Living, s.Age, s.Version, s.Connections))
			}
			return fmt.Sprint(texts)
		}
		r.signs = []cluster.Sign{
			{Node: "n1", About: []byte(`{"version":"v0","connections":7}`), Age: 3 * time.Second, Living: true},
			{Node: "n2", About: []byte(`{"connections":99}`), Age: time.Second, Living: true},
			{Node: "n3", About: []byte(`nonsense`), Age: time.Minute},
		}
		if got, want := signs(), fmt.Sprintf("[n1 false true %v v0 7 n2 true true %v v1 1 n3 false false %v  0]", r.signs[0].Age, r.signs[1].Age, r.signs[2].Age); got != want {
			t.Errorf("%s, want %s", got, want)
		}
		r.signs = r.signs[:1] // Redis was emptied
		if got, want := signs(), fmt.Sprintf("[n1 false true %v v0 7 n2 true false -1ns v1 1]", r.signs[0].Age); got != want {
			t.Errorf("%s, want %s", got, want)
		}
		r.err = errors.New("away")
		if got := signs(); got != "[n2 true true 0s v1 1]" {
			t.Errorf("without Redis: %s", got)
		}
		alone := newNode(t, nodetest.NewBus(), r, "n1", true)
		r.asked = 0
		if list, err := alone.Signs(t.Context()); len(list) != 1 || err != nil || !list[0].Self || !list[0].Living || r.asked > 0 {
			t.Errorf("alone: %+v %v, Redis was asked %d times", list, err, r.asked)
		}
		if err := alone.Greet(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
