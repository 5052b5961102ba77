package manager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/lxzan/gws"
)

// Client is a connection to a Server. It makes one call at a time.
type Client struct {
	gws.BuiltinEventHandler

	conn    *gws.Conn
	replies chan []byte
	ended   chan struct{}
}

// Dial connects to the server at addr, a host and port. Its error is one line for people.
func Dial(ctx context.Context, addr, token string) (*Client, error) {
	c := &Client{replies: make(chan []byte, 1), ended: make(chan struct{})}
	timeout := 5 * time.Second
	if end, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(end))
	}
	header := http.Header{}
	if token != "" {
		header.Set("Authorization", "Bearer "+token)
	}
	conn, resp, err := gws.NewClient(c, &gws.ClientOption{
		Addr: "ws://" + addr + "/", RequestHeader: header, HandshakeTimeout: timeout,
		ReadMaxPayloadSize: 16 << 20, Logger: quiet{},
	})
	if err != nil {
		var op *net.OpError
		switch {
		case resp != nil && resp.StatusCode == http.StatusForbidden:
			return nil, fmt.Errorf("the server on %s refuses: is manager.token right?", addr)
		case errors.As(err, &op):
			return nil, fmt.Errorf("no server answers on %s: %w (is it started? console -s start)", addr, op.Err)
		}
		return nil, fmt.Errorf("what answers on %s is no wsframe manager: %w", addr, err)
	}
	c.conn = conn
	go conn.ReadLoop()
	return c, nil
}

// OnMessage implements gws.Event. It receives a reply.
func (c *Client) OnMessage(_ *gws.Conn, m *gws.Message) {
	defer m.Close()
	select {
	case c.replies <- append([]byte(nil), m.Bytes()...):
	default: // no call waits for it
	}
}

// OnClose implements gws.Event.
func (c *Client) OnClose(*gws.Conn, error) { close(c.ended) }

// Close ends the connection.
func (c *Client) Close() {
	_ = c.conn.WriteClose(1000, nil)
	<-c.ended
}

func (c *Client) call(ctx context.Context, r request, out any) error {
	r.Format = "json"
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := c.conn.WriteMessage(gws.OpcodeText, b); err != nil {
		return fmt.Errorf("ask the server: %w", err)
	}
	select {
	case reply := <-c.replies:
		var res struct {
			OK    bool
			Error string
			Data  json.RawMessage
		}
		if err := json.Unmarshal(reply, &res); err != nil {
			return fmt.Errorf("the server's answer cannot be read: %w", err)
		}
		if !res.OK {
			return errors.New(res.Error)
		}
		if out == nil || len(res.Data) == 0 {
			return nil
		}
		return json.Unmarshal(res.Data, out)
	case <-c.ended:
		return errors.New("the server ended the connection")
	case <-ctx.Done():
		return fmt.Errorf("the server does not answer: %w", ctx.Err())
	}
}

// Status returns the state of the server.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	return s, c.call(ctx, request{Method: "status"}, &s)
}

// Reload replaces the worker and returns when that has ended. With check it only examines whether a
// new one would serve.
func (c *Client) Reload(ctx context.Context, check bool) (r ReloadReport, err error) {
	return r, c.call(ctx, request{Method: "reload", Check: check}, &r)
}

// Stop ends the server and returns before that: Ended tells when the server has ended. With
// graceful, clients have the whole grace time.
func (c *Client) Stop(ctx context.Context, graceful bool) error {
	return c.call(ctx, request{Method: "stop", Graceful: &graceful}, nil)
}

// Say sends a text to every client and returns how many have got it.
func (c *Client) Say(ctx context.Context, text string) (n int, err error) {
	return n, c.call(ctx, request{Method: "say", Text: text}, &n)
}

// Connections lists open connections, sorted by fd, from offset on, at most limit.
func (c *Client) Connections(ctx context.Context, offset, limit int) (list []ConnInfo, err error) {
	return list, c.call(ctx, request{Method: "connections", Offset: offset, Limit: limit}, &list)
}

// Nodes lists the nodes of the cluster.
func (c *Client) Nodes(ctx context.Context) (list []NodeInfo, err error) {
	return list, c.call(ctx, request{Method: "nodes"}, &list)
}

// Ended is closed when the server has ended the connection.
func (c *Client) Ended() <-chan struct{} { return c.ended }
