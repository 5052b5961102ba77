package boot

import (
	"bufio"
	"fmt"
	"io"
	"runtime"
	"runtime/metrics"
	"time"

	"wsframe/framework"
)

// writeMetrics writes what this worker counts in Prometheus's text format (version 0.0.4). Counters begin anew with each worker, as
// those of a process that was restarted do.
func writeMetrics(out io.Writer, a *framework.App, version string, begun time.Time) error {
	w := bufio.NewWriter(out)
	family := func(name, kind, help string) { fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind) }
	one := func(name, kind, help string, v any) { family(name, kind, help); fmt.Fprintf(w, "%s %v\n", name, v) }
	s := a.Hub().Stats()
	pending, _ := a.Node().Pending()

	family("wsframe_info", "gauge", "The program that serves.")
	fmt.Fprintf(w, "wsframe_info{version=%q} 1\n", version)
	one("wsframe_connections", "gauge", "Open WebSocket connections.", s.Connections)
	one("wsframe_users", "gauge", "Uids with a connection.", s.Users)
	one("wsframe_rooms", "gauge", "Rooms with a member.", s.Rooms)
	one("wsframe_messages_received_total", "counter", "Messages from clients.", s.MessagesIn)
	one("wsframe_messages_sent_total", "counter", "Messages to clients.", s.MessagesOut)
	one("wsframe_received_bytes_total", "counter", "Bytes from clients.", s.BytesIn)
	one("wsframe_sent_bytes_total", "counter", "Bytes to clients.", s.BytesOut)
	family("wsframe_closed_total", "counter", "Connections that the server closed, by close code and reason.")
	for _, c := range a.ClosedByServer() {
		fmt.Fprintf(w, "wsframe_closed_total{code=\"%d\",reason=%q} %d\n", c.Code, c.Reason, c.N)
	}
	family("wsframe_handshakes_refused_total", "counter", "Handshakes that were not let in, by HTTP status and reason.")
	for _, c := range a.Refused() {
		fmt.Fprintf(w, "wsframe_handshakes_refused_total{status=\"%d\",reason=%q} %d\n", c.Code, c.Reason, c.N)
	}
	one("wsframe_dropped_total", "counter", "Messages of the classes drop-oldest and latest that slow connections did not get.", s.Dropped)
	one("wsframe_store_pending", "gauge", "Bookkeeping operations that wait for Redis.", pending)
	one("go_goroutines", "gauge", "Goroutines of the worker.", runtime.NumGoroutine())
	one("wsframe_memory_bytes", "gauge", "Memory that the worker has from the system.", memory())
	one("wsframe_start_time_seconds", "gauge", "When the server was started, in UNIX seconds.", begun.Unix())

	actions := a.ActionStats()
	family("wsframe_action_duration_seconds", "histogram", "How long actions took, by method.")
	for i := range actions {
		c, n := &actions[i], int64(0)
		for k, bound := range framework.ActionBounds {
			n += c.Counts[k]
			fmt.Fprintf(w, "wsframe_action_duration_seconds_bucket{method=%q,le=\"%v\"} %d\n", c.Method, bound.Seconds(), n)
		}
		n += c.Counts[len(c.Counts)-1]
		fmt.Fprintf(w, "wsframe_action_duration_seconds_bucket{method=%q,le=\"+Inf\"} %d\n", c.Method, n)
		fmt.Fprintf(w, "wsframe_action_duration_seconds_sum{method=%q} %v\n", c.Method, c.Duration.Seconds())
		fmt.Fprintf(w, "wsframe_action_duration_seconds_count{method=%q} %d\n", c.Method, n)
	}
	family("wsframe_action_failures_total", "counter", "Requests that were answered with 500, by method.")
	for i := range actions {
		fmt.Fprintf(w, "wsframe_action_failures_total{method=%q} %d\n", actions[i].Method, actions[i].Failed)
	}
	return w.Flush()
}

// memory is what the Go runtime holds.
func memory() uint64 {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	return samples[0].Value.Uint64() - samples[1].Value.Uint64()
}
