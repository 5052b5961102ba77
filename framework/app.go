package framework

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
	"gorm.io/gorm"

	"wsframe/framework/auth"
	"wsframe/framework/frame"
	"wsframe/framework/internal/accept"
	"wsframe/framework/internal/ask"
	"wsframe/framework/internal/closing"
	"wsframe/framework/internal/cluster"
	"wsframe/framework/internal/directory"
	"wsframe/framework/internal/history"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/isolation"
	"wsframe/framework/internal/link"
	"wsframe/framework/internal/presence"
	"wsframe/framework/internal/publish"
	"wsframe/framework/internal/roomsync"
	"wsframe/framework/internal/session"
	"wsframe/framework/internal/wire"
	"wsframe/library/cache"
	"wsframe/library/config"
)

// TypeWechatUser and TypeWall are the user types of the original; a token may carry others.
const (
	TypeWechatUser = auth.TypeWechatUser
	TypeWall       = "wall"
)

// Deps is what controllers are made of. All of it is safe for concurrent use.
type Deps struct {
	DB     *gorm.DB
	Redis  redis.UniversalClient
	Prefix string // of every Redis key, the application's too
	Log    *zap.Logger

	// Metrics is where an application registers collectors of its own; GET /metrics of the push port shows them beside the
	// framework's. Names that begin with wsframe_, and go_goroutines, are the framework's. Each worker has a registry of its own.
	Metrics prometheus.Registerer
}

// Stores are the framework's own clients of the store, nil = Deps.Redis: what the application or a back end does with that one,
// such as a BLPOP that waits, must hold up neither this node's sign of life nor what nodes tell each other.
type Stores struct {
	Cluster redis.UniversalClient // bookkeeping and the lease
	Bus     redis.UniversalClient // messages between nodes and histories; each of four goroutines waits in it all the time
}

// Options of an App.
type Options struct {
	Config       config.App
	Deps         Deps
	Controllers  []Controller
	Tokens       *auth.Tokens                   // nil only where the auth check is off
	Stores       Stores                         // of the framework's own
	Place        string                         // of this process, for cluster.Config
	NodeID       string                         // names this server in Redis; stable over reloads and restarts of its worker
	Reload       bool                           // another worker of this node still serves
	Alone        bool                           // Redis is this node's own: there are no others, and no lease is needed
	StoreTimeout time.Duration                  // of one Redis call of the bookkeeping, and for answers of other nodes; 500 ms
	Lease        time.Duration                  // for how long a node that is silent counts as living; 15 s
	Address      string                         // of the outside port, for NodeSign; "" = not told
	Machine      string                         // its address, for NodeSign; "" = not known
	Version      string                         // for NodeSign
	Begun        time.Time                      // when the server was started, for NodeSign; zero = now
	Static       fs.FS                          // served under /static/ on the outside port; nil = nothing
	RawHandler   func(c *hub.Conn, data []byte) // replaces routing; for protocol conformance tests only
}

// App is one worker's application: it accepts, routes, answers and cleans up.
//
//	app, err := framework.New(ctx, framework.Options{…})
//	go app.Serve(listener)
//	…
//	err = app.Shutdown(ctx)
type App struct {
	Sender

	cfg        config.App
	deps       Deps
	stores     Stores
	log        *zap.Logger
	tokens     *auth.Tokens
	router     *router
	hub        *hub.Hub
	node       *cluster.Node
	decoding   frame.Options
	heartbeats heartbeats
	accept     *accept.Server
	roomsync   *roomsync.Syncer
	since      time.Time

	nodeID    string
	alone     bool
	about     NodeSign // what does not change
	askTime   time.Duration
	link      *link.Link
	nodes     *ask.Nodes
	directory *directory.Directory
	history   *history.History
	sessions  *session.Sessions
	presence  *presence.Presence
	publisher *publish.Publisher
	closer    *closing.Closer
	isolation *isolation.Watch
	start     func() error    // runs OnWorkerStart, once
	life      context.Context // ends when this worker's part is over
	endLife   context.CancelFunc
	closeOnce sync.Once

	opening openings
}

