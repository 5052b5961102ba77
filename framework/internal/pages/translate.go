package pages

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"wsframe/framework/internal/wire"
	"wsframe/framework/socketio"
)

// eventOnline is the event of the push with the number of online users (package push).
const eventOnline = "update_online_count"

// replyStart is how every reply of the server begins (package frame).
var replyStart = []byte(`{"status":`)

// Translate appends the packet of an event for the payload of a text frame (hub.PageConfig). A
// reply becomes an event of its name with its param. Any other text becomes the event "message".
func (ps *Pages) Translate(dst, payload []byte, version wire.Dialect) []byte {
	ascii := version < 4
	var reply struct {
		Event *string         `json:"event"`
		Param json.RawMessage `json:"param"`
	}
	switch {
	case !bytes.HasPrefix(payload, replyStart), json.Unmarshal(payload, &reply) != nil, reply.Event == nil:
		return socketio.AppendEvent(dst, ascii, "message", text(string(payload)))
	case *reply.Event == eventOnline:
		if html, ok := online(reply.Param); ok {
			ps.online.Store(&count{html, time.Now()})
			return socketio.AppendEvent(dst, ascii, eventOnline, text(html))
		}
	}
	if reply.Param == nil {
		return socketio.AppendEvent(dst, ascii, *reply.Event)
	}
	return socketio.AppendEvent(dst, ascii, *reply.Event, reply.Param)
}

// text returns a text as JSON.
func text(s string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic(err) // any string can be encoded
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'})
}

// count is what a login is answered with.
type count struct {
	html string
	at   time.Time
}

// count returns the numbers of the last update_online_count, at most a second old; "" = they are
// not known. If newer ones were sent, this process sees them within that second.
func (ps *Pages) count() string {
	last := ps.online.Load()
	if last != nil && time.Since(last.at) < time.Second {
		return last.html
	}
	if html, ok := online(ps.cfg.Online()); ok {
		ps.online.CompareAndSwap(last, &count{html, time.Now()}) // else a newer one has come
		return html
	}
	if last != nil {
		return last.html
	}
	return ""
}

// online returns what web-msg-sender's pages show in their footer.
func online(param json.RawMessage) (html string, ok bool) {
	var n struct{ Users, Connections *int }
	if json.Unmarshal(param, &n) != nil || n.Users == nil || n.Connections == nil {
		return "", false
	}
	return footer(*n.Users, *n.Connections), true
}

func footer(users, connections int) string {
	return fmt.Sprintf("当前<b>%d</b>人在线，共打开<b>%d</b>个页面", users, connections)
}
