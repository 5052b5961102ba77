package boot

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"wsframe/framework/gateway"
)

var (
	gatewayWorkersDesc     = desc("wsframe_gateway_workers", "Connected BusinessWorkers.")
	gatewayConnectionsDesc = desc("wsframe_gateway_connections", "Connections of PHP programs to the inner port.")
	gatewayCommandsDesc    = desc("wsframe_gateway_commands_total", "Commands of PHP programs that were executed.", "command")
	gatewayEventsDesc      = desc("wsframe_gateway_events_total", "Events that BusinessWorkers were sent.", "event")
	gatewayRefusedDesc     = desc("wsframe_gateway_refused_total", "What PHP programs were refused, by reason.", "reason")
	gatewayWaitingDesc     = desc("wsframe_gateway_waiting", "Clients whose events wait for a BusinessWorker.")
	gatewayDroppedDesc     = desc("wsframe_gateway_dropped_total", "Events that no BusinessWorker took in time.")
)

// Describe implements prometheus.Collector.
func (*phpGateway) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		gatewayWorkersDesc, gatewayConnectionsDesc, gatewayCommandsDesc, gatewayEventsDesc, gatewayRefusedDesc, gatewayWaitingDesc, gatewayDroppedDesc,
	} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (g *phpGateway) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v int) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v))
	}
	counter := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	s := g.stats()
	gauge(gatewayWorkersDesc, len(s.Workers))
	gauge(gatewayConnectionsDesc, g.inner.Peers())
	gauge(gatewayWaitingDesc, s.Waiting)
	counter(gatewayDroppedDesc, float64(s.Dropped))
	for event, n := range s.Events {
		counter(gatewayEventsDesc, float64(n), event)
	}
	for i := range g.counts.commands {
		if n := g.counts.commands[i].Load(); n > 0 {
			counter(gatewayCommandsDesc, float64(n), gateway.Command(i).String())
		}
	}
	g.counts.refusals.Range(func(reason, n any) bool {
		counter(gatewayRefusedDesc, float64(n.(*atomic.Int64).Load()), reason.(string))
		return true
	})
}