// New mounts the controllers, reaches Redis and takes this node's place in it. Every misuse is reported at once, by name.
func New(ctx context.Context, o Options) (*App, error) {
	a, err := mount(o)
	if err != nil {
		return nil, err
	}
	lim := &a.cfg.Limits
	var handler hub.Handler = a
	if o.RawHandler != nil {
		handler = raw{a, o.RawHandler}
	}
	flush := lim.RoomFlush
	if flush == 0 {
		flush = -1
	}
	a.hub = hub.New(handler, hub.Config{
		Log:          a.log,
		MessageBytes: lim.MessageBytes, Fragments: lim.Fragments, MessageTime: lim.MessageTime,
		MessageRate: lim.MessageRate, MessageBurst: lim.MessageBurst,
		OutboxBytes: lim.OutboxBytes, OutboxMessages: lim.OutboxMessages, WriteTimeout: lim.WriteTimeout,
		PingInterval: a.cfg.Heartbeat.Ping, IdleTimeout: a.cfg.Heartbeat.Idle,
		RoomFlush: flush, RoomsPerConn: lim.RoomsPerConnection,
		Compression: a.cfg.Compression.Enabled,
	})
	a.history.Serve(a.life, a.hub.Rooms)
	a.sessions = session.NewSessions(session.Config{
		Hub: a.hub, Nodes: a.nodes, History: a.history, Link: a.link, Cluster: func() session.Cluster { return a.node }, Presence: a.presence,
		Keys: lim.CloseKeysPerConnection, UIDTypes: a.cfg.Users.UIDTypes, SecondLogin: a.cfg.Users.SecondLogin, Listener: a.listenerName,
		Life: a.life, Protect: a.protect, Log: a.log,
	})
	a.directory = directory.New(directory.Config{
		Hub: a.hub, Nodes: a.nodes, Cluster: func() directory.Cluster { return a.node },
		Node: a.nodeID, Alone: a.alone, About: a.about, Since: a.since,
	})
	var lease time.Duration
	silence := cmp.Or(o.Lease, cluster.DefaultLease)
	var sync func(context.Context) error
	if a.alone {
		sync = func(ctx context.Context) error { return cache.Sync(ctx, a.stores.Cluster) }
	} else {
		lease = silence
	}
	a.node, err = cluster.Start(ctx, cluster.Config{
		Client: a.stores.Cluster, Prefix: o.Deps.Prefix, NodeID: o.NodeID, Place: o.Place, Reload: o.Reload, Timeout: o.StoreTimeout,
		Lease: lease, Silence: silence, Sync: sync, Log: a.log,
		Live: a.live, Orphan: func(ctx context.Context, o cluster.Orphan) { a.closer.Orphan(ctx, o) }, Alive: func(fd int64) bool { return a.hub.Get(fd) != nil }, Deposed: func(floor int64) { a.closer.Deposed(floor) }, About: a.saidBesideLease, Away: presence.AwayTime,
	})
	if err == nil {
		a.attach(2 * silence)
	}
	if err == nil && !o.Reload {
		err = a.link.Join(ctx)
	}
	if err != nil {
		if a.node != nil {
			if a.roomsync != nil {
				a.roomsync.Close()
			}
			_ = a.node.Stop(ctx) // it says less than err
		}
		a.hub.Close()
		return nil, fmt.Errorf("take this node's place in Redis: %w", a.nameTaken(err))
	}
	a.node.Run()
	go a.presence.Run()
	if !o.Reload { // else the others know it
		if err := a.directory.Greet(ctx); err != nil {
			a.log.Info("not all nodes have heard of this one yet", zap.Error(err))
		}
	}
	go a.isolation.Run(a.life)
	if o.Reload { // the other worker's timers still run
		return a, nil
	}
	if err = a.Start(); err != nil {
		return nil, errors.Join(err, a.Close(ctx))
	}
	return a, nil
}

