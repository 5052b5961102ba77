package framework

import (
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"
	"unicode/utf8"

	"go.uber.org/zap"

	"wsframe/framework/frame"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/session"
	"wsframe/framework/internal/wire"
)

// dispatcher answers the frames of clients: it decodes, routes and runs actions.
type dispatcher struct {
	server     *Server
	router     *router
	heartbeats heartbeats
	decoding   frame.Options
	ack        bool // protocol.receive_ack
	escape     bool // protocol.escape_html
}

// Message implements hub.Handler: each frame gets at most one reply (contract §3).
func (d *dispatcher) Message(c *hub.Conn, data []byte) { d.handle(c, data, false) }

// MessageInline implements hub.Inliner: it handles only what takes microseconds.
func (d *dispatcher) MessageInline(c *hub.Conn, data []byte) bool { return d.handle(c, data, true) }

// Overran implements hub.Inliner: the action is slow, although it has not ended yet.
func (d *dispatcher) Overran(c *hub.Conn) {
	if route := session.Of(c).Acting.Load(); route != nil {
		d.router.overran(*route)
	}
}

// handle handles one message. With inline it does nothing and returns false if the action may be
// slow.
func (d *dispatcher) handle(c *hub.Conn, data []byte, inline bool) bool {
	if d.heartbeats.answer(c, data) {
		return true
	}
	req, err := frame.Request{}, frame.ErrUTF8
	if !c.Binary() || utf8.Valid(data) { // of texts the hub has seen to it
		req, err = frame.Decode(data, d.decoding)
	}
	if err != nil {
		d.refuse(c, err, req.ID)
		return true
	}
	t, unknown := d.router.find(req.Method)
	if inline && unknown == nil && !t.meter.pace.quick() {
		return false
	}
	if d.ack {
		_ = push(c, received)
	}
	// data is the reader's buffer; an action may keep its Ctx.
	ctx := &Ctx{server: d.server, FD: c.FD, Auth: c.Auth, conn: c}
	ctx.body = slices.Clip(append(ctx.small[:0], req.Body...))
	if d.escape {
		ctx.body, ctx.wrote = frame.EscapeHTML(ctx.body), ctx.body
	}
	exited := true
	defer func() {
		if exited {
			conclude(ctx, nil, errExited, req.ID)
		}
	}()
	reply, err := d.act(ctx, t, unknown, req.Method)
	exited = false
	conclude(ctx, reply, err, req.ID)
	return true
}

// errExited is the error of an action that has ended its goroutine by runtime.Goexit. The
// connection goes on in another goroutine.
var errExited = errors.New("the action has ended its goroutine")

// conclude sends the reply of an action, or that of its error.
func conclude(ctx *Ctx, reply *Reply, err error, id []byte) {
	if err != nil {
		reply = failure(err, ctx.Log)
	}
	if reply != nil {
		answer(ctx, reply, id)
	}
	ctx.ending.reply(ctx.conn)
}

func answer(ctx *Ctx, reply *Reply, id []byte) {
	if err := send(ctx.conn, reply, id); err != nil && !errors.Is(err, hub.ErrClosed) && !errors.Is(err, hub.ErrSlow) {
		ctx.Log().Error("reply cannot be sent", zap.Error(err))
		_ = send(ctx.conn, errInternal.reply(), id)
	}
}

// act runs the routed action. A panic becomes an error: the client gets a 500, and the connection
// lives.
func (d *dispatcher) act(ctx *Ctx, t target, unknown *Fail, method []byte) (reply *Reply, err error) {
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

// refuse answers a number that cannot be represented, and closes a connection whose frame breaks
// the contract otherwise.
func (d *dispatcher) refuse(c *hub.Conn, err error, id []byte) {
	var number *frame.NumberError
	if errors.As(err, &number) {
		if d.ack {
			_ = push(c, received)
		}
		_ = send(c, errParam.With([]FieldError{{number.Field, "number"}}).reply(), id) // an error: the connection has ended
		return
	}
	code := wire.ClosePolicy
	if errors.Is(err, frame.ErrUTF8) || errors.Is(err, frame.ErrSyntax) || errors.Is(err, frame.ErrNotObject) {
		code = wire.CloseBadData
	}
	c.Close(code, err.Error())
}
