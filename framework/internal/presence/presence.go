// Package presence tells the members of a room who comes and who leaves, so that a user counts once whatever the number of his
// connections and nodes, and a reconnect through another node is none.
//
// Who is there stands in Redis, and so does who may have left: any node looks whether he is away for good (cluster.Depart). All of it
// happens after the message path, which waits for none of it. A session knows which of its comings are not announced yet, so the queue
// only makes it quick: what exceeds it, and what Redis did not take, is found again by a walk over the sessions.
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
)

const (
	// EventJoined and EventLeft are the events of an announcement; param is {"room","id","nickname"}.
	EventJoined = "roomJoin"
	EventLeft   = "roomLeave"

	// AwayTime is how long a user may be away before his leaving is announced: a phone that reconnects was never away.
	AwayTime = 5 * time.Second

	comingQueue = 4096 // announcements that wait
	comingBatch = 64   // of them, in one call of Redis
	lookEvery   = time.Second
)

// Cluster is what Redis knows of who is where (package cluster).
type Cluster interface {
	Came(ctx context.Context, list []cluster.Present) (fresh []bool, err error)
	Depart(ctx context.Context, here func(context.Context, []cluster.Present) ([]bool, error), left func(cluster.Present)) (more bool, err error)
	Leaving(p cluster.Present, notified bool)
}

// Config of a Presence.
type Config struct {
	Rooms   []string // patterns of those that announce all their members (presence.rooms)
	Hub     func() *hub.Hub
	Nodes   *ask.Nodes
	Link    *link.Link
	Cluster func() Cluster
	Publish func(room string, r *frame.Reply) error // to the room's members on all nodes; it does not wait
	Log     *zap.Logger
}

// Presence is made by New.
type Presence struct {
	cfg    Config
	queue  chan coming
	behind atomic.Bool // sessions are to be walked
	stop   chan struct{}
	done   chan struct{}
}

// coming is a connection whose user has come into a room.
type coming struct {
	conn *hub.Conn
	room string
}

// userOut is the param of an announcement.
type userOut struct {
	Room     string `json:"room"` // a client may be in several
	ID       string `json:"id"`
	Nickname string `json:"nickname"`
}

// New checks the patterns, and has this node answer others.
func New(cfg Config) (*Presence, error) {
	if err := checkRooms(cfg.Rooms); err != nil {
		return nil, err
	}
	p := &Presence{cfg: cfg, queue: make(chan coming, comingQueue), stop: make(chan struct{}), done: make(chan struct{})}
	ask.Handle(cfg.Nodes, opPresent, func(_ int64, q presentQuestion) ask.Answer[[]bool] {
		return ask.Answer[[]bool]{Value: p.here(q.Present)}
	})
	return p, nil
}

// checkRooms checks the configuration's patterns.
func checkRooms(list []string) error {
	for _, pattern := range list {
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
			return fmt.Errorf("presence.rooms: %.80q: the pattern cannot be read; wanted is one like CHAT_*", pattern)
		}
		if prefix := names.Reserved(pattern); prefix != "" {
			return fmt.Errorf("presence.rooms: %.80q: no room begins with %s, which is reserved", pattern, prefix)
		}
	}
	return nil
}

// Close lets what has begun end: a few timeouts of Redis at most.
func (p *Presence) Close() {
	close(p.stop)
	<-p.done
}

// Covers tells whether a room announces all its members.
func (p *Presence) Covers(room string) bool {
	return slices.ContainsFunc(p.cfg.Rooms, func(pattern string) bool { ok, _ := path.Match(pattern, room); return ok })
}

// Came has a room hear of a connection whose user has come into it.
func (p *Presence) Came(c *hub.Conn, room string) {
	select {
	case p.queue <- coming{c, room}:
	default:
		p.behind.Store(true)
	}
}

// Walk has the sessions looked through for comings that are not announced.
func (p *Presence) Walk() { p.behind.Store(true) }

// Run announces until Close.
func (p *Presence) Run() {
	defer close(p.done)
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for waits := false; ; {
		var err error
		select {
		case <-p.stop:
			return
		case first := <-p.queue:
			if list := p.take(first); !p.behind.Load() { // else they are found by the walk
				err = p.announce(list)
			}
		case <-tick.C:
			err = errors.Join(p.walk(), p.look())
		}
		if err != nil && !waits {
			p.cfg.Log.Warn("announcements of who comes and leaves wait", zap.Error(err))
		}
		waits = err != nil
	}
}

// take gives what has come so far.
func (p *Presence) take(first coming) []coming {
	list := []coming{first}
	for len(list) < comingBatch {
		select {
		case e := <-p.queue:
			list = append(list, e)
		default:
			return list
		}
	}
	return list
}

// walk announces whom the queue did not.
func (p *Presence) walk() error {
	if !p.behind.Swap(false) {
		return nil
	}
	var list []coming
	p.cfg.Hub().Each(func(c *hub.Conn) bool {
		for _, room := range session.Of(c).Unannounced() {
			list = append(list, coming{c, room})
		}
		return true
	})
	for part := range slices.Chunk(list, comingBatch) {
		if err := p.announce(part); err != nil {
			return err
		}
	}
	return nil
}

// announce tells of those who are not told yet and were not there before. After an error the walk comes back to them.
func (p *Presence) announce(list []coming) error {
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
		p.behind.Store(true)
	}
	for i, e := range came {
		c := conns[i]
		there := session.Of(c).Announced(e.Room, e.Ticket, err == nil)
		if !there || p.cfg.Hub().Get(c.FD) != c {
			p.cfg.Cluster().Leaving(e, false) // its departure may have been noted before its coming
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

// look announces who was away for long enough, of whatever node. During a reload the worker does that has the connections.
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
		select {
		case <-p.stop:
			return nil
		default:
		}
	}
}

// anywhere asks all nodes who is in his room. One that does not answer may have him: it is asked again, until it is declared dead.
func (p *Presence) anywhere(ctx context.Context, list []cluster.Present) ([]bool, error) {
	here := p.here(list)
	if !p.cfg.Link.Phase().Owns() { // maybe before that
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

// presentQuestion asks who of those is in his room. The answer has one flag for each.
type presentQuestion struct {
	Present []cluster.Present `json:"p,omitempty"`
}

var opPresent = ask.Op[presentQuestion, []bool]{Name: "present"}

// here tells who of those has a connection here that is announced in his room.
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

// notify tells the room's members of a user.
func (p *Presence) notify(e cluster.Present, event string) error {
	return p.cfg.Publish(e.Room, &frame.Reply{Status: 200, Event: event, Param: userOut{e.Room, e.ID, e.Nickname}})
}
