package hub

import (
	"sync/atomic"
	"time"

	"wsframe/framework/internal/wire"
)

// Flags of a Page, which move with it.
const (
	PageConnected = 1 << 4 // the client has connected the namespace; nothing is sent before
	PageLoggedIn  = 1 << 5 // for the owner of the hub
)

// pageVersion is the part of an exported Page that is its version.
const pageVersion = PageConnected - 1

// Page is what a connection of a socket.io page has beside those of other clients. What is sent to
// it is translated, once for all members of a room. See Polled for its time without a socket.
type Page struct {
	flags atomic.Uint32 // the version and the flags
	waits chan struct{} // closed when Take may look again; nil = nobody waits; guarded by Conn.mu
}

func importPage(state byte) *Page {
	if state == 0 {
		return nil
	}
	p := &Page{}
	p.flags.Store(uint32(state))
	return p
}

// export is the inverse of importPage.
func (p *Page) export() byte {
	if p == nil {
		return 0
	}
	return byte(p.flags.Load())
}

// Version returns the version of Engine.IO, which is the dialect.
func (p *Page) Version() wire.Dialect { return wire.Dialect(p.flags.Load() & pageVersion) }

// Has reports whether a flag is set.
func (p *Page) Has(flag uint32) bool { return p.flags.Load()&flag != 0 }

// Set sets a flag. It reports whether that was not set before.
func (p *Page) Set(flag uint32) bool { return p.flags.Or(flag)&flag == 0 }

// in returns the frame as the page gets it: nothing before it has connected. A nil Page gets frames
// as they are.
func (p *Page) in(f wire.Frame, cfg *PageConfig) wire.Frame {
	switch {
	case p == nil:
		return f
	case !p.Has(PageConnected):
		return wire.Frame{Handling: f.Handling}
	case f.Dialect == p.Version():
		return f
	}
	return cfg.in(f, p.Version())
}

// wake has all calls of Take look again. Conn.mu is held.
func (p *Page) wake() {
	if p.waits != nil {
		close(p.waits)
		p.waits = nil
	}
}

// heartbeat returns how long the page may be silent, and the time between two pings, in seconds.
// Pages of version 3 ping by themselves.
func (p *Page) heartbeat(cfg *PageConfig) (idle, interval int64) {
	idle, interval = int64((cfg.PingInterval+cfg.PingTimeout)/time.Second), int64(cfg.PingInterval/time.Second)
	if p.Version() < 4 {
		interval = idle + 1 // never: an idle page is closed before
	}
	return idle, max(interval, 1)
}

// ping returns the frame of a heartbeat. A nil Page is that of any other connection.
func (p *Page) ping() []byte {
	if p == nil {
		return wire.ControlFrame(wire.OpPing, nil)
	}
	return wire.TextFrame([]byte{'2'}).Bytes
}
