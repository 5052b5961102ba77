package frameworktest

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"wsframe/framework"
)

// Client is one WebSocket connection of a test. It belongs to the test's goroutine. Its methods end
// the test where they fail.
type Client struct {
	t         testing.TB
	ws        *websocket.Conn
	nextID    int
	pushes    []*Frame // arrived while another frame was waited for
	positions []*Frame // events sysPosition
}

// Frame is a reply or a push.
type Frame struct {
	t      testing.TB
	Status int             `json:"status"`
	Event  string          `json:"event"`
	Info   string          `json:"info"`
	Param  json.RawMessage `json:"param"`
	ID     json.RawMessage `json:"id"`
	Ask    int64           `json:"ask"`  // number of a question; 0 = it is none
	Room   string          `json:"room"` // of pushes that are kept; so are Offset and Epoch
	Offset int64           `json:"offset"`
	Epoch  string          `json:"epoch"`
}

// Dial connects with a new token of the identity.
func (h *Harness) Dial(id framework.Identity) *Client {
	h.t.Helper()
	return h.DialQuery(id, "")
}

// DialQuery connects with a new token of the identity and further parameters of the query, such as
// recover=room:epoch:offset.
func (h *Harness) DialQuery(id framework.Identity, query string) *Client {
	h.t.Helper()
	if id.CTime == 0 {
		id.CTime = time.Now().Unix()
	}
	token, err := h.Tokens.Issue(id)
	check(h.t, err)
	if query != "" {
		token += "&" + query
	}
	return h.DialToken(token)
}

// DialToken connects with a given token.
func (h *Harness) DialToken(token string) *Client {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, h.URL+"?auth="+token, nil)
	check(h.t, err)
	ws.SetReadLimit(1 << 20)
	h.t.Cleanup(func() { _ = ws.CloseNow() })
	return &Client{t: h.t, ws: ws}
}

// Send sends a text frame.
func (c *Client) Send(text string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	defer cancel()
	check(c.t, c.ws.Write(ctx, websocket.MessageText, []byte(text)))
}

// Receive returns the text of the next frame. It leaves out positions of rooms (sysPosition), which
// arrive at any time: Position returns them.
func (c *Client) Receive() string {
	c.t.Helper()
	for {
		if text := c.read(); !c.keepPosition(text) {
			return text
		}
	}
}

func (c *Client) read() string {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	defer cancel()
	_, b, err := c.ws.Read(ctx)
	check(c.t, err)
	return string(b)
}

// keepPosition keeps a frame for Position, and tells whether it is one of sysPosition.
func (c *Client) keepPosition(text string) bool {
	if !strings.Contains(text, `"event":"sysPosition"`) {
		return false
	}
	c.positions = append(c.positions, c.frame(text))
	return true
}

// Position waits for the next sysPosition, which must be of that room, and returns its epoch and
// offset. Other pushes are kept for WantPush.
func (c *Client) Position(room string) (epoch string, offset int64) {
	c.t.Helper()
	for len(c.positions) == 0 {
		if text := c.read(); !c.keepPosition(text) {
			c.pushes = append(c.pushes, c.frame(text))
		}
	}
	var p struct {
		Room, Epoch string
		Offset      int64
	}
	c.positions[0].Into(&p)
	if c.positions = c.positions[1:]; p.Room != room {
		c.t.Fatalf("the position of %s, want %s", p.Room, room)
	}
	return p.Epoch, p.Offset
}

// Listen reads in the background until stop is called, as a page does: it replies to pings and
// keeps frames for WantPush. Without it, a Client replies to pings only while one of its methods
// reads. No other method may be called before stop.
func (c *Client) Listen() (stop func()) {
	done := make(chan error, 1)
	var texts []string
	go func() {
		for {
			_, b, err := c.ws.Read(context.Background())
			if err != nil || string(b) == "3" {
				done <- err
				return
			}
			texts = append(texts, string(b))
		}
	}()
	return func() {
		c.t.Helper()
		c.Send("2")
		check(c.t, <-done)
		for _, text := range texts {
			if !c.keepPosition(text) {
				c.pushes = append(c.pushes, c.frame(text))
			}
		}
	}
}