// attach makes the parts that need this node's bookkeeping, before anything comes from other nodes. spread is the time over which a
// node that is cut off sends its clients away.
func (a *App) attach(spread time.Duration) {
	a.closer = closing.New(closing.Config{
		Hub: a.hub, Nodes: a.nodes, Link: a.link, Sessions: a.sessions, Cluster: a.node, Notify: a.notifyListeners, Protect: a.protect, Log: a.log,
	})
	a.roomsync = roomsync.New(roomsync.Config{
		Hub: a.hub, Sessions: a.sessions, Cluster: a.node, Log: a.log,
		IsMember: func(ctx context.Context, room string, fd int64) (bool, error) {
			return a.stores.Cluster.SIsMember(ctx, a.deps.Prefix+room, fd).Result()
		},
	})
	a.publisher = publish.New(publish.Config{
		Hub: a.hub, Nodes: a.nodes, Link: a.link, History: a.history, Alone: a.alone, OutboxBytes: a.cfg.Limits.OutboxBytes, Log: a.log,
		Isolated: a.node.Isolated, Published: a.roomsync.Published, Sync: func(ctx context.Context) error { return cache.Sync(ctx, a.stores.Bus) },
	})
	a.isolation = isolation.New(isolation.Config{
		Policy: a.cfg.Cluster.Isolated, Spread: spread, Hub: a.hub, Cluster: a.node, Log: a.log,
	})
}

// Start runs OnWorkerStart. New does so itself, but for a worker that takes over from another one: there it is called when that
// one is about to hand over, and else as soon as it has. Called again it gives the first outcome.
func (a *App) Start() error { return a.start() }

func (a *App) runStart() error {
	return a.runHooks("OnWorkerStart", func(h *hooks) func(context.Context) error {
		if h.start == nil {
			return nil
		}
		return func(ctx context.Context) error { return h.start(ctx, a) }
	}, a.life)
}

// startLate is Start where the connections are this worker's already: nobody else could serve them.
func (a *App) startLate() {
	if err := a.Start(); err != nil {
		a.log.Error("the worker serves without what its application starts", zap.Error(err))
	}
}

// Examine tells what New would serve, or why it would not, without taking part in anything.
func Examine(o Options) ([]Route, error) {
	a, err := mount(o)
	if err != nil {
		return nil, err
	}
	a.endLife()
	return a.Routes(), nil
}

// mount makes an App as far as nothing but its options is needed.
func mount(o Options) (*App, error) {
	if o.Tokens == nil && o.Config.Auth.Check {
		return nil, errors.New("the auth check is on, but there are no token keys")
	}
	a := &App{
		cfg: o.Config, deps: o.Deps, log: o.Deps.Log, tokens: o.Tokens,
		nodeID: o.NodeID, alone: o.Alone, askTime: cmp.Or(o.StoreTimeout, 500*time.Millisecond), since: time.Now(),
	}
	a.start = sync.OnceValue(a.runStart)
	a.about = NodeSign{Address: o.Address, Machine: o.Machine, Version: o.Version, Since: a.since.Unix()}
	if !o.Begun.IsZero() {
		a.about.Since = o.Begun.Unix()
	}
	a.about.Host, _ = os.Hostname() // unknown where it fails
	a.Sender.app = a
	a.stores = o.Stores
	for _, c := range []*redis.UniversalClient{&a.stores.Cluster, &a.stores.Bus} {
		if *c == nil {
			*c = o.Deps.Redis
		}
	}
	var err error
	if a.router, err = newRouter(withSystem(o.Controllers, a)); err != nil {
		return nil, err
	}
	a.life, a.endLife = context.WithCancel(context.Background())
	if a.log == nil {
		a.log = zap.NewNop()
	}
	lim := &a.cfg.Limits
	if a.heartbeats, err = newHeartbeats(o.Config.Heartbeat.Texts); err != nil {
		return nil, fmt.Errorf("heartbeat.texts: %w", err)
	}
	a.decoding = frame.Options{MaxDepth: lim.JSONDepth}
	if a.accept, err = accept.New(a.acceptConfig(&o)); err != nil {
		return nil, err
	}
	a.link = link.New(a.linkConfig(), o.Reload)
	a.history, err = history.New(history.Config{Rules: o.Config.History.Rooms, OutboxBytes: a.cfg.Limits.OutboxBytes, Link: a.link, Log: a.log})
	if err != nil {
		return nil, err
	}
	a.nodes = a.newNodes()
	a.presence, err = presence.New(presence.Config{
		Rooms: o.Config.Presence.Rooms, Hub: func() *hub.Hub { return a.hub }, Nodes: a.nodes, Link: a.link,
		Cluster: func() presence.Cluster { return a.node }, Publish: func(room string, r *Reply) error { return a.SendToRoom(room, r) }, Log: a.log,
	})
	if err != nil {
		return nil, err
	}
	return a, nil
}

