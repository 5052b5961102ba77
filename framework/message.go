package framework

import (
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"go.uber.org/zap"

	"wsframe/framework/frame"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/session"
	"wsframe/framework/internal/wire"
	"wsframe/library/config"
)

// bufPool holds the buffers in which replies are encoded behind the space for their frame header.
var bufPool = sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }}

// maxPooled keeps a huge reply's buffer from staying.
const maxPooled = 64 << 10

// push sends an unasked frame to one connection.
func (a *App) push(c *hub.Conn, r *Reply) error { return a.send(c, r, nil) }

// send encodes and sends one frame; id is the request's, nil for pushes.
func (a *App) send(c *hub.Conn, r *Reply, id []byte) error {
	p := bufPool.Get().(*[]byte)
	b, err := frame.AppendReply((*p)[:wire.Headroom], r, id)
	if err == nil {
		err = c.SendText(b)
	} else {
		err = fmt.Errorf("encode %s: %w", r.Event, err)
	}
	if cap(b) <= maxPooled {
		*p = b
		bufPool.Put(p)
	}
	return err
}

// heartbeats are the texts that are signs of life, with their answers' frames.
type heartbeats struct {
	answers map[string]wire.Frame
	longest int
}

func newHeartbeats(list []string) (h heartbeats, err error) {
	texts, err := config.HeartbeatTexts(list)
	h.answers = make(map[string]wire.Frame, len(texts))
	for text, answer := range texts {
		var f wire.Frame
		if answer != "" {
			f = wire.TextFrame([]byte(answer))
		}
		h.answers[text], h.longest = f, max(h.longest, len(text))
	}
	return h, err
}

// beat answers a heartbeat. It tells whether data is one.
func (a *App) beat(c *hub.Conn, data []byte) bool {
	if len(data) > a.heartbeats.longest {
		return false
	}
	answer, ok := a.heartbeats.answers[string(data)]
	if ok && answer.Len() > 0 {
		_ = c.Send(answer) // gone or slow: its close path is running
	}
	return ok
}

// Message implements hub.Handler: one frame in, at most one reply out (contract §3).
func (a *App) Message(c *hub.Conn, data []byte) { a.handle(c, data, false) }

// MessageInline implements hub.Inliner: it handles only what takes microseconds.
func (a *App) MessageInline(c *hub.Conn, data []byte) bool { return a.handle(c, data, true) }

// handle handles one message. With inline it does nothing and returns false if the action may be slow.
func (a *App) handle(c *hub.Conn, data []byte, inline bool) bool {
	if a.beat(c, data) {
		return true
	}
	req, err := frame.Request{}, frame.ErrUTF8
	if !c.Binary() || utf8.Valid(data) { // of texts the hub has seen to it
		req, err = frame.Decode(data, a.decoding)
	}
	number := (*frame.NumberError)(nil)
	if err != nil && !errors.As(err, &number) {
		a.refuse(c, err)
		return true
	}
	t, unknown := a.router.find(req.Method)
	if inline && unknown == nil && !t.meter.pace.quick() {
		return false
	}
	if a.cfg.Protocol.ReceiveAck {
		_ = a.push(c, received)
	}
	if number != nil {
		_ = a.send(c, errParam.With([]FieldError{{number.Field, "number"}}).reply(), req.ID) // gone or slow: its close path is running
		return true
	}
	// data is the reader's buffer; an action may keep its Ctx.
	ctx := &Ctx{Sender: &a.Sender, FD: c.FD, Auth: c.Auth, conn: c, body: append([]byte(nil), req.Body...)}
	if a.cfg.Protocol.EscapeHTML {
		ctx.body, ctx.wrote = frame.EscapeHTML(ctx.body), ctx.body
	}
	exited := true
	defer func() {
		if exited {
			a.conclude(ctx, nil, errExited, req.ID)
		}
	}()
	reply, err := a.act(ctx, t, unknown, req.Method)
	exited = false
	a.conclude(ctx, reply, err, req.ID)
	return true
}

// errExited is what an action has done that ended its goroutine, by runtime.Goexit; the connection goes on in another.
var errExited = errors.New("the action has ended its goroutine")

// conclude answers what an action has given.
func (a *App) conclude(ctx *Ctx, reply *Reply, err error, id []byte) {
	if err != nil {
		reply = a.failure(ctx, err)
	}
	if reply != nil {
		a.answer(ctx, reply, id)
	}
	ctx.done()
}

func (a *App) answer(ctx *Ctx, reply *Reply, id []byte) {
	if err := a.send(ctx.conn, reply, id); err != nil && !errors.Is(err, hub.ErrClosed) && !errors.Is(err, hub.ErrSlow) {
		ctx.Log().Error("reply cannot be sent", zap.Error(err))
		_ = a.send(ctx.conn, errInternal.reply(), id)
	}
}

// act runs the routed action. A panic becomes an error: the client gets a 500 and the connection lives.
func (a *App) act(ctx *Ctx, t target, unknown *Fail, method []byte) (reply *Reply, err error) {
	if unknown != nil {
		return unknown.reply(), nil
	}
	ctx.route = t.name
	if ctx.Method, ctx.Requested = t.method, t.method; t.respelled {
		ctx.Requested = string(method)
	}
	begun := time.Now()
	s := session.Of(ctx.conn)
	s.Acting.Store(&ctx.route)
	defer func() {
		s.Acting.Store(nil)
		if v := recover(); v != nil {
			reply, err = nil, fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
		t.meter.add(time.Since(begun), err)
	}()
	return t.action(ctx)
}

// maxNamed bounds a list for people.
const maxNamed = 10

// running names the actions that run, for people.
func (a *App) running() string {
	var list []string
	a.hub.Each(func(c *hub.Conn) bool {
		if method := session.Of(c).Acting.Load(); method != nil {
			list = append(list, fmt.Sprintf("%.100s of connection %d", *method, c.FD))
		}
		return len(list) <= maxNamed
	})
	slices.Sort(list)
	if len(list) > maxNamed {
		list[maxNamed] = "…"
	}
	return strings.Join(list, ", ")
}

// failure is what the client is told of an error. Only a Fail's own words go out; causes go to the log.
func (a *App) failure(ctx *Ctx, err error) *Reply {
	var fail *Fail
	if !errors.As(err, &fail) {
		ctx.Log().Error("action failed", zap.Error(err))
		return errInternal.reply()
	}
	if fail.cause != nil && fail.Status >= 500 {
		ctx.Log().Error("action failed", zap.Error(err))
	}
	return fail.reply()
}

// refuse closes a connection whose frame breaks the contract.
func (a *App) refuse(c *hub.Conn, err error) {
	code := wire.ClosePolicy
	if errors.Is(err, frame.ErrUTF8) || errors.Is(err, frame.ErrSyntax) || errors.Is(err, frame.ErrNotObject) {
		code = wire.CloseBadData
	}
	c.Close(code, err.Error())
}
