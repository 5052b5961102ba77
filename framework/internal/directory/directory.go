// Package directory finds connections, users, rooms and nodes on all nodes, lists them and counts
// them.
//
// A call costs one question to all nodes (package ask). A node without others answers itself. A
// Directory is safe for concurrent use.
package directory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"wsframe/framework/api"
	"wsframe/framework/internal/ask"
	"wsframe/framework/internal/cluster"
	"wsframe/framework/internal/hub"
)

// MaxPage is the longest page of a list.
const MaxPage = 1000

// ErrLimit is returned for a page of no items, or of more than MaxPage.
var ErrLimit = fmt.Errorf("limit must be between 1 and %d", MaxPage)

// none is the value of a question or an answer that needs no further fields.
type none = struct{}

// The questions. The names of operations and fields travel between nodes.
type (
	roomQuestion struct {
		Room string `json:"r,omitempty"`
	}
	uidQuestion struct {
		UID string `json:"u,omitempty"`
	}
	pageQuestion struct {
		Room  string `json:"r,omitempty"`
		UID   string `json:"u,omitempty"`
		After string `json:"a,omitempty"` // an fd in decimal, or a name
		Limit int    `json:"l,omitempty"`
	}
)

var (
	hello       = ask.Op[none, none]{Name: "hello"}
	online      = ask.Op[none, none]{Name: "online"}
	uidOnline   = ask.Op[uidQuestion, none]{Name: "uidOnline", First: true}
	roomCount   = ask.Op[roomQuestion, none]{Name: "roomCount"}
	counts      = ask.Op[none, share]{Name: "counts", Kind: ask.Surveys}
	connections = ask.Op[pageQuestion, []api.Connection]{Name: "connections", Kind: ask.Surveys}
	members     = ask.Op[pageQuestion, []api.Connection]{Name: "members", Kind: ask.Surveys}
	ofUID       = ask.Op[pageQuestion, []api.Connection]{Name: "uidConnections", Kind: ask.Surveys}
	uids        = ask.Op[pageQuestion, []string]{Name: "uids", Kind: ask.Surveys}
	rooms       = ask.Op[pageQuestion, []string]{Name: "rooms", Kind: ask.Surveys}
	node        = ask.Op[none, api.NodeInfo]{Name: "node"}
)

// Cluster is what Redis knows of the nodes (package cluster).
type Cluster interface {
	Signs(ctx context.Context) ([]cluster.Sign, error)
}

// Config of a Directory.
type Config struct {
	Hub     *hub.Hub
	Nodes   *ask.Nodes
	Cluster func() Cluster
	Node    string       // id of this node
	Alone   bool         // there are no other nodes
	About   api.NodeSign // the constant part of this node's sign
	Since   time.Time    // the start of this worker
}

// Directory answers for all nodes. New makes one.
type Directory struct{ cfg Config }

// New makes a Directory, and registers the questions that other nodes ask this one.
func New(cfg Config) *Directory {
	d := &Directory{cfg}
	h, n := cfg.Hub, cfg.Nodes
	ask.Handle(n, hello, func(int64, none) ask.Answer[none] { return ask.Answer[none]{} })
	ask.Handle(n, online, func(fd int64, _ none) ask.Answer[none] {
		c := h.Get(fd)
		return ask.Answer[none]{Found: c != nil && !c.ClosingSoon()}
	})
	ask.Handle(n, uidOnline, func(_ int64, q uidQuestion) ask.Answer[none] {
		return ask.Answer[none]{Found: slices.ContainsFunc(h.User(q.UID), func(c *hub.Conn) bool { return !c.ClosingSoon() })}
	})
	ask.Handle(n, roomCount, func(_ int64, q roomQuestion) ask.Answer[none] { return ask.Answer[none]{Count: h.Members(q.Room)} })
	ask.Handle(n, counts, func(int64, none) ask.Answer[share] { return ask.Answer[share]{Value: d.share()} })
	ask.Handle(n, connections, func(_ int64, q pageQuestion) ask.Answer[[]api.Connection] {
		var all []*hub.Conn
		h.Each(func(c *hub.Conn) bool { all = append(all, c); return true })
		return ask.Answer[[]api.Connection]{Value: d.page(all, q)}
	})
	ask.Handle(n, members, func(_ int64, q pageQuestion) ask.Answer[[]api.Connection] {
		return ask.Answer[[]api.Connection]{Value: d.page(h.RoomMembers(q.Room), q)}
	})
	ask.Handle(n, ofUID, func(_ int64, q pageQuestion) ask.Answer[[]api.Connection] {
		return ask.Answer[[]api.Connection]{Value: d.page(h.User(q.UID), q)}
	})
	ask.Handle(n, uids, func(_ int64, q pageQuestion) ask.Answer[[]string] {
		return ask.Answer[[]string]{Value: pageOf(h.UserNames(), q)}
	})
	ask.Handle(n, rooms, func(_ int64, q pageQuestion) ask.Answer[[]string] {
		return ask.Answer[[]string]{Value: pageOf(h.RoomNames(), q)}
	})
	ask.Handle(n, node, func(int64, none) ask.Answer[api.NodeInfo] { return ask.Answer[api.NodeInfo]{Value: d.info()} })
	return d
}

