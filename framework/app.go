package framework

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/auth"
	"wsframe/framework/bus"
	"wsframe/framework/frame"
	"wsframe/framework/gateway"
	"wsframe/framework/internal/accept"
	"wsframe/framework/internal/ask"
	"wsframe/framework/internal/clients"
	"wsframe/framework/internal/closing"
	"wsframe/framework/internal/cluster"
	"wsframe/framework/internal/directory"
	"wsframe/framework/internal/envelope"
	"wsframe/framework/internal/history"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/inbox"
	"wsframe/framework/internal/isolation"
	"wsframe/framework/internal/link"
	"wsframe/framework/internal/presence"
	"wsframe/framework/internal/publish"
	"wsframe/framework/internal/question"
	"wsframe/framework/internal/roomsync"
	"wsframe/framework/internal/session"
	"wsframe/framework/internal/wire"
	"wsframe/library/cache"
	"wsframe/library/config"
)

// App is one worker's application: it accepts, routes, answers and cleans up. Safe for concurrent
// use.
//
//	app, err := framework.New(ctx, framework.Options{…})
//	go app.Serve(listener)
//	…
//	err = app.Shutdown(ctx, framework.CloseGoingAway, "", 0)
type App struct {
	*Server // the parts that controllers and back ends reach

	router    *router
	lifecycle *lifecycle
	entrance  *entrance
	socketio  *pageDoor
	handler   hub.Handler

	port      *accept.Server
	hub       *hub.Hub
	node      *cluster.Node
	presence  *presence.Presence
	roomsync  *roomsync.Syncer
	isolation *isolation.Watch

	closers   []func(context.Context) error // of the parts, in the order in which they were made
	closeOnce sync.Once
}

// Options of an App.
type Options struct {
	Config      config.App
	Deps        Deps
	Controllers []Controller
	Tokens      *auth.Tokens // nil only where the auth check is off
	Stores      Stores

	NodeID       string        // names this server in Redis; stable over reloads and restarts of its worker
	Place        string        // of this process, for cluster.Config
	Alone        bool          // Redis is this node's own: there are no other nodes, and no lease is needed
	Reload       bool          // another worker of this node still serves
	StoreTimeout time.Duration // of one Redis call, and of a question to other nodes; 500 ms
	Lease        time.Duration // for how long a silent node counts as alive; 15 s

	Address string    // of the outside port, for NodeSign; "" = not shown
	Machine string    // IP address of this machine, for NodeSign; "" = unknown
	Version string    // for NodeSign
	Begun   time.Time // start of the server, for NodeSign; zero = now
	Static  fs.FS     // served under /static/ on the outside port; nil = nothing

	Gateway  *Gateway  // nil = no PHP back ends of GatewayWorker
	SocketIO *SocketIO // nil = no pages of socket.io

	// Echo replaces routing by an echo of every message, for protocol conformance tests.
	Echo bool
}

func (o Options) withDefaults() Options {
	if o.Deps.Log == nil {
		o.Deps.Log = zap.NewNop()
	}
	o.Stores.Cluster = cmp.Or(o.Stores.Cluster, o.Deps.Redis)
	o.Stores.Bus = cmp.Or(o.Stores.Bus, o.Deps.Redis)
	o.StoreTimeout = cmp.Or(o.StoreTimeout, 500*time.Millisecond)
	o.Lease = cmp.Or(o.Lease, cluster.DefaultLease)
	return o
}

// about is the part of this node's sign of life that does not change.
func (o *Options) about(now time.Time) NodeSign {
	s := NodeSign{Address: o.Address, Machine: o.Machine, Version: o.Version, Since: now.Unix()}
	if !o.Begun.IsZero() {
		s.Since = o.Begun.Unix()
	}
	s.Gateway = o.Gateway.announced()
	s.Host, _ = os.Hostname() // unknown where it fails
	return s
}

