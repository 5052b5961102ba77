package push

import (
	"context"
	"errors"

	"go.uber.org/zap"
)

// reporter turns a Backend's errors into those that callers get, and logs the causes that callers
// do not see.
type reporter struct {
	backend Backend
	log     *zap.Logger
}

// errorOf returns the caller's error for one of a call.
func (r *reporter) errorOf(call string, err error) *Error {
	e, cause := r.classify(err)
	if cause != nil {
		r.warn(call, cause)
	}
	return e
}

// note logs an error of a call that has no caller: one that callers would not see, or a full queue.
func (r *reporter) note(call string, err error) {
	if e, cause := r.classify(err); cause != nil || e.Code == CodeQueueFull {
		r.warn(call, err)
	}
}

func (r *reporter) warn(call string, err error) {
	r.log.Warn("push port", zap.String("call", call), zap.Error(err))
}

// classify returns the caller's error; cause is what only the log gets, or nil.
func (r *reporter) classify(err error) (e *Error, cause error) {
	if errors.As(err, &e) {
		return e, nil
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return fail(CodeTimeout, "it took too long; it may still happen"), nil
	}
	code, message := r.backend.ErrorCode(err)
	switch {
	case statuses[code] == 0 || code == CodeInternal:
		return fail(CodeInternal, "internal error"), err
	case message == "":
		message = err.Error()
	}
	return fail(code, "%s", message), nil
}
