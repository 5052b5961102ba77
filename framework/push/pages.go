package push

import (
	"io"
	"net/http"
)

// health is GET /readyz and GET /healthz: 503 while clients shall go to another server, by ready. A
// nil ready means that they never do: GET /livez responds while the process can.
func health(ready func() bool) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		text := "ok\n"
		if ready != nil && !ready() {
			w.WriteHeader(http.StatusServiceUnavailable)
			text = "cut off from Redis\n"
		}
		_, _ = io.WriteString(w, text) // a failure is the prober's loss
	}
}

// metrics is GET /metrics, for callers that may read.
type metrics struct {
	door   *door
	export func(io.Writer) error // writes Prometheus's text format
}

func (m *metrics) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c, e := m.door.admit(w, r)
	switch {
	case e != nil:
	case !c.may(ScopeRead):
		e = fail(CodeForbidden, "this needs a token with the scope %s", ScopeRead)
	default:
		e = c.spend(1, "")
	}
	if e != nil {
		write(w, problem(e, nil))
		return
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_ = m.export(w) // a failure is the caller's loss
}

// document is GET /openapi.json: OpenAPI 3.1 of the same table that decodes and checks the calls.
func document(d *door) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if _, e := d.admit(w, r); e != nil {
			write(w, problem(e, nil))
			return
		}
		write(w, response{http.StatusOK, openAPI()})
	}
}
