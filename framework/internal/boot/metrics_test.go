package boot

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"wsframe/framework"
	"wsframe/framework/frameworktest"
	"wsframe/framework/push"
)

type greeter struct{}

func (*greeter) Greet(c *framework.Ctx) (*framework.Reply, error) {
	return framework.OK("hello", ""), nil
}

// Metrics are those of the framework, as documented, those of the application, and few of the Go
// runtime.
func TestMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	h := frameworktest.New(t, func(framework.Deps) ([]framework.Controller, error) {
		return []framework.Controller{framework.Mount("hello.hello", &greeter{})}, nil
	})
	orders := prometheus.NewCounter(prometheus.CounterOpts{Name: "shop_orders_total", Help: "Orders."})
	f := &figures{h.App, push.NewServer(push.Config{}), "1.2.3\xff", time.Unix(7, 0)}
	registry.MustRegister(f, orders)
	orders.Inc()
	c := h.Dial(framework.Identity{ID: "7", Type: framework.TypeWechatUser, Code: "A"})
	c.Call("hello.hello.greet", nil)

	var b bytes.Buffer
	if err := writeMetrics(&b, registry); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	for _, want := range []string{
		"# HELP wsframe_connections Open WebSocket connections.\n# TYPE wsframe_connections gauge\nwsframe_connections 1\n",
		"# TYPE wsframe_messages_received_total counter\nwsframe_messages_received_total 1\n",
		"wsframe_info{version=\"1.2.3�\"} 1\n", "wsframe_start_time_seconds 7\n",
		`wsframe_action_duration_seconds_bucket{method="hello.hello.greet",le="0.0001"} `,
		`wsframe_action_duration_seconds_bucket{method="hello.hello.greet",le="+Inf"} 1` + "\n",
		`wsframe_action_duration_seconds_count{method="hello.hello.greet"} 1` + "\n",
		`wsframe_action_failures_total{method="hello.hello.greet"} 0` + "\n",
		`wsframe_action_inline{method="hello.hello.greet"} 0` + "\n",
		`wsframe_push_refused_total{reason="unauthorized"} 0` + "\n", "wsframe_push_connections 0\n", "wsframe_push_displaced_total 0\n",
		"# HELP shop_orders_total Orders.\n# TYPE shop_orders_total counter\nshop_orders_total 1\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (\S+)`).FindAllStringSubmatch(text, -1) {
		if !strings.HasPrefix(m[1], "wsframe_") && !slices.Contains([]string{"go_goroutines", "shop_orders_total"}, m[1]) {
			t.Errorf("%s is nobody's", m[1])
		}
	}
	// A name of the framework is refused.
	if registry.Register(prometheus.NewGauge(prometheus.GaugeOpts{Name: "wsframe_rooms", Help: "Mine."})) == nil {
		t.Error("an application may call a metric wsframe_rooms")
	}
}
