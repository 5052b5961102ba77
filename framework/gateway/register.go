package gateway

import (
	"context"
	"encoding/json"
	"net"
	"net/netip"
	"slices"
	"sync"
)

// complaint is sent to a peer whose line is no JSON, before it is closed.
const complaint = "Bad request for Register service: a line is a JSON object with an event\n"

// RegisterConfig is what a Register needs.
type RegisterConfig struct {
	Secret  string                // the secret_key of all peers
	Allow   func(netip.Addr) bool // which addresses may connect; nil = all
	Refused func(reason string)   // called for each peer that is closed; nil = not reported
}

// Register lists the addresses of gateways to PHP programs, and sends the list again after each
// change. PHP gateways may sign in beside this process's own addresses.
type Register struct {
	secret  secretKey
	refused func(reason string)
	port    port

	mu       sync.Mutex
	own      []string
	gateways []signedIn // by their time of signing in
	workers  []*peer
}

// signedIn is a PHP gateway.
type signedIn struct {
	peer    *peer
	address string
}

// NewRegister returns a Register without addresses. See SetAddresses.
func NewRegister(c RegisterConfig) *Register {
	r := &Register{secret: secretKey(c.Secret), refused: c.Refused, port: port{allow: c.Allow}}
	r.port.init(r.serve)
	if r.refused == nil {
		r.refused = func(string) {}
	}
	return r
}

// Run serves a listener until ctx ends, then closes it and all connections. A Register serves one
// listener. The error is nil after the end of ctx.
func (r *Register) Run(ctx context.Context, l net.Listener) error { return r.port.run(ctx, l) }

// SetAddresses replaces the addresses that are listed before those of PHP gateways, and notifies
// the workers of a change. Each is "IPv4:port".
func (r *Register) SetAddresses(list []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Equal(r.own, list) {
		r.own = slices.Clone(list)
		r.broadcast()
	}
}

// serve reads the lines of a peer.
func (r *Register) serve(p *peer) {
	defer r.remove(p)
	lines := lineReader{r: p}
	if p.restored != nil {
		lines.buf = p.restored.in
	}
	p.export = func(s *peerState) {
		s.in = lines.buf[lines.taken:]
		r.role(p, s)
	}
	for {
		line, err := lines.next()
		switch {
		case err == errLine:
			r.refused("line")
			return
		case err != nil:
			return
		}
		p.speak()
		if reason := r.do(p, line); reason != "" {
			r.refused(reason)
			return
		}
	}
}

// do executes a line. A reason ends the connection.
func (r *Register) do(p *peer, line []byte) (reason string) {
	if !document(line) || isNull(member(line, "event")) {
		p.send([]byte(complaint))
		return "line"
	}
	event, valid := text(member(line, "event"))
	if !valid {
		return "event"
	}
	if event == "ping" {
		return ""
	}
	secret, valid := text(member(line, "secret_key"))
	if !valid || !r.secret.equals(&secret) {
		return "secret"
	}
	switch event {
	case "worker_connect":
		p.admit()
		r.addWorker(p)
	case "gateway_connect":
		address, valid := text(member(line, "address"))
		if !valid || !isAddress(address) {
			return "address"
		}
		p.admit()
		r.addGateway(p, address)
	default:
		return "event"
	}
	return ""
}

// text reads a member that is a JSON string; a missing one is empty.
func text(v []byte) (s string, ok bool) {
	switch {
	case isNull(v):
		return "", true
	case v[0] == '"':
		return unquote(v), true
	}
	return "", false
}

// isAddress reports whether a text is "IPv4:port" exactly as PHP writes it.
func isAddress(address string) bool {
	a, err := netip.ParseAddrPort(address)
	return err == nil && a.Addr().Is4() && a.Port() > 0 && a.String() == address
}

func (r *Register) addWorker(p *peer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Contains(r.workers, p) {
		r.workers = append(r.workers, p)
	}
	p.send(r.list())
}

// addGateway lists the address of a PHP gateway, in the place of one that it had before.
func (r *Register) addGateway(p *peer, address string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.gateways, func(g signedIn) bool { return g.peer == p })
	if i >= 0 {
		r.gateways[i].address = address
	} else {
		r.gateways = append(r.gateways, signedIn{p, address})
	}
	r.broadcast()
}

// remove forgets a peer that has ended.
func (r *Register) remove(p *peer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.workers = slices.DeleteFunc(r.workers, func(w *peer) bool { return w == p })
	before := len(r.gateways)
	r.gateways = slices.DeleteFunc(r.gateways, func(g signedIn) bool { return g.peer == p })
	if len(r.gateways) < before {
		r.broadcast()
	}
}

// broadcast sends the list to all workers; the caller holds mu. Sending does not block.
func (r *Register) broadcast() {
	line := r.list()
	for _, w := range r.workers {
		w.send(line)
	}
}

// list returns the line with all addresses, each once; the caller holds mu.
func (r *Register) list() []byte {
	addresses := []string{}
	seen := map[string]bool{}
	add := func(address string) {
		if !seen[address] {
			seen[address] = true
			addresses = append(addresses, address)
		}
	}
	for _, address := range r.own {
		add(address)
	}
	for _, g := range r.gateways {
		add(g.address)
	}
	line, err := json.Marshal(struct {
		Event     string   `json:"event"`
		Addresses []string `json:"addresses"`
	}{"broadcast_addresses", addresses})
	if err != nil {
		panic(err) // texts have JSON
	}
	return append(line, '\n')
}

// role adds to the state of a peer what it is.
func (r *Register) role(p *peer, s *peerState) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.listens = slices.Contains(r.workers, p)
	if i := slices.IndexFunc(r.gateways, func(g signedIn) bool { return g.peer == p }); i >= 0 {
		s.key = r.gateways[i].address
	}
}

// Freeze stops accepting, and everything on the connections, for a reload. Thaw or Release follows.
func (r *Register) Freeze() { r.port.freeze() }

// Thaw undoes Freeze.
func (r *Register) Thaw() { r.port.unfreeze(false) }

// Release ends a Freeze: another process has the connections.
func (r *Register) Release() { r.port.unfreeze(true) }

// Export returns the connections of a frozen Register, in the order of connecting.
func (r *Register) Export() []MovedPeer { return r.port.export() }

// Import serves a connection of another process. An error concerns this connection only, and has
// closed it.
func (r *Register) Import(m MovedPeer) error {
	return r.port.restore(m, func(p *peer) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if p.restored.listens {
			r.workers = append(r.workers, p)
		}
		if address := p.restored.key; address != "" {
			r.gateways = append(r.gateways, signedIn{p, address})
		}
	})
}