// New mounts the controllers, reaches Redis and takes this node's place in it. Every misuse is
// reported at once, by name.
func New(ctx context.Context, o Options) (*App, error) {
	o = o.withDefaults()
	a, err := assemble(&o)
	if err != nil {
		return nil, err
	}
	if err := a.join(ctx, &o); err != nil {
		a.lifecycle.end()
		_ = a.closeParts(ctx) // it says less than err
		return nil, fmt.Errorf("take this node's place in Redis: %w", nameTaken(err, o.about(time.Now())))
	}
	a.node.Run()
	go a.presence.Run()
	a.closers = append(a.closers, func(context.Context) error { a.presence.Close(); return nil })
	if !o.Reload { // else the other nodes know this one
		if err := a.directory.Greet(ctx); err != nil {
			a.log.Info("not all nodes have heard of this one yet", zap.Error(err))
		}
	}
	go a.isolation.Run(a.lifecycle.life)
	if o.Reload { // the other worker's timers still run
		return a, nil
	}
	if err := a.Start(); err != nil {
		return nil, errors.Join(err, a.Close(ctx))
	}
	return a, nil
}

// Examine returns the routes that New would serve, or the error that it would return, without
// taking part in anything.
func Examine(o Options) ([]Route, error) {
	o = o.withDefaults()
	a, err := assemble(&o)
	if err != nil {
		return nil, err
	}
	a.lifecycle.end()
	return a.router.routes(), nil
}

// assemble makes an App as far as only its options are needed.
func assemble(o *Options) (a *App, err error) {
	if o.Tokens == nil && o.Config.Auth.Check {
		return nil, errors.New("the auth check is on, but there are no token keys")
	}
	cfg, lim := &o.Config, &o.Config.Limits
	if _, wrong := declared.Source(); len(wrong) > 0 {
		return nil, errors.Join(wrong...)
	}
	a = &App{Server: &Server{log: o.Deps.Log, timeout: o.StoreTimeout, gateway: o.Gateway, questions: &question.Book{}, drain: o.Config.Limits.StreamDrain}}
	if a.router, err = newRouter(withSystem(o.Controllers)); err != nil {
		return nil, err
	}
	a.lifecycle = newLifecycle(a.Server, a.router, a)
	a.entrance = &entrance{server: a.Server, authenticate: checker(cfg.Auth.Check, o.Tokens, a.router.authenticator), greets: a.router.greets()}
	a.socketio = newPageDoor(a.entrance, o.SocketIO, lim, a.log)
	dispatcher := &dispatcher{
		server: a.Server, router: a.router, decoding: frame.Options{MaxDepth: lim.JSONDepth},
		ack: cfg.Protocol.ReceiveAck, escape: cfg.Protocol.EscapeHTML,
	}
	if dispatcher.heartbeats, err = newHeartbeats(cfg.Heartbeat.Texts); err != nil {
		return nil, fmt.Errorf("heartbeat.texts: %w", err)
	}
	a.handler = handler{dispatcher, a.entrance}
	if o.Echo {
		a.handler = echo{a.entrance}
	}
	a.port, err = accept.New(accept.Config{
		HandshakeTimeout: lim.HandshakeTimeout, HandshakeBytes: lim.HandshakeBytes,
		MaxConnections: lim.MaxConnections, ConnectionsPerIP: lim.ConnectionsPerIP, RefusedRate: lim.RefusedRate,
		Origins: cfg.Origins, AllowNoOrigin: cfg.AllowNoOrigin, TrustedProxies: cfg.TrustedProxies, TrustedHeader: cfg.TrustedHeader,
		Static: o.Static, Log: a.log, Authenticate: a.entrance.authenticate, Unavailable: a.entrance.unavailable, Open: a.entrance.open,
		Pages: withServer(a.Server, slices.Clone(a.router.pages)), Drain: lim.ReloadDrain,
	})
	if err != nil {
		return nil, err
	}
	substreams := cfg.Cluster.Substreams
	if o.Alone {
		substreams = 0 // the one node reads everything, and copies would cost twice the memory
	}
	a.link = link.New(bus.Config{
		Client: o.Stores.Bus, Prefix: o.Deps.Prefix, Alone: o.Alone, Timeout: o.StoreTimeout, Interest: bus.NewInterest(bus.Shards, substreams),
		Receive: a.received, Lost: func(concerns func(string) bool) { a.history.Lost(concerns) }, Log: a.log,
	}, o.Reload)
	a.history, err = history.New(history.Config{Rules: cfg.History.Rooms, OutboxBytes: lim.OutboxBytes, Link: a.link, Log: a.log})
	if err != nil {
		return nil, err
	}
	a.nodes = ask.New(ask.Config{
		Node: o.NodeID, Alone: o.Alone, Timeout: o.StoreTimeout, Link: a.link, Members: func() ask.Members { return a.node.Peers },
		Inbox: inbox.New(inbox.Config{Client: o.Stores.Bus, Prefix: o.Deps.Prefix, Timeout: o.StoreTimeout, Log: a.log}),
		Here:  func(fd int64) bool { return here(a.hub, fd) }, Frozen: func() bool { return a.hub.Frozen() },
		Errors: errorCodes, Protect: protector(a.log), Log: a.log,
	})
	a.presence, err = presence.New(presence.Config{
		Rooms: cfg.Presence.Rooms, Hub: func() *hub.Hub { return a.hub }, Nodes: a.nodes, Link: a.link,
		Cluster: func() presence.Cluster { return a.node.Presence }, Publish: func(room string, r *Reply) error { return a.SendToRoom(room, r) }, Log: a.log,
	})
	return a, err
}

