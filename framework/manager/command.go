package manager

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"strings"
	"time"

	"go.uber.org/zap"
)

// The texts of the original's replies (contract §5).
const (
	textReload  = "服务即将重启"
	textStop    = "服务即将关闭"
	textUnknown = "指令无效"
	textFormat  = "格式不符合规范"
	textStatus  = "当前服务器共有 %d 个连接\n主进程PID: %d\n内存占用量: %d MB"
	textHangs   = "\n工作进程已 %d 秒没有响应" // ours
)

// The bounds of commands. The steps of a reload have bounds of their own.
const (
	commandTime = 10 * time.Second
	reloadTime  = 5 * time.Minute
)

// The bounds of the command connections.
const (
	maxPage   = 1000 // connections in one reply
	maxOffset = math.MaxInt32
)

var (
	errNoCommand = errors.New("a JSON object with a method is wanted")
	errUnknown   = errors.New("unknown command")
	errPanic     = errors.New("the command failed; the server's log says why")
)

// request is a command. With the format "json", which package console uses, the reply is JSON; else
// it is one of the original's texts.
type request struct {
	Method   string `json:"method"`
	Format   string `json:"format,omitempty"`
	Text     string `json:"text,omitempty"`
	Check    bool   `json:"check,omitempty"`
	Graceful *bool  `json:"graceful,omitempty"`
	Offset   int    `json:"offset,omitempty"`
	Limit    int    `json:"limit,omitempty"`
}

// parse parses a command. An unknown key is refused, since it could be a misspelt "check": then an
// examination would become a reload.
func parse(frame []byte) (request, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(frame, &fields); err != nil {
		return request{}, errNoCommand
	}
	r := request{Method: text(fields["method"]), Format: text(fields["format"]), Text: text(fields["text"])}
	if r.Method == "" {
		return request{}, errNoCommand
	}
	if r.Text == "" {
		r.Text = text(fields["param"]) // the original's console calls it so
	}
	for name, raw := range fields {
		if err := r.set(name, raw); err != nil {
			return r, err
		}
	}
	switch {
	case twice(frame):
		return r, errors.New("a key is there twice")
	case r.Method == "say" && r.Text == "":
		return r, errors.New("text is missing")
	}
	return r, r.inRange()
}

// set decodes one key of a command.
func (r *request) set(name string, raw json.RawMessage) error {
	into, known := map[string]any{
		"method": nil, "format": nil, "text": nil, "param": nil, // any value is read as a text
		"check": &r.Check, "graceful": &r.Graceful, "offset": &r.Offset, "limit": &r.Limit,
	}[name]
	switch {
	case !known:
		return fmt.Errorf("%.64q is no key of a command", name)
	case into == nil:
		return nil
	}
	if string(raw) == "null" || json.Unmarshal(raw, into) != nil {
		return fmt.Errorf("%s has the wrong type", name)
	}
	return nil
}

// twice tells whether an object has a key more than once.
func twice(object []byte) bool {
	d, seen := json.NewDecoder(bytes.NewReader(object)), map[json.Token]bool{}
	_, _ = d.Token() // the brace: the object has been parsed before
	for d.More() {
		name, err := d.Token()
		var value json.RawMessage
		if err != nil || d.Decode(&value) != nil || seen[name] {
			return true
		}
		seen[name] = true
	}
	return false
}

// inRange refuses numbers that no list has. A limit beyond maxPage means maxPage.
func (r *request) inRange() error {
	switch {
	case r.Offset < 0 || r.Offset > maxOffset:
		return fmt.Errorf("offset must be from 0 to %d", maxOffset)
	case r.Limit < 0:
		return errors.New("limit must not be negative")
	}
	return nil
}

// text returns the text of a JSON string. Another value is returned as it was sent, since PHP sends
// numbers, too.
func text(raw json.RawMessage) string {
	var s string
	if len(raw) > 0 && json.Unmarshal(raw, &s) != nil {
		return strings.ToValidUTF8(string(raw), "\ufffd") // as encoding/json does with strings
	}
	return s
}

