package framework

import (
	"net/http"

	"wsframe/framework/internal/accept"
)

// DefaultBody is how many bytes the body of a request to HTTP may have.
const DefaultBody = 1 << 20

// HTTP mounts a handler on the outside port, beside the WebSocket: "/health" is that path, "/api/"
// is everything below it, too. New refuses a path that is mounted twice or is the server's own: "/"
// and what is below "/static/".
//
//	framework.HTTP("/api/", mux)
//
// The handler runs in net/http. ServerOf(r.Context()) reaches connections, users and rooms.
// r.RemoteAddr is the client's address, from a trusted proxy's header where there is one. A
// request's head may take limits.handshake_timeout and limits.handshake_bytes, its body DefaultBody
// bytes (see MaxBody). A client that sends or takes nothing for 10 s is cut, unless the handler
// sets deadlines (http.ResponseController). At most limits.max_connections requests are open.
//
// A reload waits for requests in the old worker, at most limits.reload_drain. Origins and tokens
// are the handler's own matter.
func HTTP(path string, h http.Handler, o ...HTTPOption) Controller {
	p := &accept.Page{Path: path, Handler: h, MaxBody: DefaultBody}
	for _, option := range o {
		option(p)
	}
	return Controller{page: p}
}

// HTTPOption is an option of HTTP.
type HTTPOption func(*accept.Page)

// MaxBody sets how many bytes a request's body may have. Reads of a larger one fail with
// *http.MaxBytesError.
func MaxBody(bytes int64) HTTPOption { return func(p *accept.Page) { p.MaxBody = bytes } }

// Authenticate mounts the application's own check of clients, beside the built-in tokens. New
// refuses a second one.
func Authenticate(f Authenticator) Controller { return Controller{authenticator: f} }