// WantClose waits for the server's close frame and checks its code. Frames before it are dropped.
func (c *Client) WantClose(code int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	defer cancel()
	for {
		_, _, err := c.ws.Read(ctx)
		if err == nil {
			continue
		}
		var ce websocket.CloseError
		if !errors.As(err, &ce) || int(ce.Code) != code {
			c.t.Fatalf("ended with %v, want close code %d", err, code)
		}
		return
	}
}

// Close ends the connection with code 1000.
func (c *Client) Close() {
	c.t.Helper()
	check(c.t, c.ws.Close(websocket.StatusNormalClosure, ""))
}

// Vanish ends the connection without a close frame.
func (c *Client) Vanish() { _ = c.ws.CloseNow() }

// Call sends a request and returns its reply. The request has the id of data, or a new one. Pushes
// that arrive before the reply are kept for WantPush.
func (c *Client) Call(method string, data map[string]any) *Frame {
	c.t.Helper()
	c.nextID++
	request := map[string]any{"method": method, "id": c.nextID}
	for k, v := range data {
		request[k] = v
	}
	b, err := json.Marshal(request)
	check(c.t, err)
	c.Send(string(b))
	want, err := json.Marshal(request["id"]) // of the data, where it has one
	check(c.t, err)
	for {
		f := c.frame(c.Receive())
		if string(f.ID) == string(want) {
			return f
		}
		c.pushes = append(c.pushes, f)
	}
}

// tell sends a request without an id, to which no reply is expected.
func (c *Client) tell(request map[string]any) {
	c.t.Helper()
	b, err := json.Marshal(request)
	check(c.t, err)
	c.Send(string(b))
}

func (c *Client) frame(text string) *Frame {
	c.t.Helper()
	f := &Frame{t: c.t}
	if err := json.Unmarshal([]byte(text), f); err != nil {
		c.t.Fatalf("not a frame: %.200q", text)
	}
	return f
}

// WantPush returns the next push, which must have that event.
func (c *Client) WantPush(event string) *Frame {
	c.t.Helper()
	var f *Frame
	if len(c.pushes) > 0 {
		f, c.pushes = c.pushes[0], c.pushes[1:]
	} else {
		f = c.frame(c.Receive())
	}
	if f.Event != event || f.ID != nil {
		c.t.Fatalf("got %d %s (id %s), want the push %s", f.Status, f.Event, f.ID, event)
	}
	return f
}

// NextPush returns the next push of an event and drops those before it. It is for pushes without a
// fixed order, such as joins and leaves of others.
func (c *Client) NextPush(event string) *Frame {
	c.t.Helper()
	for i, f := range c.pushes {
		if f.Event == event {
			c.pushes = c.pushes[i+1:]
			return f
		}
	}
	c.pushes = nil
	for {
		if f := c.frame(c.Receive()); f.Event == event && f.ID == nil {
			return f
		}
	}
}

// WantNothing checks that no push has arrived before the reply to a heartbeat.
func (c *Client) WantNothing() {
	c.t.Helper()
	if len(c.pushes) > 0 {
		c.t.Fatalf("unexpected push %s", c.pushes[0].Event)
	}
	c.Send("2")
	if got := c.Receive(); got != "3" {
		c.t.Fatalf("unexpected frame %.200s", got)
	}
}

// Want checks the status and the event.
func (f *Frame) Want(status int, event string) *Frame {
	f.t.Helper()
	if f.Status != status || f.Event != event {
		f.t.Fatalf("got %d %s %s, want %d %s", f.Status, f.Event, f.Param, status, event)
	}
	return f
}

// Into decodes the param into v.
func (f *Frame) Into(v any) *Frame {
	f.t.Helper()
	if err := json.Unmarshal(f.Param, v); err != nil {
		f.t.Fatalf("param of %s: %v: %s", f.Event, err, f.Param)
	}
	return f
}

// WantInfo checks the info text.
func (f *Frame) WantInfo(info string) *Frame {
	f.t.Helper()
	if f.Info != info {
		f.t.Fatalf("info of %s is %q, want %q", f.Event, f.Info, info)
	}
	return f
}

// WantParam checks the JSON of the param, byte for byte.
func (f *Frame) WantParam(json string) *Frame {
	f.t.Helper()
	if string(f.Param) != json {
		f.t.Fatalf("param of %s is %s, want %s", f.Event, f.Param, json)
	}
	return f
}
