package accept

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
)

// forbiddenBody and the header "message" answer every client that may not come in (contract §1).
const forbiddenBody = `{"status":403,"info":"用户权限不足","event":"authError"}`

// Refusal is why a handshake is not let in. It is an error that Authenticate and Open may return.
type Refusal struct {
	Status int    // HTTP status: 400, 403, 408, 431 or 503
	Reason string // the server's own text, for metrics and the log; clients get it with 400 only
	Cause  error  // for the log
}

// Error gives the reason and its cause.
func (r *Refusal) Error() string {
	if r.Cause == nil {
		return r.Reason
	}
	return r.Reason + ": " + r.Cause.Error()
}

// Unwrap gives the cause.
func (r *Refusal) Unwrap() error { return r.Cause }

// refusalOf returns the Refusal that err is or wraps, else the other one.
func refusalOf(err error, other Refusal) *Refusal {
	var r *Refusal
	if errors.As(err, &r) {
		return r
	}
	return &other
}

// response returns an HTTP response that ends the connection. Only a malformed request is told its
// reason: who may not come in learns nothing. bare leaves out the body.
func (r *Refusal) response(bare bool) []byte {
	kind, body, extra := "text/plain", http.StatusText(r.Status)+"\n", ""
	switch r.Status {
	case http.StatusForbidden:
		kind, body, extra = "application/json", forbiddenBody, "message: error auth\r\n"
	case http.StatusServiceUnavailable:
		extra = "Retry-After: 5\r\n"
	case http.StatusBadRequest:
		body = http.StatusText(r.Status) + ": " + r.Reason + "\n"
		if r.Reason == reasonVersion { // RFC 6455 section 4.4
			extra = "Sec-WebSocket-Version: 13\r\n"
		}
	}
	if bare {
		body = ""
	}
	w := &bytes.Buffer{}
	fmt.Fprintf(w, "HTTP/1.1 %d %s\r\n%sContent-Type: %s; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		r.Status, http.StatusText(r.Status), extra, kind, len(body), body)
	return w.Bytes()
}
