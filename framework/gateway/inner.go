package gateway

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
)

// InnerConfig is what an Inner needs.
type InnerConfig struct {
	Commands *Commands
	Workers  Workers               // nil = workers may connect, and get no events
	Secret   string                // "" = every peer is trusted
	Allow    func(netip.Addr) bool // which addresses may connect; nil = all
}

// Inner is the inner port: PHP programs send commands to it, and questions are answered in their
// order on each connection.
type Inner struct {
	commands *Commands
	workers  Workers
	secret   secretKey
	port     port
}

// NewInner returns an Inner. See Run.
func NewInner(c InnerConfig) *Inner {
	in := &Inner{commands: c.Commands, workers: c.Workers, secret: secretKey(c.Secret), port: port{allow: c.Allow, turns: true}}
	in.port.init(in.serve)
	return in
}

// Run serves a listener until ctx ends, then closes it and all connections. An Inner serves one
// listener. The error is nil after the end of ctx.
func (in *Inner) Run(ctx context.Context, l net.Listener) error { return in.port.run(ctx, l) }

// Peers returns the number of connections.
func (in *Inner) Peers() int { return in.port.count() }

// introduces reports whether a frame may be the first of a peer without authority.
func introduces(c Command, size uint32) bool {
	return (c == cmdWorkerConnect || c == cmdGatewayClientConnect) && size <= maxIntroduction
}

// serve executes the frames of a peer. Everything before the end of the stream is executed.
func (in *Inner) serve(p *peer) {
	frames := frameReader{r: p}
	commands := in.commands.forPeer()
	p.settle = commands.Backend.Settle
	if in.secret != "" {
		frames.may = introduces
	}
	var workerKey string
	if r := p.restored; r != nil {
		frames.buf, workerKey = r.in, r.key
		if r.trusted {
			frames.may = nil
		}
	}
	p.export = func(s *peerState) {
		s.in, s.key, s.trusted = slices.Concat(frames.buf, p.held), workerKey, frames.may == nil
	}
	defer func() {
		if p.events != nil {
			p.events.Gone()
		}
	}()
	if p.restored != nil && !p.awaitTurn(nil) {
		return
	}
	var answer []byte
	for {
		f, err := frames.next()
		switch {
		case errors.Is(err, ErrFrame), errors.Is(err, errStranger):
			in.commands.refuse("peer")
			return
		case err != nil:
			return
		}
		if f.Command == cmdWorkerConnect || f.Command == cmdGatewayClientConnect {
			key, ok := in.secret.admits(f)
			if !ok {
				in.commands.refuse("secret")
				return
			}
			frames.may = nil
			p.admit()
			commands.done(f.Command)
			if key != "" && !p.worker {
				p.begun = true
				p.becomeWorker()
				workerKey = key
				p.events = in.connect(key, p)
			}
			continue
		}
		p.admit()
		p.begun = true
		if answer, err = commands.Do(f, answer[:0]); err != nil {
			in.commands.refuse("command")
			return
		}
		if len(answer) > 0 {
			p.send(answer)
		}
		if cap(answer) > keptBuffer {
			answer = nil
		}
	}
}

// connect tells of a worker, which gets events. It stays the one that it was first.
func (in *Inner) connect(key string, p *peer) WorkerEvents {
	if in.workers == nil {
		return nil
	}
	return in.workers.Connect(key, p.host, p)
}

// Freeze stops accepting, and everything on the connections, for a reload. Commands that run are
// executed before it returns. Thaw or Release follows.
func (in *Inner) Freeze() { in.port.freeze() }

// Thaw undoes Freeze.
func (in *Inner) Thaw() { in.port.unfreeze(false) }

// Release ends a Freeze: another process has the connections.
func (in *Inner) Release() { in.port.unfreeze(true) }

// Export returns the connections of a frozen Inner, in the order of connecting.
func (in *Inner) Export() []MovedPeer { return in.port.export() }

// Import serves a connection of another process. Workers come in the order of connecting. An error
// concerns this connection only, and has closed it.
func (in *Inner) Import(m MovedPeer) error {
	return in.port.restore(m, func(p *peer) {
		p.begun = p.restored.begun
		if key := p.restored.key; key != "" {
			p.worker, p.isWorker = true, true
			p.events = in.connect(key, p)
		}
	})
}
