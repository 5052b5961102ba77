package framework

import (
	"errors"
	"fmt"

	"go.uber.org/zap"

	"wsframe/framework/frame"
	"wsframe/framework/internal/contract"
)

// Reply is the answer of an action, or a push: {"status","event","info","param"} (contract §3). An
// empty Param is left out.
type Reply = frame.Reply

// OK is a reply with status 200. At most one param is used.
func OK(event, info string, param ...any) *Reply { return Answer(200, event, info, param...) }

// Answer is a reply with any status. At most one param is used.
func Answer(status int, event, info string, param ...any) *Reply {
	r := &Reply{Status: status, Event: event, Info: info}
	if len(param) > 0 {
		r.Param = param[0]
	}
	return r
}

// Fail is an error that the client may see. An action that returns one answers with it. Declare
// Fails as values in one table; they are immutable and safe to share.
type Fail struct {
	Status int
	Event  string
	Info   string
	Param  any

	cause error
}

// NewFail declares an error with its wire form.
func NewFail(status int, event, info string) *Fail {
	declared.Failure(contract.Failure{Status: status, Event: event, Info: info})
	return &Fail{Status: status, Event: event, Info: info}
}

func (f *Fail) Error() string {
	if f.cause != nil {
		return fmt.Sprintf("%d %s: %v", f.Status, f.Event, f.cause)
	}
	return fmt.Sprintf("%d %s", f.Status, f.Event)
}

// Because returns a copy that carries the cause: it goes to the log, never to the client.
func (f *Fail) Because(cause error) *Fail {
	c := *f
	c.cause = cause
	return &c
}

// With returns a copy that has a param for the client.
func (f *Fail) With(param any) *Fail {
	c := *f
	c.Param = param
	return &c
}

// Unwrap returns the cause.
func (f *Fail) Unwrap() error { return f.cause }

// Is makes errors.Is match the declared value whatever its cause or param.
func (f *Fail) Is(target error) bool {
	var t *Fail
	return errors.As(target, &t) && t.Status == f.Status && t.Event == f.Event
}

func (f *Fail) reply() *Reply {
	return &Reply{Status: f.Status, Event: f.Event, Info: f.Info, Param: f.Param}
}

// Answers of the framework itself (contract §3).
var (
	errController = NewFail(404, "controllerNotFound", "您请求的控制器不存在")
	errMethod     = NewFail(405, "methodNotFound", "您请求的method方法不存在")
	errInternal   = NewFail(500, "controllerError", "程序错误")
	errParam      = NewFail(400, "paramError", "参数错误")
)

var received = OK("receiveMessage", "服务端已收到您的请求内容")

// failure is the client's answer to an error. Only a Fail's own words go out; causes go to the log.
func failure(err error, log func() *zap.Logger) *Reply {
	var fail *Fail
	if !errors.As(err, &fail) {
		log().Error("action failed", zap.Error(err))
		return errInternal.reply()
	}
	if fail.cause != nil && fail.Status >= 500 {
		log().Error("action failed", zap.Error(err))
	}
	return fail.reply()
}
