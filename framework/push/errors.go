package push

import (
	"errors"
	"fmt"
	"net/http"
)

// Code names an error for programs.
type Code string

// The codes of errors. Code.Status is the HTTP status of each.
const (
	// CodeBadRequest means that the request or one of its fields is malformed, unknown or missing.
	CodeBadRequest Code = "badRequest"
	// CodeUnauthorized means that the request has no token, or a wrong one.
	CodeUnauthorized Code = "unauthorized"
	// CodeForbidden means that the token's scopes do not allow the call.
	CodeForbidden Code = "forbidden"
	// CodeNotFound means that there is no such page.
	CodeNotFound Code = "notFound"
	// CodeUnknownMethod means that there is no such call.
	CodeUnknownMethod Code = "unknownMethod"
	// CodeNoConnection means that no node has the connection.
	CodeNoConnection Code = "noConnection"
	// CodeNotAllowed means that the request has another HTTP method than POST.
	CodeNotAllowed Code = "methodNotAllowed"
	// CodeInProgress means that a request with the same Idempotency-Key has not ended within 5 s.
	CodeInProgress Code = "inProgress"
	// CodeOutcomeUnknown means that a request with the same Idempotency-Key has begun, and that its
	// outcome is not known.
	CodeOutcomeUnknown Code = "outcomeUnknown"
	// CodeLimit means that the connection has too many rooms or uids, or too large a session.
	CodeLimit Code = "limitReached"
	// CodeTooLarge means that the body is too large, or the push for an outbox.
	CodeTooLarge Code = "tooLarge"
	// CodeMediaType means that the Content-Type is not application/json.
	CodeMediaType Code = "unsupportedMediaType"
	// CodeKeyReused means that another request had the Idempotency-Key.
	CodeKeyReused Code = "keyReused"
	// CodeRateLimited means that the token, or the address, makes too many requests a second.
	CodeRateLimited Code = "rateLimited"
	// CodeKeysFull means that the responses kept for the token's Idempotency-Keys have reached
	// Config.KeptBytes. Nothing was done.
	CodeKeysFull Code = "keysFull"
	// CodeInternal means that the server has failed. Its log has the cause.
	CodeInternal Code = "internal"
	// CodeQueueFull means that too many pushes wait for Redis. Nothing was done.
	CodeQueueFull Code = "queueFull"
	// CodeBusy means that Redis refuses writes, as when its memory is full. Nothing was done.
	CodeBusy Code = "busy"
	// CodeUnavailable means that the server is overloaded, starts, ends or is cut off from Redis.
	// Nothing was done.
	CodeUnavailable Code = "unavailable"
	// CodePartial means that not all nodes have replied. The result is what is known.
	CodePartial Code = "partial"
	// CodeTimeout means that the call has not ended in time. It may still take effect.
	CodeTimeout Code = "timeout"
)

var statuses = map[Code]int{
	CodeBadRequest: 400, CodeUnauthorized: 401, CodeForbidden: 403, CodeNotFound: 404, CodeUnknownMethod: 404, CodeNoConnection: 404,
	CodeNotAllowed: 405, CodeInProgress: 409, CodeOutcomeUnknown: 409, CodeLimit: 409, CodeTooLarge: 413, CodeMediaType: 415, CodeKeyReused: 422, CodeRateLimited: 429, CodeKeysFull: 429,
	CodeInternal: 500, CodeQueueFull: 503, CodeBusy: 503, CodeUnavailable: 503, CodePartial: 504, CodeTimeout: 504,
}

// Status returns the code's HTTP status.
func (c Code) Status() int {
	if s := statuses[c]; s != 0 {
		return s
	}
	return http.StatusInternalServerError
}

// undone tells whether nothing has happened, so that the request may be sent again.
func (c Code) undone() bool {
	return c == CodeQueueFull || c == CodeBusy || c == CodeUnavailable || c == CodeRateLimited || c == CodeKeysFull || c == CodeInProgress
}

// Error is the error in a response. The Client returns it, too.
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %s", e.Code, e.Message) }

// ErrQueued is a Backend's error for a push that connections of its own node have got, and others
// get when Redis accepts it.
var ErrQueued = errors.New("queued for other nodes")

func fail(c Code, format string, args ...any) *Error {
	return &Error{Code: c, Message: fmt.Sprintf(format, args...)}
}