// join makes the parts that serve connections, and those that take this node's place in Redis.
func (a *App) join(ctx context.Context, o *Options) (err error) {
	cfg, lim := &o.Config, &o.Config.Limits
	a.hub = hub.New(a.handler, hub.Config{
		Log:          a.log,
		MessageBytes: lim.MessageBytes, Fragments: lim.Fragments, MessageTime: lim.MessageTime,
		MessageRate: lim.MessageRate, MessageBurst: lim.MessageBurst,
		OutboxBytes: lim.OutboxBytes, OutboxMessages: lim.OutboxMessages, WriteTimeout: lim.WriteTimeout,
		PingInterval: cfg.Heartbeat.Ping, IdleTimeout: cfg.Heartbeat.Idle,
		RoomFlush: cmp.Or(lim.RoomFlush, -1), RoomsPerConn: lim.RoomsPerConnection, Interest: a.link.Interest(),
		Compression: cfg.Compression.Enabled,
		Pages:       hub.PageConfig{Translate: a.socketio.pages.Translate},
	})
	a.streams = newStreams(a.Server, a.nodes, a.hub.Get, o.Alone, protector(a.log))
	a.history.Serve(a.lifecycle.life, a.hub.Rooms)
	a.closers = append(a.closers,
		func(context.Context) error { a.hub.Close(); return nil },
		func(context.Context) error { a.history.GiveUp(); return nil })
	a.sessions = session.NewSessions(session.Config{
		Hub: a.hub, Nodes: a.nodes, History: a.history, Link: a.link, Interest: a.link, Cluster: func() session.Cluster { return a.node.Bookkeeping }, Presence: a.presence,
		Leaving: func(p cluster.Present, notified bool) { a.node.Presence.Leaving(p, notified) },
		Keys:    lim.CloseKeysPerConnection, UIDTypes: cfg.Users.UIDTypes, SecondLogin: cfg.Users.SecondLogin, Listener: a.router.listener,
		Life: a.lifecycle.life, Protect: protector(a.log), Log: a.log,
	})
	a.clients = clients.New(o.Gateway.config(a.hub, a.sessions))
	now := time.Now()
	a.directory = directory.New(directory.Config{
		Hub: a.hub, Nodes: a.nodes, Cluster: func() directory.Cluster { return a.node.Peers },
		Node: o.NodeID, Alone: o.Alone, About: o.about(now), Since: now,
	})
	bookkeeping := cluster.Config{
		Client: o.Stores.Cluster, Prefix: o.Deps.Prefix, NodeID: o.NodeID, Place: o.Place, Reload: o.Reload, Timeout: o.StoreTimeout,
		Lease: o.Lease, Silence: o.Lease, Log: a.log, About: a.sign, Away: presence.AwayTime,
		Live: func(yield func(fd int64) bool) { a.hub.Each(func(c *hub.Conn) bool { return yield(c.FD) }) },
		State: func(fd int64) (cluster.Entry, bool) {
			c := a.hub.Get(fd)
			if c == nil {
				return cluster.Entry{}, false
			}
			return session.Entry(c, c.Rooms()), true
		},
		Orphan:  func(ctx context.Context, o cluster.Orphan) { a.closer.Orphan(ctx, o) },
		Alive:   func(fd int64) bool { return a.hub.Get(fd) != nil },
		Deposed: func(floor int64) { a.closer.Deposed(floor) },
	}
	if o.Alone {
		bookkeeping.Lease = 0
		bookkeeping.Sync = func(ctx context.Context) error { return cache.Sync(ctx, o.Stores.Cluster) }
	}
	if a.node, err = cluster.Start(ctx, bookkeeping); err != nil {
		return err
	}
	a.closers = append(a.closers, a.node.Stop, a.link.Leave)
	a.attach(o)
	if o.Reload { // the other worker's place is taken over later
		return nil
	}
	return a.link.Join(ctx)
}