// page lists the connections with an fd beyond q.After, by fd.
func (d *Directory) page(conns []*hub.Conn, q pageQuestion) []api.Connection {
	after, _ := strconv.ParseInt(q.After, 10, 64)
	list := make([]*hub.Conn, 0, len(conns))
	for _, c := range conns {
		if c.FD > after {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(x, y *hub.Conn) int { return cmp.Compare(x.FD, y.FD) })
	out := make([]api.Connection, min(q.Limit, len(list)))
	for i := range out {
		c := list[i]
		out[i] = api.Connection{FD: c.FD, Auth: c.Auth, UIDs: c.Users(), Node: d.cfg.Node}
	}
	return out
}

func pageOf(names []string, q pageQuestion) []string {
	slices.Sort(names)
	i, found := slices.BinarySearch(names, q.After)
	if found {
		i++
	}
	return names[i:min(i+q.Limit, len(names))]
}

// Greet makes this node known to all others before it takes clients, so that they ask it for
// these. A node that has not answered in time, for which Greet returns ask.ErrPartial, finds this
// one by its next lookup.
func (d *Directory) Greet(ctx context.Context) error {
	if d.cfg.Alone {
		return nil
	}
	return ask.All(ctx, d.cfg.Nodes, hello, d.cfg.Node, none{}, func(none) {})
}

// Online tells whether a node has the connection.
func (d *Directory) Online(ctx context.Context, fd int64) (bool, error) {
	if fd <= 0 {
		return false, nil
	}
	_, err := ask.One(ctx, d.cfg.Nodes, online, fd, none{})
	if errors.Is(err, ask.ErrNoConnection) {
		return false, nil
	}
	return err == nil, err
}

// UIDOnline tells whether a user has a connection.
func (d *Directory) UIDOnline(ctx context.Context, uid string) (bool, error) {
	return ask.Any(ctx, d.cfg.Nodes, uidOnline, uid, uidQuestion{uid})
}

// RoomCount is the number of members of a room.
func (d *Directory) RoomCount(ctx context.Context, room string) (int, error) {
	return ask.Sum(ctx, d.cfg.Nodes, roomCount, room, roomQuestion{room})
}

// Members is the number of members of a room on this node. It asks the next worker where that has
// the connections by now.
func (d *Directory) Members(room string) int {
	if n, ok := ask.CountThere(context.Background(), d.cfg.Nodes, roomCount, roomQuestion{room}); ok {
		return n
	}
	return d.cfg.Hub.Members(room)
}

// list asks all nodes for a page each, and merges these into one.
func list[T any](ctx context.Context, d *Directory, op ask.Op[pageQuestion, []T], q pageQuestion, order func(x, y T) int) ([]T, error) {
	if q.Limit < 1 || q.Limit > MaxPage {
		return nil, ErrLimit
	}
	all := []T{}
	err := ask.All(ctx, d.cfg.Nodes, op, q.Room, q, func(page []T) { all = append(all, page...) })
	slices.SortStableFunc(all, order)
	all = slices.CompactFunc(all, func(x, y T) bool { return order(x, y) == 0 })
	return all[:min(q.Limit, len(all))], err
}

func byFD(x, y api.Connection) int { return cmp.Compare(x.FD, y.FD) }

// Connections lists the connections with an fd beyond after, by fd.
func (d *Directory) Connections(ctx context.Context, after int64, limit int) ([]api.Connection, error) {
	return list(ctx, d, connections, pageQuestion{After: strconv.FormatInt(after, 10), Limit: limit}, byFD)
}

// RoomMembers lists the members of a room with an fd beyond after, by fd.
func (d *Directory) RoomMembers(ctx context.Context, room string, after int64, limit int) ([]api.Connection, error) {
	return list(ctx, d, members, pageQuestion{Room: room, After: strconv.FormatInt(after, 10), Limit: limit}, byFD)
}

// UIDConnections lists the connections of a user, by fd, at most MaxPage.
func (d *Directory) UIDConnections(ctx context.Context, uid string) ([]api.Connection, error) {
	return list(ctx, d, ofUID, pageQuestion{UID: uid, Limit: MaxPage}, byFD)
}

// UIDs lists the users with connections whose uid is beyond after, by uid.
func (d *Directory) UIDs(ctx context.Context, after string, limit int) ([]string, error) {
	return list(ctx, d, uids, pageQuestion{After: after, Limit: limit}, cmp.Compare[string])
}

// RoomNames lists rooms that have members, by name, those beyond after.
func (d *Directory) RoomNames(ctx context.Context, after string, limit int) ([]string, error) {
	return list(ctx, d, rooms, pageQuestion{After: after, Limit: limit}, cmp.Compare[string])
}

func (d *Directory) info() api.NodeInfo {
	h := d.cfg.Hub
	return api.NodeInfo{
		ID: d.cfg.Node, PID: os.Getpid(), Connections: h.Len(), Rooms: h.RoomCount(), UIDs: h.UserCount(), Since: d.cfg.Since.Unix(),
	}
}
