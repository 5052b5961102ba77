package framework

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"wsframe/framework/cluster"
	"wsframe/framework/hub"
)

// Events of announced rooms; param is {"room","id","nickname"}.
const (
	EventJoined = "roomJoin"
	EventLeft   = "roomLeave"
)

// leaveTime is how long a user may be away before his leaving is announced: a phone that reconnects was never away.
const leaveTime = 5 * time.Second

// presences announces who comes into a room and who leaves it, to its members. Who is announced stands in Redis, a hash for each
// room, so that a user counts once whatever the number of his connections and nodes, and a reconnect through another node is none.
// All of it happens behind the message path; what exceeds the queue is not announced.
type presences struct {
	app   *App
	queue chan presence
	ctx   context.Context
	stop  context.CancelFunc
	done  chan struct{}

	mu      sync.Mutex
	leaving map[presence]*time.Timer
	closed  bool
}

// presence is a user in a room who has come, or whose absence is to be looked at.
type presence struct {
	Room, ID, Nickname string
	Came               bool
}

type presentUser struct {
	Room     string `json:"room"` // a client may be in several
	ID       string `json:"id"`
	Nickname string `json:"nickname"`
}

func newPresences(a *App) *presences {
	p := &presences{app: a, queue: make(chan presence, 4096), done: make(chan struct{}), leaving: map[presence]*time.Timer{}}
	p.ctx, p.stop = context.WithCancel(context.Background())
	go p.run()
	return p
}

func (p *presences) close() {
	p.mu.Lock()
	p.closed = true
	for _, t := range p.leaving {
		t.Stop()
	}
	p.mu.Unlock()
	p.stop()
	<-p.done
}

func (p *presences) came(c *hub.Conn, room string) {
	if c.Auth.ID != "" {
		p.put(presence{room, c.Auth.ID, c.Auth.Nickname, true})
	}
}

// left looks later whether the user is away for good.
func (p *presences) left(id Identity, room string) {
	if id.ID != "" {
		p.later(presence{Room: room, ID: id.ID, Nickname: id.Nickname})
	}
}

func (p *presences) later(e presence) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, waits := p.leaving[e]; waits || p.closed {
		return
	}
	p.leaving[e] = time.AfterFunc(leaveTime, func() {
		p.mu.Lock()
		delete(p.leaving, e)
		p.mu.Unlock()
		p.put(e)
	})
}

// pending are the departures that are to be looked at; another worker goes on with them.
func (p *presences) pending() []presence {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]presence, 0, len(p.leaving))
	for e := range p.leaving {
		list = append(list, e)
	}
	return list
}

func (p *presences) put(e presence) {
	select {
	case p.queue <- e:
	case <-p.ctx.Done():
	default:
		p.app.log.Warn("too many announcements: one is left out")
	}
}

func (p *presences) run() {
	defer close(p.done)
	for {
		select {
		case <-p.ctx.Done():
			return
		case e := <-p.queue:
			if err := p.look(e); err != nil && p.ctx.Err() == nil {
				p.app.log.Warn("presence", zap.Error(err))
				if !e.Came {
					p.later(e)
				}
			}
		}
	}
}

func (p *presences) look(e presence) error {
	a := p.app
	ctx, cancel := context.WithTimeout(p.ctx, 2*a.askTime)
	defer cancel()
	key, event := a.deps.Prefix+"WSFRAME_PRESENT_"+e.Room, EventJoined
	var changed bool
	var err error
	if e.Came {
		changed, err = a.deps.Redis.HSetNX(ctx, key, e.ID, e.Nickname).Result()
	} else {
		event = EventLeft
		here := false
		err = a.ask(ctx, e.Room, query{Op: "inRoom", UID: e.ID, Room: e.Room}, func(r reply) bool { here = r.Found; return here })
		if err != nil || here {
			return err
		}
		var n int64
		n, err = a.deps.Redis.HDel(ctx, key, e.ID).Result()
		changed = n == 1
	}
	if err != nil || !changed {
		return err
	}
	return a.SendToRoom(e.Room, OK(event, "", presentUser{e.Room, e.ID, e.Nickname}))
}

// userInRoom tells whether a user has a connection in a room here.
func (a *App) userInRoom(uid, room string) bool {
	return slices.ContainsFunc(a.hub.User(uid), func(c *hub.Conn) bool { return c.Auth.ID == uid && !c.Ended() && c.InRoom(room) })
}

// orphaned looks after the announcements of a connection whose process died.
func (p *presences) orphaned(ctx context.Context, id Identity, o cluster.Orphan) {
	if id.ID == "" || len(o.Keys) == 0 {
		return
	}
	cmds := make([]*redis.BoolCmd, len(o.Keys))
	_, err := p.app.deps.Redis.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for i, room := range o.Keys {
			cmds[i] = pipe.HExists(ctx, p.app.deps.Prefix+"WSFRAME_PRESENT_"+room, id.ID)
		}
		return nil
	})
	if err != nil {
		p.app.log.Warn("presence of a dead connection", zap.Error(err))
		return
	}
	for i, room := range o.Keys {
		if cmds[i].Val() {
			p.left(id, room)
		}
	}
}