// attach makes the parts that need this node's bookkeeping, before anything comes from other nodes.
func (a *App) attach(o *Options) {
	a.closer = closing.New(closing.Config{
		Hub: a.hub, Nodes: a.nodes, Link: a.link, Sessions: a.sessions, Cluster: a.node.Owners, Notify: a.lifecycle.closed, Departed: o.Gateway.departed, Protect: protector(a.log), Log: a.log,
	})
	a.roomsync = roomsync.New(roomsync.Config{
		Hub: a.hub, Sessions: a.sessions, Cluster: a.node.Rooms, Log: a.log,
		Notify: func(room string) {
			if a.link.Interest() != nil && !o.Alone {
				_ = a.link.Send(&bus.Message{Kind: envelope.Changed, Body: []byte(room)}) // else a later publish tells
			}
		},
		IsMember: func(ctx context.Context, room string, fd int64) (bool, error) {
			return o.Stores.Cluster.SIsMember(ctx, o.Deps.Prefix+room, fd).Result()
		},
	})
	a.publisher = publish.New(publish.Config{
		Hub: a.hub, Nodes: a.nodes, Link: a.link, History: a.history, Alone: o.Alone, OutboxBytes: o.Config.Limits.OutboxBytes, Log: a.log,
		Isolated: a.node.Lease.Isolated, Published: a.roomsync.Published, Sync: func(ctx context.Context) error { return cache.Sync(ctx, o.Stores.Bus) },
	})
	a.isolation = isolation.New(isolation.Config{
		Policy: o.Config.Cluster.Isolated, Spread: 2 * o.Lease, Hub: a.hub, Cluster: a.node.Lease, Log: a.log,
	})
	a.entrance.hub, a.entrance.port, a.entrance.number, a.entrance.evicts = a.hub, a.port, a.node.Numbers.NextFD, a.isolation.Evicts
	a.entrance.opened = func(c *hub.Conn) { a.node.Bookkeeping.Opened(session.Entry(c, nil)) }
	a.closers = append(a.closers,
		func(ctx context.Context) error { a.closer.Close(ctx); return nil },
		func(ctx context.Context) error { a.nodes.Close(ctx); return nil },
		func(context.Context) error { a.streams.Close(); return nil },
		func(context.Context) error { a.roomsync.Close(); return nil },
		a.socketio.close,
		func(ctx context.Context) error { a.port.Close(ctx); return nil })
}

func protector(log *zap.Logger) func(what string, f func()) {
	return func(what string, f func()) { protect(log, what, f) }
}

// here reports whether a connection is here and has not moved to the next worker.
func here(h *hub.Hub, fd int64) bool {
	c := h.Get(fd)
	if c == nil {
		return false
	}
	_, moved := c.Moving()
	return !moved
}

// sign is stored with the lease. During a reload only the worker that has the connections writes
// it.
func (a *App) sign() []byte {
	if !a.link.Phase().Owns() {
		return nil
	}
	b, err := json.Marshal(a.directory.Sign())
	if err != nil {
		a.log.Error("sign of life", zap.Error(err))
	}
	return b
}

