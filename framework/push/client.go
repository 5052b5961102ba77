package push

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Client calls a Server. Each call has an Idempotency-Key of its own, so that the HTTP client may send it again when a connection breaks.
// Errors of the server are *Error. A Client is safe for concurrent use.
type Client struct {
	base, token string

	// HTTP does the requests; its default gives up after 10 s.
	HTTP *http.Client
}

// NewClient makes a Client for the server at base, like http://127.0.0.1:2121. token is "" where none is configured.
func NewClient(base, token string) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("push: %q is not the address of a server", base)
	}
	return &Client{strings.TrimRight(base, "/"), token, &http.Client{Timeout: 10 * time.Second}}, nil
}

// Call does any call: params is its body, and result, which may be nil, gets what it answers.
func (c *Client) Call(ctx context.Context, method string, params, result any) error {
	return c.CallOnce(ctx, rand.Text(), method, params, result)
}

// CallOnce is Call with an Idempotency-Key of the caller's: the same call with the same key is done once in ten minutes, whoever makes it.
func (c *Client) CallOnce(ctx context.Context, key, method string, params, result any) error {
	body, err := json.Marshal(params)
	if err != nil {
		return fmt.Errorf("push: %s: %w", method, err)
	}
	for try := 1; ; try++ {
		err := c.post(ctx, key, method, body, result)
		var e *Error
		if !errors.As(err, &e) || e.Code != CodeUnavailable || try == 3 {
			return err
		}
		select { // a worker that is just being replaced has done nothing
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}

func (c *Client) post(ctx context.Context, key, method string, body []byte, result any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+"/api/v1/"+url.PathEscape(method), bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("push: %s: %w", method, err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Idempotency-Key", key)
	status, text, err := c.do(r)
	if err != nil {
		return fmt.Errorf("push: %s: %w", method, err)
	}
	var answer struct {
		Result json.RawMessage
		Error  *Error
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return fmt.Errorf("push: %s: HTTP %d, which no wsframe server says", method, status)
	}
	if result != nil && len(answer.Result) > 0 {
		if err := json.Unmarshal(answer.Result, result); err != nil {
			return fmt.Errorf("push: %s: %w", method, err)
		}
	}
	if answer.Error != nil {
		return answer.Error
	}
	return nil
}

func (c *Client) do(r *http.Request) (status int, body []byte, err error) {
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err := c.HTTP.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	body, err = io.ReadAll(res.Body)
	return res.StatusCode, body, err
}

// NewMsg is web-msg-sender's form: text for one user, or for all where uid is "". The server escapes it for HTML. It answers ok, offline or fail.
func (c *Client) NewMsg(ctx context.Context, uid, text string) (string, error) {
	form := url.Values{"type": {"publish"}, "to": {uid}, "content": {text}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+"/", strings.NewReader(form.Encode()))
	if err != nil {
		return "", fmt.Errorf("push: new_msg: %w", err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	_, said, err := c.do(r)
	if err != nil {
		return "", fmt.Errorf("push: new_msg: %w", err)
	}
	return string(said), nil
}

// The calls, as the server's OpenAPI document describes them.

func ask[T any](ctx context.Context, c *Client, method string, params any) (result T, err error) {
	err = c.Call(ctx, method, params, &result)
	return result, err
}

// SendToFD sends a push to one connection.
func (c *Client) SendToFD(ctx context.Context, fd int64, p *Push) error {
	return c.Call(ctx, "sendToFD", pushToFD{onFD{fd}, *p}, nil)
}

// SendToUID sends a push to all connections of a user.
func (c *Client) SendToUID(ctx context.Context, uid string, p *Push) error {
	return c.Call(ctx, "sendToUID", pushToUID{onUID{uid}, *p}, nil)
}

// SendToRoom sends a push to all members of a room; the zero Keep leaves its history to the server.
func (c *Client) SendToRoom(ctx context.Context, room string, p *Push, k Keep) error {
	return c.Call(ctx, "sendToRoom", pushToRoom{onRoom{room}, *p, k}, nil)
}

// Publish is SendToRoom.
func (c *Client) Publish(ctx context.Context, room string, p *Push, k Keep) error {
	return c.SendToRoom(ctx, room, p, k)
}

// SendToAll sends a push to all connections.
func (c *Client) SendToAll(ctx context.Context, p *Push) error {
	return c.Call(ctx, "sendToAll", pushToAll{*p}, nil)
}

// Reach is SendToUID that says how many connections have taken the push.
func (c *Client) Reach(ctx context.Context, uid string, p *Push) (connections int, err error) {
	r, err := ask[reached](ctx, c, "reach", pushToUID{onUID{uid}, *p})
	return r.Connections, err
}

// Join puts a connection into a room. With announce the members are told who comes and leaves.
func (c *Client) Join(ctx context.Context, fd int64, room string, announce bool) error {
	return c.Call(ctx, "join", joining{onFD{fd}, onRoom{room}, announce}, nil)
}

// Leave takes a connection out of a room.
func (c *Client) Leave(ctx context.Context, fd int64, room string) error {
	return c.Call(ctx, "leave", fdAndRoom{onFD{fd}, onRoom{room}}, nil)
}

// LeaveAll takes a connection out of all its rooms.
func (c *Client) LeaveAll(ctx context.Context, fd int64) error {
	return c.Call(ctx, "leaveAll", onFD{fd}, nil)
}

// DismissRoom takes all members out of a room and counts them.
func (c *Client) DismissRoom(ctx context.Context, room string) (members int, err error) {
	r, err := ask[membersCount](ctx, c, "dismissRoom", onRoom{room})
	return r.Members, err
}

// BindUID has a connection reached by a uid.
func (c *Client) BindUID(ctx context.Context, fd int64, uid string) error {
	return c.Call(ctx, "bindUID", fdAndUID{onFD{fd}, onUID{uid}}, nil)
}

// UnbindUID undoes BindUID.
func (c *Client) UnbindUID(ctx context.Context, fd int64, uid string) error {
	return c.Call(ctx, "unbindUID", fdAndUID{onFD{fd}, onUID{uid}}, nil)
}

// Kick closes a connection behind what was sent to it before. The code is 1000 or 3000-4999, 0 = 4011.
func (c *Client) Kick(ctx context.Context, fd int64, code int, reason string) error {
	return c.Call(ctx, "kick", kick{onFD{fd}, code, reason}, nil)
}

// KickUID closes all connections of a user and counts them.
func (c *Client) KickUID(ctx context.Context, uid string, code int, reason string) (connections int, err error) {
	r, err := ask[reached](ctx, c, "kickUID", kickUID{onUID{uid}, code, reason})
	return r.Connections, err
}

// Session is what is kept with a connection.
func (c *Client) Session(ctx context.Context, fd int64) (map[string]json.RawMessage, error) {
	r, err := ask[session](ctx, c, "session", onFD{fd})
	return r.Values, err
}

// SetSession replaces what is kept with a connection.
func (c *Client) SetSession(ctx context.Context, fd int64, values map[string]json.RawMessage) error {
	return c.Call(ctx, "setSession", sessionValues{onFD{fd}, values}, nil)
}

// UpdateSession merges values into what is kept with a connection; null removes one.
func (c *Client) UpdateSession(ctx context.Context, fd int64, values map[string]json.RawMessage) error {
	return c.Call(ctx, "updateSession", sessionValues{onFD{fd}, values}, nil)
}

// IsOnline tells whether a connection lives.
func (c *Client) IsOnline(ctx context.Context, fd int64) (bool, error) {
	r, err := ask[online](ctx, c, "isOnline", onFD{fd})
	return r.Online, err
}

// IsUIDOnline tells whether a user has a connection.
func (c *Client) IsUIDOnline(ctx context.Context, uid string) (bool, error) {
	r, err := ask[online](ctx, c, "isUIDOnline", onUID{uid})
	return r.Online, err
}

// Counts are totals over all nodes.
func (c *Client) Counts(ctx context.Context) (Counts, error) {
	return ask[Counts](ctx, c, "counts", nothing{})
}

// RoomCount is the number of members of a room.
func (c *Client) RoomCount(ctx context.Context, room string) (int, error) {
	r, err := ask[membersCount](ctx, c, "roomCount", onRoom{room})
	return r.Members, err
}

// Connections lists connections by fd, those beyond after, at most limit, which is 1 to 1,000.
func (c *Client) Connections(ctx context.Context, after int64, limit int) ([]Connection, error) {
	r, err := ask[connectionList](ctx, c, "connections", fdPage{after, limit})
	return r.Items, err
}

// RoomMembers lists the members of a room, as Connections does.
func (c *Client) RoomMembers(ctx context.Context, room string, after int64, limit int) ([]Connection, error) {
	r, err := ask[connectionList](ctx, c, "roomMembers", memberPage{onRoom{room}, fdPage{after, limit}})
	return r.Items, err
}

// UIDs lists users that have connections, by name, those beyond after.
func (c *Client) UIDs(ctx context.Context, after string, limit int) ([]string, error) {
	r, err := ask[nameList](ctx, c, "uids", namePage{after, limit})
	return r.Items, err
}

// RoomNames lists rooms that have members, by name, those beyond after.
func (c *Client) RoomNames(ctx context.Context, after string, limit int) ([]string, error) {
	r, err := ask[nameList](ctx, c, "roomNames", namePage{after, limit})
	return r.Items, err
}

// History is a part of what a room has kept, beyond the offset after; -1 = the newest.
func (c *Client) History(ctx context.Context, room string, after int64, limit int) (HistoryPage, error) {
	return ask[HistoryPage](ctx, c, "history", historyPage{onRoom{room}, after, limit})
}
