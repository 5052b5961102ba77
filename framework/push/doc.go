// Package push is the HTTP port for back ends: they send to connections, users and rooms, and ask about them.
//
//	s := push.NewServer(push.Config{Backend: backend, Store: store, Tokens: []push.Token{{Value: secret, Scopes: []string{"send"}}}, RateLimit: 1000, Log: log})
//	go s.Serve(listener)
//	…
//	err = s.Shutdown(ctx) // finishes what is under way
//
// and what a back end written in Go does:
//
//	c, err := push.NewClient("http://127.0.0.1:2121", secret)
//	err = c.SendToUID(ctx, "7", &push.Push{Event: "orderPaid", Param: push.JSON(order)})
//
// # What it answers
//
// POST /api/v1/{method} takes and gives JSON, for every call of the application API and a batch of them. One table
// (methods.go) holds the calls: their fields are decoded, checked and described in GET /openapi.json by the same
// shapes, so document and handlers cannot differ. GET and POST / is the form of web-msg-sender (form.go). GET /metrics is Config.Metrics. GET /healthz answers while the
// server runs.
//
// A request with the header Idempotency-Key is done once in ten minutes, however often it is sent; see once.go for what that
// costs and where it ends.
//
// Who shows a token may do what its scopes allow. Without any token configured only processes of this machine are
// served, and no web page: see access.go.
//
// Server and Client are safe for concurrent use.
package push
