package boot

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"wsframe/framework"
	"wsframe/framework/gateway"
	"wsframe/framework/gateway/workers"
	"wsframe/framework/internal/lograte"
	"wsframe/framework/manager"
	"wsframe/framework/process"
	"wsframe/library/config"
)

// phpGateway serves PHP back ends of a GatewayWorker installation: the Register, the inner port and
// the WebSocket port of their own clients.
type phpGateway struct {
	cfg      *config.Gateway
	log      *zap.Logger
	options  framework.Gateway
	workers  *workers.Table // nil = gateway.workers is off
	inner    *gateway.Inner
	register *gateway.Register
	counts   gatewayCounts

	stop    context.CancelFunc
	running sync.WaitGroup
}

// gatewayCounts counts what PHP programs do.
type gatewayCounts struct {
	commands [256]atomic.Int64 // by number
	refusals sync.Map          // by reason: *atomic.Int64
	lines    lograte.Limit
}

// newGateway prepares the gateway; nil = it is not enabled.
func newGateway(cfg *config.Config, log *zap.Logger) *phpGateway {
	g := &phpGateway{cfg: &cfg.App.Gateway, log: log}
	if !g.cfg.Enabled {
		return nil
	}
	g.counts.lines.Every = time.Second
	g.options = framework.Gateway{
		Address: g.cfg.Address(), Origins: g.cfg.Origins, Greeting: g.cfg.Greeting, Refused: g.refused,
	}
	if g.cfg.Workers {
		g.workers = workers.New(workers.Config{
			Gateway: g.cfg.Address(), Wait: max(g.cfg.WorkerWait, 1), // 0 is its default
			Heartbeat: workers.Heartbeat{Interval: g.cfg.PingInterval, Data: g.cfg.PingData, Limit: g.cfg.PingNotResponseLimit},
		})
		g.options.Events = g.workers
	}
	g.options.Peers = g
	return g
}

// refused counts what a PHP program is refused, and logs a line a second at most.
func (g *phpGateway) refused(reason string) {
	n, _ := g.counts.refusals.LoadOrStore(reason, &atomic.Int64{})
	n.(*atomic.Int64).Add(1)
	if since := g.counts.lines.Due(time.Now()); since > 0 {
		g.log.Warn("gateway: something from PHP was refused", zap.String("reason", reason), zap.Int64("since_last", since))
	}
}

// attach makes the servers for an App.
func (g *phpGateway) attach(a *framework.App) {
	commands := &gateway.Commands{
		Backend: a.GatewayBackend(), SessionBytes: g.cfg.SessionBytes, Refused: g.refused,
		Done: func(c gateway.Command) { g.counts.commands[c].Add(1) },
	}
	allow := allowed(g.cfg.PeerPrefixes())
	inner := gateway.InnerConfig{Commands: commands, Secret: g.cfg.SecretKey, Allow: allow}
	if g.workers != nil {
		inner.Workers = g.workers
	}
	g.inner = gateway.NewInner(inner)
	g.register = gateway.NewRegister(gateway.RegisterConfig{Secret: g.cfg.SecretKey, Allow: allow, Refused: g.refused})
	g.register.SetAddresses([]string{g.cfg.Address().String()})
}

// allowed returns a check for addresses; nil = all are allowed.
func allowed(peers []netip.Prefix) func(netip.Addr) bool {
	if len(peers) == 0 {
		return nil
	}
	return func(a netip.Addr) bool {
		return slices.ContainsFunc(peers, func(p netip.Prefix) bool { return p.Contains(a) })
	}
}

// start serves the ports that the master has opened, until close.
func (g *phpGateway) start(w *process.Worker, a *framework.App) {
	ctx, stop := context.WithCancel(context.Background())
	g.stop = stop
	run := func(name string, serve func(context.Context, net.Listener) error) {
		ln := w.Listener(name)
		if ln == nil {
			return
		}
		g.running.Go(func() {
			if err := serve(ctx, ln); err != nil {
				g.log.Error("gateway: a port is not served any more", zap.String("port", name), zap.Error(err))
			}
		})
	}
	if g.workers != nil {
		g.running.Go(func() { g.workers.Run(ctx) })
	}
	g.running.Go(func() { g.listNodes(ctx, a) })
	run("inner", g.inner.Run)
	run("register", g.register.Run)
	run("gateway", func(_ context.Context, ln net.Listener) error { return a.ServeGateway(ln) })
	for _, register := range g.cfg.Registers {
		failures := lograte.Limit{}
		g.running.Go(func() {
			gateway.SignIn(ctx, register, g.cfg.Address().String(), g.cfg.SecretKey, func(err error) {
				if n := failures.Due(time.Now()); n > 0 {
					g.log.Warn("gateway: not signed in at another Register", zap.String("register", register), zap.Error(err), zap.Int64("since_last", n))
				}
			})
		})
	}
}

// close ends the ports and the connections of PHP programs. The App is closed before, so that what
// its connections have caused is sent.
func (g *phpGateway) close() {
	if g == nil || g.stop == nil {
		return
	}
	g.stop()
	g.running.Wait()
}

// status describes the gateway for people; nil = it is not enabled.
func (g *phpGateway) status() *manager.Gateway {
	if g == nil {
		return nil
	}
	s := &manager.Gateway{Address: g.cfg.Address().String(), Peers: g.inner.Peers()}
	for _, w := range g.stats().Workers {
		s.Workers = append(s.Workers, manager.GatewayWorker{Key: w.Key, Clients: w.Clients, WaitingBytes: w.Waiting})
	}
	return s
}

// stats returns what the workers' side counts.
func (g *phpGateway) stats() workers.Stats {
	if g.workers == nil {
		return workers.Stats{}
	}
	return g.workers.Stats()
}

// fixedGateway refuses settings that the master's listeners, or living client_ids, contradict.
func fixedGateway(cfg *config.Gateway, w *process.Worker) error {
	inner := w.Listener("inner")
	switch {
	case cfg.Enabled != (inner != nil):
		return fmt.Errorf("gateway.enabled is %v now, but the server was started with another value: that needs a restart", cfg.Enabled)
	case inner == nil:
		return nil
	case cfg.Port >= 0 != (w.Listener("gateway") != nil):
		return fmt.Errorf("gateway.port is %d now, but the server was started with another value: that needs a restart", cfg.Port)
	}
	if tcp, ok := inner.Addr().(*net.TCPAddr); ok && tcp.Port != cfg.StartPort {
		return fmt.Errorf("gateway.start_port is %d now, but client_ids have %d: that needs a restart", cfg.StartPort, tcp.Port)
	}
	return nil
}
