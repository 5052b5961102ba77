package framework

import (
	"fmt"
	"strconv"
	"sync"

	"wsframe/framework/frame"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/wire"
)

// bufPool holds buffers in which replies are encoded after the space for their frame header.
var bufPool = sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }}

// maxPooled keeps the buffer of a huge reply out of the pool, in bytes.
const maxPooled = 64 << 10

// push sends an unasked frame to one connection.
func push(c *hub.Conn, r *Reply) error { return send(c, r, nil) }

// sendWith sends an unasked frame with a number beside its param.
func sendWith(c *hub.Conn, r *Reply, name string, number int64) error {
	b, err := frame.AppendReply(make([]byte, wire.Headroom, 256), r, nil)
	if err != nil {
		return fmt.Errorf("encode %s: %w", r.Event, err)
	}
	b = append(b[:len(b)-1], `,"`+name+`":`...)
	return c.SendText(append(strconv.AppendInt(b, number, 10), '}'))
}

// send encodes and sends one frame; id is the request's, nil for pushes.
func send(c *hub.Conn, r *Reply, id []byte) error {
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
