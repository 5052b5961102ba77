package accept

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// forbiddenBody and the header "message" are sent to every client that is refused (contract §1).
const forbiddenBody = `{"status":403,"info":"用户权限不足","event":"authError"}`

// Refusal is the error of a refused handshake. Authenticate and Open may return one.
type Refusal struct {
	Status int    // HTTP status: 400, 403, 408, 431 or 503
	Reason string // the server's own text, for metrics and the log; clients get it with 400 only
	Cause  error  // for the log
}

// Error returns the reason and its cause.
func (r *Refusal) Error() string {
	if r.Cause == nil {
		return r.Reason
	}
	return r.Reason + ": " + r.Cause.Error()
}

// Unwrap returns the cause.
func (r *Refusal) Unwrap() error { return r.Cause }

// refusalOf returns the Refusal in err's chain, or else other.
func refusalOf(err error, other Refusal) *Refusal {
	var r *Refusal
	if errors.As(err, &r) {
		return r
	}
	return &other
}

// answer is the HTTP response to a refused client. It contains the reason of a malformed request
// only; other refused clients learn nothing. bare omits the body.
func (r *Refusal) answer(bare bool) (kind, body, name, value string) {
	kind, body = "text/plain", http.StatusText(r.Status)+"\n"
	switch r.Status {
	case http.StatusForbidden:
		kind, body, name, value = "application/json", forbiddenBody, "message", "error auth"
	case http.StatusServiceUnavailable:
		name, value = "Retry-After", "5"
	case http.StatusBadRequest:
		body = http.StatusText(r.Status) + ": " + r.Reason + "\n"
		if r.Reason == reasonVersion { // RFC 6455 section 4.4
			name, value = "Sec-WebSocket-Version", "13"
		}
	}
	if bare {
		body = ""
	}
	return kind + "; charset=utf-8", body, name, value
}

// response returns an HTTP response that ends the connection.
func (r *Refusal) response(bare bool) []byte {
	kind, body, name, value := r.answer(bare)
	w := &bytes.Buffer{}
	fmt.Fprintf(w, "HTTP/1.1 %d %s\r\n", r.Status, http.StatusText(r.Status))
	if name != "" {
		fmt.Fprintf(w, "%s: %s\r\n", name, value)
	}
	fmt.Fprintf(w, "Content-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", kind, len(body), body)
	return w.Bytes()
}

// write is response within net/http, where the connection may go on.
func (r *Refusal) write(w http.ResponseWriter, bare bool) {
	kind, body, name, value := r.answer(bare)
	if name != "" {
		w.Header()[name] = []string{value} // as it is spelled
	}
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(r.Status)
	_, _ = io.WriteString(w, body) // an error concerns the client only
}
