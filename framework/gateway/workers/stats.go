package workers

import "wsframe/framework/gateway"

// Stats is what a Table reports to status and metrics.
type Stats struct {
	Workers []Info            // in the order of connecting
	Events  map[string]uint64 // sent, by name
	Waiting int               // clients whose events wait
	Dropped uint64            // events that no worker took in time, or that exceeded a bound
}

// Info describes a worker.
type Info struct {
	Key     string // remote address, a colon, worker_key
	Clients int
	Waiting int // bytes that have not been written to it
}

// counts are the counters of Stats.
type counts struct {
	events  map[gateway.Command]uint64
	dropped uint64
}

// eventNames are the names of events in metrics.
var eventNames = map[gateway.Command]string{
	gateway.EventConnect:          "connect",
	gateway.EventWebSocketConnect: "websocket_connect",
	gateway.EventMessage:          "message",
	gateway.EventClose:            "close",
	gateway.EventPing:             "ping",
}

// Stats returns the numbers of this moment.
func (t *Table) Stats() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := Stats{Events: map[string]uint64{}, Waiting: t.orphans.Len(), Dropped: t.counts.dropped}
	for event, name := range eventNames {
		s.Events[name] = t.counts.events[event]
	}
	for _, w := range t.workers {
		s.Workers = append(s.Workers, Info{w.key, w.clients, w.waits})
		s.Waiting += w.queue.Len()
	}
	return s
}
