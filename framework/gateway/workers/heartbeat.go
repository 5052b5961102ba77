package workers

import (
	"maps"
	"slices"
	"sync"
	"time"

	"wsframe/framework/gateway"
	"wsframe/framework/internal/wire"
)

// Heartbeat is GatewayWorker's heartbeat of messages, which counts the messages of clients and not
// the WebSocket's own pings.
//
// Without a Limit, Data is sent every Interval to clients from which no message came for a whole
// one, and nobody is closed. With one, the time is counted in halves of Interval from the last
// message: Data is sent at the 3rd, the 5th and so on up to the (2·Limit+1)-th, and the client is
// closed at the next.
type Heartbeat struct {
	Interval time.Duration // 0 = no heartbeat
	Data     string        // "" = nothing is sent
	Limit    int           // 0 = nobody is closed
}

// beats is the heartbeat of all clients, with one ticker.
type beats struct {
	config Heartbeat

	mu      sync.Mutex
	clients map[*client]struct{}
}

// ticker returns a channel of ticks, and a function that ends them.
func (b *beats) ticker() (ticks <-chan time.Time, stop func()) {
	if b.config.Interval <= 0 {
		return nil, func() {}
	}
	every := b.config.Interval
	if b.config.Limit > 0 {
		every = max(every/2, 1)
	}
	t := time.NewTicker(every)
	return t.C, t.Stop
}

// add adds a client.
func (b *beats) add(c *client) {
	if b.config.Interval <= 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.clients == nil {
		b.clients = map[*client]struct{}{}
	}
	b.clients[c] = struct{}{}
}

// remove removes a client.
func (b *beats) remove(c *client) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.clients, c)
}

// tick counts one tick for each client. Clients that are not read at the moment are passed over,
// because they cannot show that they live.
func (b *beats) tick() {
	b.mu.Lock()
	all := slices.Collect(maps.Keys(b.clients))
	b.mu.Unlock()
	data := gateway.NewMessage([]byte(b.config.Data))
	for _, c := range all {
		if c.paused.Load() {
			continue
		}
		send, end := b.config.due(int(c.silent.Add(1)))
		if end {
			c.conn.Close(wire.CloseIdle, "idle")
		} else if send {
			c.conn.Send(data)
		}
	}
}

// due returns what happens at the n-th tick after the last message.
func (h Heartbeat) due(n int) (send, end bool) {
	if h.Limit <= 0 {
		return h.Data != "" && n > 1, false
	}
	return h.Data != "" && n > 1 && n%2 == 1, n >= 2*h.Limit+2
}
