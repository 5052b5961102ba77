// Package presence announces to the members of a room which users join it and which have left.
//
// A user counts once, whatever the number of his connections and nodes. A reconnect, through
// another node too, is neither a join nor a leave.
//
// Redis has the users of each room, and those who may have left: any node looks whether such a
// user is gone for good (cluster.Depart). The message path waits for none of that. The queue of
// announcements only makes them quick. A session knows which of its joins are not announced yet,
// so a walk over the sessions finds those that exceed the queue. While Redis fails, nothing walks.
//
// A Presence is safe for concurrent use.
package presence

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/frame"
	"wsframe/framework/internal/ask"
	"wsframe/framework/internal/cluster"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/link"
	"wsframe/framework/internal/names"
	"wsframe/framework/internal/session"
	"wsframe/library/config"
)

const (
	// EventJoined and EventLeft are the events of an announcement; param is
	// {"room","id","nickname"}.
	EventJoined = "roomJoin"
	EventLeft   = "roomLeave"

	// AwayTime is how long a user may be without a connection before his leave is announced, so
	// that a phone that reconnects has not left.
	AwayTime = 5 * time.Second

	maxQueue  = 4096        // joins that wait for their announcement
	maxBatch  = 64          // joins in one call of Redis
	lookEvery = time.Second // the time between two looks for users who have left
)

// Cluster is what Redis knows of users in rooms (package cluster).
type Cluster interface {
	// Came notes users in rooms. fresh has a flag for each: the user was not in that room.
	Came(ctx context.Context, list []cluster.Present) (fresh []bool, err error)
	// Depart acquires the users who may have left for long enough. It asks here which of them have
	// a connection on any node, and calls left for each of the others. more: others are due, too.
	Depart(ctx context.Context, here func(context.Context, []cluster.Present) ([]bool, error), left func(cluster.Present)) (more bool, err error)
	// Leaving notes that a user may have left. notified: his join was announced. It does not wait.
	Leaving(p cluster.Present, notified bool)
}

// Link tells in which phase this worker is (package link).
type Link interface{ Phase() link.Phase }

// Config of a Presence.
type Config struct {
	Rooms   []string // patterns of rooms that announce all their members (presence.rooms)
	Hub     func() *hub.Hub
	Nodes   *ask.Nodes
	Link    Link
	Cluster func() Cluster
	// Publish sends a push to the room's members on all nodes. It does not wait.
	Publish func(room string, r *frame.Reply) error
	Log     *zap.Logger
}

// Presence announces joins and leaves. New makes one.
type Presence struct {
	cfg   Config
	queue chan join
	retry []join      // what Redis did not take; Run's own
	walks atomic.Bool // the next tick walks the sessions
	stop  chan struct{}
	done  chan struct{}
}

// join is a connection whose user has come into a room.
type join struct {
	conn *hub.Conn
	room string
}

// UserOut is the param of EventJoined and EventLeft.
type UserOut struct {
	Room     string `json:"room"` // a client may be in several rooms
	ID       string `json:"id"`
	Nickname string `json:"nickname"`
}

// New checks the patterns, and registers the question by which other nodes ask for users here.
func New(cfg Config) (*Presence, error) {
	if err := checkRooms(cfg.Rooms); err != nil {
		return nil, err
	}
	p := &Presence{cfg: cfg, queue: make(chan join, maxQueue), stop: make(chan struct{}), done: make(chan struct{})}
	ask.Handle(cfg.Nodes, opPresent, func(_ int64, q presentQuestion) ask.Answer[[]bool] {
		return ask.Answer[[]bool]{Value: p.here(q.Present)}
	})
	return p, nil
}

// checkRooms checks the patterns of presence.rooms. Names that are reserved for the server are no
// rooms.
func checkRooms(list []string) error {
	if err := config.CheckPresence(list); err != nil {
		return fmt.Errorf("presence.rooms: %w", err)
	}
	for _, pattern := range list {
		if prefix := names.Reserved(pattern); prefix != "" {
			return fmt.Errorf("presence.rooms: %.80q: no room begins with %s, which is reserved", pattern, prefix)
		}
	}
	return nil
}

// Close ends Run, and waits for the announcement that is under way: a few timeouts of Redis at
// most.
func (p *Presence) Close() {
	close(p.stop)
	<-p.done
}

// Covers tells whether a room announces all its members.
func (p *Presence) Covers(room string) bool {
	return slices.ContainsFunc(p.cfg.Rooms, func(pattern string) bool { ok, _ := path.Match(pattern, room); return ok })
}

// Came announces to a room that the connection's user has come into it. It does not wait.
func (p *Presence) Came(c *hub.Conn, room string) {
	select {
	case p.queue <- join{c, room}:
	default:
		p.walks.Store(true)
	}
}

// Walk has the sessions searched for joins that are not announced. It does not wait.
func (p *Presence) Walk() { p.walks.Store(true) }

// Run announces joins and leaves until Close.
func (p *Presence) Run() {
	defer close(p.done)
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for failed := false; !p.stopped(); {
		var err error
		queue := p.queue
		if len(p.retry) > 0 {
			queue = nil // Redis fails: they wait for the tick
		}
		select {
		case <-p.stop:
			return
		case first := <-queue:
			list := p.batch(first)
			if p.walks.Load() {
				continue // the walk finds them
			}
			err = p.announce(list)
		case <-tick.C:
			err = errors.Join(p.walk(), p.look())
		}
		if err != nil && !failed {
			p.cfg.Log.Warn("announcements of who comes and leaves wait", zap.Error(err))
		}
		failed = err != nil
	}
}

