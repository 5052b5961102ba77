package framework

import (
	"bytes"
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

// handler is what the hub calls.
type handler struct {
	*dispatcher
	*entrance
}

// Message implements hub.Handler. Messages of the gateway's own clients and of socket.io pages are
// not routed.
func (h handler) Message(c *hub.Conn, data []byte) {
	if f := session.Of(c).Foreign; f != nil {
		f.Message(data)
		return
	}
	h.dispatcher.Message(c, data)
}

// MessageInline implements hub.Inliner.
func (h handler) MessageInline(c *hub.Conn, data []byte, turn hub.Turn) (rest func()) {
	if f := session.Of(c).Foreign; f != nil {
		turn.Begin()
		if f.MessageInline(data) {
			return nil
		}
		data = bytes.Clone(data)
		return func() { f.Message(data) }
	}
	return h.dispatcher.MessageInline(c, data, turn)
}

func (echo) MessageInline(c *hub.Conn, data []byte, _ hub.Turn) (rest func()) {
	_ = c.Echo(data)
	return nil
}

func (echo) Overran(*hub.Conn) {}

// call is a decoded request.
type call struct {
	ctx    *Ctx
	target target
	id     []byte // of the client's, for the reply; nil = none
}

// Message implements hub.Handler: each frame gets at most one reply (contract §3).
func (d *dispatcher) Message(c *hub.Conn, data []byte) {
	if call, ok := d.decode(c, data); ok {
		d.run(call)
	}
}

// MessageInline implements hub.Inliner: it runs actions that take microseconds.
func (d *dispatcher) MessageInline(c *hub.Conn, data []byte, turn hub.Turn) (rest func()) {
	call, ok := d.decode(c, data)
	if !ok {
		return nil
	}
	if !call.target.meter.pace.quick() {
		call.id = bytes.Clone(call.id) // it is a part of data
		return func() { d.run(call) }
	}
	turn.Begin()
	d.run(call)
	return nil
}

// Overran implements hub.Inliner: the action is slow, although it has not ended yet.
func (d *dispatcher) Overran(c *hub.Conn) {
	if route := session.Of(c).Acting.Load(); route != nil {
		d.router.overran(*route)
	}
}

// decode decodes one message. Without ok nothing is left to do: it was a heartbeat, or it was
// refused.
func (d *dispatcher) decode(c *hub.Conn, data []byte) (_ call, ok bool) {
	if d.heartbeats.answer(c, data) {
		return call{}, false
	}
	req, err := frame.Request{}, frame.ErrUTF8
	if !c.Binary() || utf8.Valid(data) { // of texts the hub has seen to it
		req, err = frame.Decode(data, d.decoding)
	}
	if err != nil {
		d.refuse(c, err, req.ID)
		return call{}, false
	}
	if d.ack {
		_ = push(c, received)
	}
	t, unknown := d.router.find(req.Method)
	if unknown != nil {
		_ = send(c, unknown.reply(), req.ID) // an error: the connection has ended
		return call{}, false
	}
	// data is the reader's buffer; an action may keep its Ctx.
	ctx := &Ctx{server: d.server, FD: c.FD, Auth: c.Auth, conn: c, route: t.name, Method: t.method, Requested: t.method}
	if t.respelled {
		ctx.Requested = string(req.Method)
	}
	ctx.body = slices.Clip(append(ctx.small[:0], req.Body...))
	if d.escape {
		ctx.body, ctx.wrote = frame.EscapeHTML(ctx.body), ctx.body
	}
	return call{ctx, t, req.ID}, true
}

// run runs the action of a request and sends its reply.
func (d *dispatcher) run(c call) {
	exited := true
	defer func() {
		if exited {
			conclude(c.ctx, nil, errExited, c.id)
		}
	}()
	reply, err := act(c.ctx, c.target)
	exited = false
	conclude(c.ctx, reply, err, c.id)
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
func act(ctx *Ctx, t target) (reply *Reply, err error) {
	begun := time.Since(started)
	s := session.Of(ctx.conn)
	s.Acting.Store(&ctx.route)
	defer func() {
		s.Acting.Store(nil)
		if v := recover(); v != nil {
			reply, err = nil, fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
		t.meter.add(time.Since(started)-begun, err)
	}()
	return t.action(ctx)
}

// started is a time for the clock to count from: time.Since reads one clock, where time.Now reads
// two.
var started = time.Now()

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
