package workers

import (
	"cmp"
	"container/list"
	"context"
	"net/netip"
	"sync"
	"time"

	"wsframe/framework/gateway"
)

const (
	defaultWait  = 10 * time.Second
	pingInterval = 25 * time.Second // of workers that are not on loopback
)

// Config is what a Table needs.
type Config struct {
	Gateway   netip.AddrPort // the announced IPv4 address of the inner port
	Wait      time.Duration  // how long events wait for a worker; 0 = 10 s
	Heartbeat Heartbeat
}

// Table knows the workers and the clients, and which worker each client has.
type Table struct {
	config Config
	beats  beats
	ip     uint32 // of Config.Gateway

	mu      sync.Mutex
	workers []*worker            // in the order of connecting
	absent  time.Time            // when the last worker went
	orphans list.List            // of *client whose events wait for any worker, the longest waiting first
	expiry  *time.Timer          // for the first of the orphans; nil = there was none yet
	wanted  map[string][]*client // of clients that came in a reload before their worker
	gone    departed
	counts  counts
	scratch []byte // for frames
}

var (
	_ gateway.Clients = (*Table)(nil)
	_ gateway.Workers = (*Table)(nil)
)

// New returns a Table without workers. See Run.
func New(c Config) *Table {
	c.Wait = cmp.Or(c.Wait, defaultWait)
	t := &Table{config: c, ip: ipv4(c.Gateway.Addr()), absent: time.Now()}
	t.beats.config = c.Heartbeat
	t.counts.events = map[gateway.Command]uint64{}
	return t
}

// Run sends the pings of workers and of clients until ctx ends.
func (t *Table) Run(ctx context.Context) {
	ping := time.NewTicker(pingInterval)
	defer ping.Stop()
	beat, stop := t.beats.ticker()
	defer stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ping.C:
			t.pingWorkers()
		case <-beat:
			t.beats.tick()
		}
	}
}

// Unavailable implements gateway.Clients.
func (t *Table) Unavailable() (reason string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.workers) == 0 && time.Since(t.absent) >= t.config.Wait {
		return noWorker
	}
	return ""
}

// fewest returns the worker with the fewest clients, of several the one that connected first; nil
// = there is none.
func (t *Table) fewest() (found *worker) {
	for _, w := range t.workers {
		if found == nil || w.clients < found.clients {
			found = w
		}
	}
	return found
}

// pingWorkers sends a ping to each worker that is not on loopback.
func (t *Table) pingWorkers() {
	t.mu.Lock()
	defer t.mu.Unlock()
	frame := gateway.AppendFrame(nil, gateway.Frame{Command: gateway.EventPing, Flag: gateway.FlagBytes})
	for _, w := range t.workers {
		if !w.remote.IsLoopback() {
			w.waits = w.conn.Send(frame)
			t.counts.events[gateway.EventPing]++
		}
	}
}
