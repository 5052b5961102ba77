// Package push is the HTTP port for back ends: they send to connections, users and rooms, and ask
// about them. It has the port's server and a client for back ends written in Go.
//
// Package internal/boot runs the Server in each worker, with a Backend and a Store of the
// framework; push imports neither. The package's Example shows both sides.
//
// # Pages
//
//   - POST /api/v1/{method} takes and returns JSON. It has every call of the application API, and a
//     batch of them. One table (methods.go) decodes, checks, makes and documents the calls.
//   - GET /openapi.json is the document of that table.
//   - GET and POST / is the form of web-msg-sender (form.go).
//   - GET /metrics is Config.Metrics.
//   - GET /healthz responds while the server runs.
//
// # Idempotency
//
// A request with the header Idempotency-Key is done once in ten minutes, however often it is sent.
// The costs and the limits of that are described at type once.
//
// # Access
//
// The scopes of a token bound what its bearer may do. Where no token is configured, only processes
// of this machine are served, and no web page: see type access.
//
// # A request's way
//
//	Server.guard ──► calls, form, metrics, document ──► door ──► gate ──► once ──► Backend
//	bounds requests  decode and check                    who?     reload   Idempotency-Key
//
// Server and Client are safe for concurrent use.
package push
