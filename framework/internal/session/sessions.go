package session

import (
	"context"
	"errors"

	"go.uber.org/zap"

	"wsframe/framework/internal/ask"
	"wsframe/framework/internal/cluster"
	"wsframe/framework/internal/history"
	"wsframe/framework/internal/hub"
)

// Cluster records changes for Redis (package cluster). Its methods do not wait.
type Cluster interface {
	KeyAdded(fd int64, key string)
	KeyRemoved(fd int64, key string)
	CloseKeyAdded(fd int64, key string)
	CloseKeyRemoved(fd int64, key string)
	ListenerAdded(fd int64, name string)
	ListenerRemoved(fd int64, name string)
}

// Presence announces members to their rooms (package presence). Its methods do not wait.
type Presence interface {
	Covers(room string) bool       // whether the room announces all its members
	Came(c *hub.Conn, room string) // queues an announcement
	Walk()                         // searches all sessions for announcements that were not queued
}

// Interest has this node receive what is sent to a room (package link).
type Interest interface {
	Want(ctx context.Context, room string) (done func())
	Wanted(room string) bool
}

// everything is the Interest of a node that receives everything.
type everything struct{}

func (everything) Want(context.Context, string) func() { return func() {} }
func (everything) Wanted(string) bool                  { return true }

// Config of Sessions.
type Config struct {
	Hub      *hub.Hub
	Nodes    *ask.Nodes
	History  *history.History
	Link     Link
	Interest Interest // nil = all rooms' pushes are received
	Cluster  func() Cluster
	Presence Presence
	// Leaving records that a user may have left a room. notified: the room's members know of him.
	Leaving func(p cluster.Present, notified bool)

	Keys        int      // limit of a connection's close keys, and of its close listeners
	UIDTypes    []string // users.uid_types
	SecondLogin string   // users.second_login
	// Listener returns the mounted name of a controller that has OnClose.
	Listener func(name string) (mounted string, err error)

	Life    context.Context // ends when this worker no longer serves
	Protect func(what string, f func())
	Log     *zap.Logger
}

// Sessions changes the sessions of connections, of this node and of others.
type Sessions struct {
	Logins *Logins

	cfg Config
}

// NewSessions makes Sessions, and registers the handlers of its questions.
func NewSessions(cfg Config) *Sessions {
	if cfg.Interest == nil {
		cfg.Interest = everything{}
	}
	ss := &Sessions{
		Logins: &Logins{hub: cfg.Hub, link: cfg.Link, policy: cfg.SecondLogin, life: cfg.Life, log: cfg.Log},
		cfg:    cfg,
	}
	ss.handleQuestions()
	return ss
}

// forward has a change made by the process to which the connection has moved. The caller then makes
// the change on its own copy too, without a note for Redis: the action that still runs here sees
// it.
func forward[Q, A any](ctx context.Context, ss *Sessions, op ask.Op[Q, A], c *hub.Conn, q Q) error {
	err := ask.Forward(ctx, ss.cfg.Nodes, op, c.FD, q)
	if errors.Is(err, ask.ErrGone) {
		return hub.ErrClosed
	}
	return err
}