// known returns the method where it exists, else "unknown". Clients of the original have fewer.
func (r *request) known() string {
	switch r.Method {
	case "status", "reload", "stop", "say":
		return r.Method
	case "connections", "nodes":
		if r.Format == "json" {
			return r.Method
		}
	}
	return "unknown"
}

// command runs a command and sends the reply. It returns how long the connection may be idle
// afterwards; 0 = no bound.
func (s *Server) command(c *session, frame []byte) (idle time.Duration) {
	r, err := parse(frame)
	method, begun := r.known(), time.Now()
	// The log gets no text of the client: neither what is said nor the name of an unknown method.
	fields := []zap.Field{zap.String("method", method), zap.String("peer", c.peer)}
	switch {
	case errors.Is(err, errNoCommand):
		s.warn(&s.malformed, "admin command is malformed", fields...)
		c.write([]byte(textFormat))
		s.end(c, 1007)
		return idleTime
	case err == nil && method == "unknown":
		err = errUnknown
	}
	var data any
	if err == nil {
		s.cfg.Log.Info("admin command", fields...)
		if r.Format != "json" { // clients of the original get the reply before the command's end
			switch method {
			case "reload":
				c.write([]byte(textReload))
			case "stop":
				c.write([]byte(textStop))
			}
		}
		data, err = s.run(&r)
	}
	if err != nil {
		s.cfg.Log.Error("admin command failed", append(fields, zap.Duration("took", time.Since(begun)), zap.Error(err))...)
	}
	s.reply(c, &r, data, err)
	if method == "stop" && err == nil {
		s.mu.Lock()
		c.stops = true
		s.mu.Unlock()
		return 0 // the client waits for the end of the connection
	}
	return idleTime
}

func (s *Server) run(r *request) (data any, err error) {
	defer func() {
		if v := recover(); v != nil {
			s.cfg.Log.Error("panic in an admin command", zap.Any("panic", v), zap.ByteString("stack", debug.Stack()))
			data, err = nil, errPanic
		}
	}()
	limit := commandTime
	if r.Method == "reload" {
		limit = reloadTime
	}
	ctx, cancel := context.WithTimeout(s.life, limit)
	defer cancel()
	b := s.cfg.Backend
	switch r.Method {
	case "status":
		return b.Status(ctx)
	case "reload":
		return b.Reload(ctx, r.Check)
	case "stop":
		return nil, b.Stop(ctx, r.Graceful == nil || *r.Graceful)
	case "say":
		return b.Say(ctx, r.Text)
	case "nodes":
		return b.Nodes(ctx)
	default: // connections
		limit := min(r.Limit, maxPage)
		if limit == 0 {
			limit = maxPage
		}
		return b.Connections(ctx, r.Offset, limit)
	}
}

// result is the reply to a request of format json.
type result struct {
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
	Data  any    `json:"data,omitempty"`
}

// reply sends the result of a command.
func (s *Server) reply(c *session, r *request, data any, err error) {
	if r.Format != "json" {
		s.replyText(c, data, err)
		return
	}
	res := result{OK: err == nil, Data: data}
	if err != nil {
		res = result{Error: err.Error()}
	}
	out, err := json.Marshal(res)
	if err != nil {
		s.cfg.Log.Error("admin answer", zap.Error(err))
		out = []byte(`{"ok":false,"error":"the answer cannot be written"}`)
	}
	c.write(out)
}

func (s *Server) replyText(c *session, data any, err error) {
	switch {
	case errors.Is(err, errUnknown):
		c.write([]byte(textUnknown))
		s.end(c, 1008)
	case err != nil:
		c.write([]byte(err.Error()))
	default:
		if st, ok := data.(Status); ok {
			text := fmt.Appendf(nil, textStatus, st.Connections, st.MasterPID, st.MemoryBytes>>20)
			if st.WorkerState == WorkerHangs { // the number of connections is not known then
				text = fmt.Appendf(text, textHangs, st.WorkerSilentSeconds)
			}
			c.write(text)
		}
	}
}
