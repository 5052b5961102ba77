package framework

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/internal/ask"
	"wsframe/framework/internal/cluster"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/link"
	"wsframe/framework/internal/names"
	"wsframe/framework/internal/session"
)

// Events of announced rooms; param is {"room","id","nickname"}.
const (
	EventJoined = "roomJoin"
	EventLeft   = "roomLeave"
)

// leaveTime is how long a user may be away before his leaving is announced: a phone that reconnects was never away.
const leaveTime = 5 * time.Second

const (
	comingQueue = 4096 // announcements that wait
	comingBatch = 64   // of them, in one call of Redis
	lookEvery   = time.Second
)

// presences announces who comes into a room and who leaves it, to its members, so that a user counts once whatever the number of his
// connections and nodes, and a reconnect through another node is none. Who is there stands in Redis, and so does who may have left:
// any node looks whether he is away for good (cluster.Depart). All of it happens behind the message path.
//
// A session knows which of its comings are not told yet, so the queue only makes it quick: what exceeds it, and what Redis did not
// take, is found again by a walk over the sessions.
type presences struct {
	app    *App
	rooms  []string // patterns of those that announce without being asked to
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

type presentUser struct {
	Room     string `json:"room"` // a client may be in several
	ID       string `json:"id"`
	Nickname string `json:"nickname"`
}

// presenceRooms checks the configuration's patterns.
func presenceRooms(list []string) ([]string, error) {
	for _, pattern := range list {
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
			return nil, fmt.Errorf("presence.rooms: %.80q: the pattern cannot be read; wanted is one like CHAT_*", pattern)
		}
		if prefix := names.Reserved(pattern); prefix != "" {
			return nil, fmt.Errorf("presence.rooms: %.80q: no room begins with %s, which is reserved", pattern, prefix)
		}
	}
	return list, nil
}

func (p *presences) init(a *App) {
	p.app, p.queue, p.stop, p.done = a, make(chan coming, comingQueue), make(chan struct{}), make(chan struct{})
}

// close lets what has begun end: a few timeouts of Redis at most.
func (p *presences) close() {
	close(p.stop)
	<-p.done
}

// Covers tells whether a room announces all its members.
func (p *presences) Covers(room string) bool {
	return slices.ContainsFunc(p.rooms, func(pattern string) bool { ok, _ := path.Match(pattern, room); return ok })
}

// Came has a room hear of a connection whose user has come into it.
func (p *presences) Came(c *hub.Conn, room string) {
	select {
	case p.queue <- coming{c, room}:
	default:
		p.behind.Store(true)
	}
}

// Walk has the sessions looked through for comings that are not announced.
func (p *presences) Walk() { p.behind.Store(true) }

func (p *presences) run() {
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
			p.app.log.Warn("announcements of who comes and leaves wait", zap.Error(err))
		}
		waits = err != nil
	}
}

// take gives what has come so far.
func (p *presences) take(first coming) []coming {
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
func (p *presences) walk() error {
	if !p.behind.Swap(false) {
		return nil
	}
	var list []coming
	p.app.hub.Each(func(c *hub.Conn) bool {
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
func (p *presences) announce(list []coming) error {
	a := p.app
	var conns []*hub.Conn
	var came []cluster.Present
	for _, e := range list {
		if p := session.Of(e.conn).Coming(e.conn, e.room); p.Ticket != "" && a.hub.Get(e.conn.FD) == e.conn {
			conns = append(conns, e.conn)
			came = append(came, p)
		}
	}
	if len(came) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*a.askTime)
	defer cancel()
	fresh, err := a.node.Came(ctx, came)
	if err != nil {
		p.behind.Store(true)
	}
	for i, e := range came {
		c := conns[i]
		there := session.Of(c).Announced(e.Room, e.Ticket, err == nil)
		if !there || a.hub.Get(c.FD) != c {
			a.node.Leaving(e, false) // its departure may have been noted before its coming
		}
		if err == nil && fresh[i] {
			err := a.SendToRoom(e.Room, OK(EventJoined, "", presentUser{e.Room, e.ID, e.Nickname}))
			if err != nil {
				a.log.Warn("announce who came", zap.Error(err))
			}
		}
	}
	return err
}

var errNotServing = errors.New("the connections are another worker's")

// look announces who was away for long enough, of whatever node. During a reload the worker does that has the connections.
func (p *presences) look() error {
	a := p.app
	if a.link.Phase() != link.Serving {
		return nil
	}
	for {
		more, err := a.node.Depart(context.Background(), p.here, func(e cluster.Present) {
			if err := a.SendToRoom(e.Room, OK(EventLeft, "", presentUser{e.Room, e.ID, e.Nickname})); err != nil {
				a.log.Warn("announce who left", zap.Error(err))
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

// here asks all nodes who is in his room. One that does not answer may have him: it is asked again, until it is declared dead.
func (p *presences) here(ctx context.Context, list []cluster.Present) ([]bool, error) {
	a := p.app
	here := a.present(list)
	if !a.link.Phase().Owns() { // maybe before that
		return nil, errNotServing
	}
	if a.alone || !slices.Contains(here, false) {
		return here, nil
	}
	understood := true
	err := ask.Others(ctx, a.nodes, opPresent, presentQuestion{list}, func(there []bool) bool {
		if understood = len(there) == len(here); !understood {
			return true // it is of another version
		}
		for i, yes := range there {
			here[i] = here[i] || yes
		}
		return !slices.Contains(here, false)
	})
	if err == nil && !understood {
		err = ErrPartial
	}
	return here, err
}

// presentQuestion asks who of those is in his room. The answer has one flag for each.
type presentQuestion struct {
	Present []cluster.Present `json:"p,omitempty"`
}

var opPresent = ask.Op[presentQuestion, []bool]{Name: "present"}

// present tells who of those has a connection here that is announced in his room.
func (a *App) present(list []cluster.Present) []bool {
	rooms := map[string]map[string]bool{}
	here := make([]bool, len(list))
	for i, e := range list {
		ids, known := rooms[e.Room]
		if !known {
			ids = map[string]bool{}
			for _, c := range a.hub.RoomMembers(e.Room) {
				if id := session.Of(c).Announces(e.Room); id != "" && !c.Ended() {
					ids[id] = true
				}
			}
			rooms[e.Room] = ids
		}
		here[i] = ids[e.ID]
	}
	return here
}
