package boot

import (
	"errors"
	"io"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"wsframe/framework"
	"wsframe/framework/push"
)

// figures is a collector of everything that this worker counts. Counts are read on demand. They
// begin at 0 in each worker, as after a restart.
type figures struct {
	app     *framework.App
	push    *push.Server
	version string
	begun   time.Time
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	infoDesc            = desc("wsframe_info", "The program that serves.", "version")
	connectionsDesc     = desc("wsframe_connections", "Open WebSocket connections.")
	usersDesc           = desc("wsframe_users", "Uids with a connection.")
	roomsDesc           = desc("wsframe_rooms", "Rooms with a member.")
	messagesInDesc      = desc("wsframe_messages_received_total", "Messages from clients.")
	messagesOutDesc     = desc("wsframe_messages_sent_total", "Messages to clients.")
	bytesInDesc         = desc("wsframe_received_bytes_total", "Bytes from clients.")
	bytesOutDesc        = desc("wsframe_sent_bytes_total", "Bytes to clients.")
	closedDesc          = desc("wsframe_closed_total", "Connections that the server closed, by close code and reason.", "code", "reason")
	refusedDesc         = desc("wsframe_handshakes_refused_total", "Handshakes that were not let in, by HTTP status and reason.", "status", "reason")
	droppedDesc         = desc("wsframe_dropped_total", "Messages of the classes drop-oldest and latest that slow connections did not get.")
	busReadDesc         = desc("wsframe_bus_read_total", "Entries of streams between nodes that this worker has read.")
	busReceivedDesc     = desc("wsframe_bus_received_total", "Messages between nodes that this worker has received.")
	busLostDesc         = desc("wsframe_bus_lost_total", "Messages between nodes that were gone before they were read, or refused by Redis.")
	pendingDesc         = desc("wsframe_store_pending", "Bookkeeping operations that wait for Redis.")
	goroutinesDesc      = desc("go_goroutines", "Goroutines of the worker.")
	memoryDesc          = desc("wsframe_memory_bytes", "Memory that the worker has from the system.")
	startDesc           = desc("wsframe_start_time_seconds", "When the server was started, in UNIX seconds.")
	durationDesc        = desc("wsframe_action_duration_seconds", "How long actions took, by method.", "method")
	inlineDesc          = desc("wsframe_action_inline", "1 if the action runs in the event loop, 0 if it runs in goroutines of connections.", "method")
	failuresDesc        = desc("wsframe_action_failures_total", "Requests that were answered with 500, by method.", "method")
	pushRefusedDesc     = desc("wsframe_push_refused_total", "Requests to the push port of those who may not call.", "reason")
	pushConnectionsDesc = desc("wsframe_push_connections", "Open connections of the push port.")
	pushDisplacedDesc   = desc("wsframe_push_displaced_total", "Connections of the push port that gave way to others.")

	allDescs = []*prometheus.Desc{
		infoDesc, connectionsDesc, usersDesc, roomsDesc, messagesInDesc, messagesOutDesc, bytesInDesc, bytesOutDesc, closedDesc, refusedDesc, droppedDesc,
		busReadDesc, busReceivedDesc, busLostDesc, pendingDesc, goroutinesDesc, memoryDesc, startDesc, durationDesc, inlineDesc, failuresDesc, pushRefusedDesc, pushConnectionsDesc, pushDisplacedDesc,
	}
)

// Describe implements prometheus.Collector. An application's metric with one of these names is
// refused.
func (*figures) Describe(to chan<- *prometheus.Desc) {
	for _, d := range allDescs {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (f *figures) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v int64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	s := f.app.Stats()
	gauge(infoDesc, 1, strings.ToValidUTF8(f.version, "�"))
	gauge(connectionsDesc, float64(s.Connections))
	gauge(usersDesc, float64(s.UIDs))
	gauge(roomsDesc, float64(s.Rooms))
	counter(messagesInDesc, int64(s.MessagesIn))
	counter(messagesOutDesc, int64(s.MessagesOut))
	counter(bytesInDesc, int64(s.BytesIn))
	counter(bytesOutDesc, int64(s.BytesOut))
	for _, c := range f.app.ClosedByServer() { // applications choose reasons, and labels are UTF-8
		counter(closedDesc, c.N, strconv.Itoa(c.Code), strings.ToValidUTF8(c.Reason, "�"))
	}
	for _, c := range f.app.Refused() {
		counter(refusedDesc, c.N, strconv.Itoa(c.Code), c.Reason)
	}
	counter(droppedDesc, int64(s.Dropped))
	counter(busReadDesc, s.BusRead)
	counter(busReceivedDesc, s.BusReceived)
	counter(busLostDesc, s.BusLost)
	gauge(pendingDesc, float64(s.StorePending))
	gauge(goroutinesDesc, float64(runtime.NumGoroutine()))
	gauge(memoryDesc, float64(memory()))
	gauge(startDesc, float64(f.begun.Unix()))
	for _, a := range f.app.ActionStats() {
		to <- duration(&a)
		counter(failuresDesc, a.Failed, a.Method)
		inline := 0.0
		if a.Inline {
			inline = 1
		}
		to <- prometheus.MustNewConstMetric(inlineDesc, prometheus.GaugeValue, inline, a.Method)
	}
	p := f.push.Stats()
	for code, n := range p.Refused {
		counter(pushRefusedDesc, n, string(code))
	}
	gauge(pushConnectionsDesc, float64(p.Connections))
	counter(pushDisplacedDesc, p.Displaced)
}

// duration returns the histogram of one action.
func duration(a *framework.ActionStats) prometheus.Metric {
	buckets, n := map[float64]uint64{}, uint64(0)
	for i, bound := range framework.ActionBounds {
		n += uint64(a.Counts[i])
		buckets[bound.Seconds()] = n
	}
	n += uint64(a.Counts[len(a.Counts)-1])
	return prometheus.MustNewConstHistogram(durationDesc, n, a.Duration.Seconds(), buckets, a.Method)
}

// memory reads the memory of the Go runtime.
func memory() uint64 {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	return samples[0].Value.Uint64() - samples[1].Value.Uint64()
}

// writeMetrics writes all metrics in Prometheus's text format (version 0.0.4). A collector that
// fails loses its own only.
func writeMetrics(out io.Writer, from prometheus.Gatherer) error {
	families, err := from.Gather()
	for _, f := range families {
		_, e := expfmt.MetricFamilyToText(out, f)
		err = errors.Join(err, e)
	}
	return err
}