// raw passes messages to a test's handler and everything else to the App.
type raw struct {
	*App
	handle func(*hub.Conn, []byte)
}

func (r raw) Message(c *hub.Conn, data []byte) { r.handle(c, data) }

// Hub gives the connections; for the worker's commands and for tests.
func (a *App) Hub() *hub.Hub { return a.hub }

// Node gives the Redis bookkeeping; for the worker's commands and for tests.
func (a *App) Node() *cluster.Node { return a.node }

// Routes is the route table, sorted by method.
func (a *App) Routes() []Route { return a.router.routes() }

// Say sends the operator's text to every client (contract §5) and returns how many took it.
func (a *App) Say(text string) int {
	n := a.hub.Len()
	if c, err := a.Counts(context.Background()); err == nil { // it ends after askTime
		n = c.Connections
	}
	if err := a.SendToAll(OK("serverBroadcast", "收到服务广播内容", text)); err != nil {
		a.log.Error("say", zap.Error(err))
		return 0
	}
	return n
}

// live walks the connections for the bookkeeping's re-assertion.
func (a *App) live(yield func(cluster.Entry) bool) {
	a.hub.Each(func(c *hub.Conn) bool { return yield(session.Entry(c, c.Rooms())) })
}

// Reloading runs every controller's OnReload, before the connections are moved.
func (a *App) Reloading(ctx context.Context) error {
	return a.runHooks("OnReload", func(h *hooks) func(context.Context) error { return h.reload }, ctx)
}

var errPanic = errors.New("it panicked")

func (a *App) runHooks(what string, pick func(*hooks) func(context.Context) error, ctx context.Context) error {
	var errs []error
	for _, c := range a.router.mounted {
		f := pick(&c.hooks)
		if f == nil {
			continue
		}
		err := errPanic
		a.protect(what+" of "+c.name, func() { err = f(ctx) })
		if err != nil {
			errs = append(errs, fmt.Errorf("%s of %s: %w", what, c.name, err))
		}
	}
	return errors.Join(errs...)
}

// Shutdown stops accepting, closes every connection with the code behind what is queued for it, spread over the given
// time, runs OnShutdown, and takes this node's keys out of Redis. When ctx ends, the rest is cut.
func (a *App) Shutdown(ctx context.Context, code int, reason string, spread time.Duration) error {
	a.StopAccepting()
	a.Settle(ctx) // what was sent here before reaches them before the close frame
	errs := []error{a.hub.Drain(ctx, code, reason, spread)}
	if code == wire.CloseGoingAway {
		errs = append(errs, a.runHooks("OnShutdown", func(h *hooks) func(context.Context) error { return h.shutdown }, ctx))
	}
	return errors.Join(append(errs, a.Close(ctx))...)
}

// Close runs OnWorkerStop and ends the background work of an App whose connections are gone.
func (a *App) Close(ctx context.Context) (err error) {
	a.closeOnce.Do(func() { err = a.close(ctx) })
	return err
}

func (a *App) close(ctx context.Context) error {
	a.StopAccepting()
	a.endLife()
	stopped := a.runHooks("OnWorkerStop", func(h *hooks) func(context.Context) error { return h.stop }, ctx)
	a.accept.Close()
	a.roomsync.Close()
	a.presence.Close()
	a.nodes.Close()
	a.closer.Close(ctx)
	err := errors.Join(stopped, a.link.Leave(ctx), a.node.Stop(ctx))
	a.history.GiveUp()
	a.hub.Close()
	return err
}