func (p *Presence) stopped() bool {
	select {
	case <-p.stop:
		return true
	default:
		return false
	}
}

// batch gives the joins of the queue, as many as one call of Redis takes.
func (p *Presence) batch(first join) []join {
	list := []join{first}
	for len(list) < maxBatch {
		select {
		case e := <-p.queue:
			list = append(list, e)
		default:
			return list
		}
	}
	return list
}

// walk announces the joins that Redis did not take, and then those that the queue could not take.
func (p *Presence) walk() error {
	if list := p.retry; len(list) > 0 {
		p.retry = nil
		if err := p.announce(list); err != nil {
			return err
		}
	}
	if !p.walks.Swap(false) {
		return nil
	}
	var list []join
	p.cfg.Hub().Each(func(c *hub.Conn) bool {
		for _, room := range session.Of(c).Unannounced() {
			list = append(list, join{c, room})
		}
		return true
	})
	for part := range slices.Chunk(list, maxBatch) {
		if p.stopped() {
			return nil
		}
		if err := p.announce(part); err != nil {
			p.walks.Store(true) // for the other parts
			return err
		}
	}
	return nil
}

// announce announces those of the joins that are not announced yet, of users who were not in the
// room before. After an error they are kept for the next tick.
func (p *Presence) announce(list []join) error {
	var conns []*hub.Conn
	var came []cluster.Present
	for _, e := range list {
		if one := session.Of(e.conn).Coming(e.conn, e.room); one.Ticket != "" && p.cfg.Hub().Get(e.conn.FD) == e.conn {
			conns = append(conns, e.conn)
			came = append(came, one)
		}
	}
	if len(came) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*p.cfg.Nodes.Timeout())
	defer cancel()
	fresh, err := p.cfg.Cluster().Came(ctx, came)
	if err != nil {
		p.retry = list
	}
	for i, e := range came {
		c := conns[i]
		there := session.Of(c).Announced(e.Room, e.Ticket, err == nil)
		if !there || p.cfg.Hub().Get(c.FD) != c {
			p.cfg.Cluster().Leaving(e, false) // Redis may have got the leave before the join
		}
		if err == nil && fresh[i] {
			err := p.notify(e, EventJoined)
			if err != nil {
				p.cfg.Log.Warn("announce who came", zap.Error(err))
			}
		}
	}
	return err
}

var errNotServing = errors.New("the connections are another worker's")

// look announces the leaves of users who were away for long enough, whatever their nodes were.
// During a reload the worker that has the connections does so.
func (p *Presence) look() error {
	if p.cfg.Link.Phase() != link.Serving {
		return nil
	}
	for {
		more, err := p.cfg.Cluster().Depart(context.Background(), p.anywhere, func(e cluster.Present) {
			if err := p.notify(e, EventLeft); err != nil {
				p.cfg.Log.Warn("announce who left", zap.Error(err))
			}
		})
		if errors.Is(err, errNotServing) {
			return nil
		}
		if err != nil || !more {
			return err
		}
		if p.stopped() {
			return nil
		}
	}
}

// anywhere asks all nodes which of the users are in their rooms. A node that does not answer may
// have them all: then it fails, and is called again until that node answers or is declared dead.
func (p *Presence) anywhere(ctx context.Context, list []cluster.Present) ([]bool, error) {
	here := p.here(list)
	if !p.cfg.Link.Phase().Owns() { // looked at last: the connections may have gone meanwhile
		return nil, errNotServing
	}
	if !slices.Contains(here, false) {
		return here, nil
	}
	understood := true
	err := ask.Others(ctx, p.cfg.Nodes, opPresent, presentQuestion{list}, func(there []bool) bool {
		if understood = len(there) == len(here); !understood {
			return true // it is of another version
		}
		for i, yes := range there {
			here[i] = here[i] || yes
		}
		return !slices.Contains(here, false)
	})
	if err == nil && !understood {
		err = ask.ErrPartial
	}
	return here, err
}

// presentQuestion asks which of the users are in their rooms. The answer has a flag for each.
type presentQuestion struct {
	Present []cluster.Present `json:"p,omitempty"`
}

var opPresent = ask.Op[presentQuestion, []bool]{Name: "present"}

// here tells which of the users have a connection on this node that is announced in the room.
func (p *Presence) here(list []cluster.Present) []bool {
	rooms := map[string]map[string]bool{}
	here := make([]bool, len(list))
	for i, e := range list {
		ids, known := rooms[e.Room]
		if !known {
			ids = map[string]bool{}
			for _, c := range p.cfg.Hub().RoomMembers(e.Room) {
				if id := session.Of(c).AnnouncedAs(e.Room); id != "" && !c.Ended() {
					ids[id] = true
				}
			}
			rooms[e.Room] = ids
		}
		here[i] = ids[e.ID]
	}
	return here
}

// notify publishes a user's join or leave to the room's members.
func (p *Presence) notify(e cluster.Present, event string) error {
	return p.cfg.Publish(e.Room, &frame.Reply{Status: 200, Event: event, Param: UserOut{e.Room, e.ID, e.Nickname}})
}