// received gives a message of the bus to its part (bus.Config.Receive). It does not wait for Redis.
func (a *App) received(m *bus.Message) {
	switch m.Kind {
	case envelope.ToRoom, envelope.ToUID, envelope.ToAll, envelope.ToFD:
		a.publisher.Received(m)
	case envelope.Position:
		a.history.Position(m)
	case envelope.Question:
		a.nodes.Questioned(m)
	case envelope.Login:
		a.sessions.Logins.Received(m)
	case envelope.Changed:
		a.roomsync.Changed(string(m.Body))
	case envelope.Refusal:
		a.sessions.Logins.Refused(m)
	}
}

// Start runs OnWorkerStart. New does so itself, except in a worker that takes over from another
// one: there Start is called when that one is about to hand over, otherwise as soon as it has.
// Further calls return the first outcome.
func (a *App) Start() error { return a.lifecycle.start() }

// Serve accepts on ln until StopAccepting. Several listeners may be served at once. Connections are
// not closed when it returns.
func (a *App) Serve(ln net.Listener) error { return a.port.Serve(ln) }

// GatewayBackend returns this node's connections as package gateway needs them.
func (a *App) GatewayBackend() gateway.Backend { return a.clients.Backend() }

// ServeGateway is Serve of the gateway's own port, whose clients are PHP's. It needs
// Options.Gateway.
func (a *App) ServeGateway(ln net.Listener) error {
	return foreignDoor{a.entrance, a.gateway}.serveOn(ln)
}

// ServeSocketIO is App.Serve of the port for socket.io pages. It needs Options.SocketIO.
func ServeSocketIO(a *App, ln net.Listener) error { return a.socketio.serveOn(ln) }

// StopAccepting closes the listeners of this process and ends the handshakes that are under way.
func (a *App) StopAccepting() { a.port.Stop() }

// Pause makes accepting wait, as a Transfer does itself. Transfer or Resume follows.
func (a *App) Pause() { a.port.Pause() }

// Resume accepts again after a Pause, or after a Transfer, which leaves an App without connections.
func (a *App) Resume() {
	a.hub.Thaw()
	a.port.Resume()
}

// Settled says that no connections come from a previous worker any more.
func (a *App) Settled(ctx context.Context) error {
	a.lifecycle.startLate()
	a.node.Leftovers.Settle()
	if a.link.Joined() {
		return nil
	}
	return a.link.Join(ctx)
}

// Reloading runs every controller's OnReload, before the connections are moved.
func (a *App) Reloading(ctx context.Context) error { return a.lifecycle.reloading(ctx) }

// Shutdown stops accepting and closes every connection with the code, after its queued frames,
// spread over the given time. Then it runs OnShutdown and removes this node's keys from Redis. When
// ctx ends the remaining connections are cut.
func (a *App) Shutdown(ctx context.Context, code int, reason string, spread time.Duration) error {
	a.StopAccepting()
	a.Settle(ctx) // earlier pushes reach the connections before the close frame
	a.streams.End()
	errs := []error{a.hub.Drain(ctx, code, reason, spread)}
	if code == wire.CloseGoingAway {
		errs = append(errs, a.lifecycle.shutdown(ctx))
	}
	return errors.Join(append(errs, a.Close(ctx))...)
}

// Close runs OnWorkerStop and ends the background work of an App whose connections are gone.
func (a *App) Close(ctx context.Context) (err error) {
	a.closeOnce.Do(func() {
		a.StopAccepting()
		a.streams.Drain(ctx)
		a.lifecycle.end()
		err = errors.Join(a.lifecycle.stop(ctx), a.closeParts(ctx))
	})
	return err
}

// closeParts closes the parts in reverse order.
func (a *App) closeParts(ctx context.Context) error {
	var errs []error
	for len(a.closers) > 0 {
		last := len(a.closers) - 1
		errs = append(errs, a.closers[last](ctx))
		a.closers = a.closers[:last]
	}
	return errors.Join(errs...)
}
