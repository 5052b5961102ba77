package push

import (
	"encoding/json"
	"net/http"
)

// response is the status and body of an HTTP response.
type response struct {
	status int
	body   []byte
}

// envelope is the JSON of a response: a result, an error, or both where not all nodes have replied.
type envelope struct {
	Result any    `json:"result,omitempty"`
	Error  *Error `json:"error,omitempty"`
}

func success(result any) response { return encode(http.StatusOK, envelope{Result: result}) }

func problem(e *Error, result any) response {
	return encode(e.Code.Status(), envelope{Result: result, Error: e})
}

func encode(status int, v envelope) response {
	body, err := json.Marshal(v)
	if err != nil { // a session value that is no JSON cannot have come in
		return response{http.StatusInternalServerError, []byte(`{"error":{"code":"internal","message":"internal error"}}`)}
	}
	return response{status, append(body, '\n')}
}

func write(w http.ResponseWriter, r response) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	decorate(h, r.status)
	w.WriteHeader(r.status)
	_, _ = w.Write(r.body) // a failure is the caller's loss
}

// decorate sets the headers that a status needs (RFC 9110 sections 10.2.3 and 11.6.1).
func decorate(h http.Header, status int) {
	h.Set("X-Content-Type-Options", "nosniff")
	switch status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", "Bearer")
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		h.Set("Retry-After", "1")
	}
}
