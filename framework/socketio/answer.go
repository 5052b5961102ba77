package socketio

import (
	"fmt"
	"net/http"
	"strconv"
)

// fault is a refusal of Engine.IO, whose number and message clients read.
type fault struct {
	code    int
	message string
}

var (
	errTransport = &fault{0, "Transport unknown"}
	errSID       = &fault{1, "Session ID unknown"}
	errMethod    = &fault{2, "Bad handshake method"}
	errRequest   = &fault{3, "Bad request"}
	errVersion   = &fault{5, "Unsupported protocol version"}
)

func (f *fault) json() string { return fmt.Sprintf(`{"code":%d,"message":"%s"}`, f.code, f.message) }

// answer sends the fault with a status of HTTP.
func (f *fault) answer(w http.ResponseWriter, status int) {
	respond(w, status, "application/json", []byte(f.json()))
}

func respond(w http.ResponseWriter, status int, contentType string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // an error concerns the client only
}

// allowOrigin lets the page of an allowed origin read the answer (Fetch standard, CORS protocol).
func allowOrigin(h http.Header, r *http.Request) {
	origin := r.Header.Get("Origin")
	if origin == "" {
		h.Set("Access-Control-Allow-Origin", "*")
		return
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Allow-Credentials", "true")
	h.Set("Vary", "Origin")
}
