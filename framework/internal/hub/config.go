package hub

import (
	"time"

	"go.uber.org/zap"

	"wsframe/framework/internal/room"
	"wsframe/framework/internal/wire"
)

// Config of a Hub. Zero means the documented default.
type Config struct {
	Log *zap.Logger

	MessageBytes   int           // largest message, 64 KiB
	Fragments      int           // most fragments of a message, 1,024
	MessageTime    time.Duration // longest time from a message's first byte to its last, 10 s
	MessageRate    int           // messages and control frames a second on a connection; 0 = no limit
	MessageBurst   int           // most messages and control frames at once; at least MessageRate
	OutboxBytes    int           // most unsent bytes of a connection, 1 MiB
	OutboxMessages int           // most unsent frames of a connection, 1,024
	WriteTimeout   time.Duration // longest time without any progress in writing, 5 s
	PingInterval   time.Duration // between two pings, 25 s
	IdleTimeout    time.Duration // longest time without any byte from the peer, 60 s
	RoomFlush      time.Duration // tick of a busy room, 5 ms; negative = every publish is written at once
	RoomsPerConn   int           // most rooms of a connection, 256
	Interest       room.Interest // knows which rooms have members; nil = nobody does

	// Compression accepts permessage-deflate without context takeover (RFC 7692) from clients. The
	// server itself sends nothing compressed.
	Compression bool

	Pages PageConfig

	// Set by tests.
	ticks <-chan time.Time // of housekeeping; nil = one a second
	now   func() time.Time // nil = time.Now

	blocking bool // no event loops
}

func (c *Config) fill() {
	def := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	defTime := func(p *time.Duration, v time.Duration) {
		if *p == 0 {
			*p = v
		}
	}
	def(&c.MessageBytes, 64<<10)
	def(&c.Fragments, 1024)
	def(&c.OutboxBytes, 1<<20)
	def(&c.OutboxMessages, 1024)
	def(&c.RoomsPerConn, 256)
	defTime(&c.MessageTime, 10*time.Second)
	defTime(&c.WriteTimeout, 5*time.Second)
	defTime(&c.PingInterval, 25*time.Second)
	defTime(&c.IdleTimeout, 60*time.Second)
	defTime(&c.RoomFlush, 5*time.Millisecond)
	defTime(&c.Pages.PingInterval, 25*time.Second)
	defTime(&c.Pages.PingTimeout, 60*time.Second)
	if c.Pages.Translate == nil {
		c.Pages.Translate = func(dst, _ []byte, _ wire.Dialect) []byte { return dst }
	}
	c.MessageBurst = max(c.MessageBurst, c.MessageRate)
	if c.now == nil {
		c.now = time.Now
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
}

// outbox returns the limits of an outbox.
func (c *Config) outbox() load { return load{c.OutboxBytes, c.OutboxMessages} }

// PageConfig is for connections of socket.io pages, which speak Engine.IO of version 3 or 4.
type PageConfig struct {
	PingInterval time.Duration // between two pings of the side that pings, 25 s
	PingTimeout  time.Duration // beyond PingInterval: how long a page may be silent, 60 s

	// Translate appends the Engine.IO packet for the payload of a text frame, or nothing. The
	// dialect is the version. nil = pages get nothing.
	Translate func(dst, payload []byte, version wire.Dialect) []byte
}

// in returns a frame in the dialect of pages of a version.
func (c *PageConfig) in(f wire.Frame, version wire.Dialect) wire.Frame {
	return f.In(version, func(dst, payload []byte) []byte { return c.Translate(dst, payload, version) })
}
