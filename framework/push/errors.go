package push

import (
	"errors"
	"fmt"
	"net/http"
)

// Code names an error for programs.
type Code string

// What can go wrong.
const (
	CodeBadRequest     Code = "badRequest"       // malformed, unknown or missing fields, wrong types, too long
	CodeUnauthorized   Code = "unauthorized"     // no token, or a wrong one
	CodeForbidden      Code = "forbidden"        // the token's scopes do not allow it
	CodeNotFound       Code = "notFound"         // no such page
	CodeUnknownMethod  Code = "unknownMethod"    // no such call
	CodeNoConnection   Code = "noConnection"     // no node has the connection
	CodeNotAllowed     Code = "methodNotAllowed" // GET where POST is wanted
	CodeInProgress     Code = "inProgress"       // the same Idempotency-Key is under way for too long
	CodeOutcomeUnknown Code = "outcomeUnknown"   // the same Idempotency-Key was begun, and nobody knows what became of it
	CodeLimit          Code = "limitReached"     // the connection is in too many rooms, has too many uids, too large a session
	CodeTooLarge       Code = "tooLarge"         // the body, or the push for an outbox
	CodeMediaType      Code = "unsupportedMediaType"
	CodeKeyReused      Code = "keyReused" // the Idempotency-Key was another request's
	CodeRateLimited    Code = "rateLimited"
	CodeKeysFull       Code = "keysFull"    // too much is kept for the token's Idempotency-Keys; nothing was done
	CodeInternal       Code = "internal"    // the cause is in the server's log
	CodeQueueFull      Code = "queueFull"   // too much waits for Redis; nothing was done
	CodeBusy           Code = "busy"        // Redis takes nothing, as one whose memory is full; nothing was done
	CodeUnavailable    Code = "unavailable" // too many requests, the server starts or ends, or is cut off from Redis; nothing was done
	CodePartial        Code = "partial"     // not all nodes have answered; result holds what is known
	CodeTimeout        Code = "timeout"     // what was asked for may still happen
)

var statuses = map[Code]int{
	CodeBadRequest: 400, CodeUnauthorized: 401, CodeForbidden: 403, CodeNotFound: 404, CodeUnknownMethod: 404, CodeNoConnection: 404,
	CodeNotAllowed: 405, CodeInProgress: 409, CodeOutcomeUnknown: 409, CodeLimit: 409, CodeTooLarge: 413, CodeMediaType: 415, CodeKeyReused: 422, CodeRateLimited: 429, CodeKeysFull: 429,
	CodeInternal: 500, CodeQueueFull: 503, CodeBusy: 503, CodeUnavailable: 503, CodePartial: 504, CodeTimeout: 504,
}

// Status is the code's HTTP status.
func (c Code) Status() int {
	if s := statuses[c]; s != 0 {
		return s
	}
	return http.StatusInternalServerError
}

// undone tells that nothing has happened yet, so that a second try does no harm.
func (c Code) undone() bool {
	return c == CodeQueueFull || c == CodeBusy || c == CodeUnavailable || c == CodeRateLimited || c == CodeKeysFull || c == CodeInProgress
}

// Error is what a caller is told. The Client returns it, too.
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %s", e.Code, e.Message) }

// ErrQueued is a Backend's answer to a push that connections of its node have, and others get when Redis takes it.
var ErrQueued = errors.New("queued for other nodes")

func fail(c Code, format string, args ...any) *Error {
	return &Error{Code: c, Message: fmt.Sprintf(format, args...)}
}
