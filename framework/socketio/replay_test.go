package socketio

import (
	"bufio"
	"bytes"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"wsframe/framework/internal/wire"
)

// replay sends what recorded clients sent, and compares each answer. What the recorded application
// sent is sent by the test.
type replay struct {
	*rig
	sids    map[string]string // recorded -> ours
	conns   map[string]*fakeConn
	polls   map[int]*pending
	sockets map[int]*socketClient
	of      map[int]*fakeConn // of WebSockets
	checked int
}

// TestReplay replays the whole recording, byte for byte. Refusals have another status and numbers
// instead of texts, as all later servers have it.
func TestReplay(t *testing.T) {
	list := recordings(t)
	inBubble(t, func(t *testing.T, r *rig) {
		p := &replay{r, map[string]string{}, map[string]*fakeConn{}, map[int]*pending{}, map[int]*socketClient{}, map[int]*fakeConn{}, 0}
		for _, line := range list {
			switch {
			case line.HTTP != "" && line.To == "server":
				p.request(line)
			case line.HTTP != "":
				p.response(line)
			case line.To == "server":
				p.fromPage(line)
			default:
				p.toPage(line)
			}
			if t.Failed() {
				t.Fatalf("at step %s, connection %d", line.Step, line.Conn)
			}
		}
		for _, s := range p.sockets {
			_ = s.nc.Close()
		}
		if p.checked < 36 {
			t.Errorf("only %d answers were compared", p.checked)
		}
	})
}

func (p *replay) request(line recorded) {
	body, _ := line.body(p.t)
	head, _, _ := strings.Cut(line.HTTP, "\r\n\r\n")
	head = p.ours(head)
	req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head + "\r\n\r\n")))
	if err != nil {
		p.t.Fatal(err)
	}
	if req.Header.Get("Upgrade") != "" {
		p.sockets[line.Conn] = p.shake(req, nil)
		if sid := SID(req); sid == "" {
			p.of[line.Conn] = p.b.last()
			frames := p.sockets[line.Conn].read()
			if len(frames) != 2 || !strings.HasPrefix(frames[0], `0{"sid":"`) || frames[1] != "40" {
				p.t.Errorf("the first frames are %q", frames)
			}
		} else {
			p.of[line.Conn] = p.conns[sid]
		}
		return
	}
	again := httptest.NewRequest(req.Method, req.RequestURI, bytes.NewReader(body))
	again.Header = req.Header
	p.polls[line.Conn] = p.serve(again, func() {})
	p.polls[line.Conn].answered()
}

// ours replaces recorded sids.
func (p *replay) ours(text string) string {
	for recorded, sid := range p.sids {
		text = strings.ReplaceAll(text, recorded, sid)
	}
	return text
}

func (p *replay) response(line recorded) {
	p.checked++
	if s := p.sockets[line.Conn]; s != nil {
		if !strings.HasPrefix(line.HTTP, "HTTP/1.1 101") || !strings.HasPrefix(s.head, "HTTP/1.1 101 Switching Protocols\r\n") {
			p.t.Errorf("%q", s.head)
		}
		return
	}
	poll := p.polls[line.Conn]
	if poll == nil { // its request is not in the recording: an earlier GET stands for it
		line.Conn = slices.Min(slices.Collect(maps.Keys(p.polls)))
		poll = p.polls[line.Conn]
	}
	delete(p.polls, line.Conn)
	body, form := line.body(p.t)
	p.emit(body, form, p.connOf(poll))
	if !poll.answered() {
		p.t.Fatalf("not answered: %q", line.HTTP)
	}
	p.learn(string(body), poll.Body.String())
	want, err := http.ReadResponse(bufio.NewReader(strings.NewReader(line.HTTP)), nil)
	if err != nil {
		p.t.Fatal(err)
	}
	status := want.StatusCode
	if status == http.StatusForbidden {
		text, err := io.ReadAll(want.Body) // it has chunks
		if err != nil {
			p.t.Fatal(err)
		}
		status, body = http.StatusBadRequest, text
		for code := range 6 {
			n := strconv.Itoa(code)
			body = bytes.Replace(body, []byte(`"code":"`+n+`"`), []byte(`"code":`+n), 1)
		}
	}
	if got := poll.Body.String(); poll.Code != status || got != p.ours(string(body)) {
		p.t.Errorf("%d %q, want %d %q", poll.Code, got, status, p.ours(string(body)))
	}
	for _, name := range []string{"Content-Type", "Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Access-Control-Allow-Methods", "Access-Control-Allow-Headers"} {
		if got := poll.Header().Get(name); got != want.Header.Get(name) {
			p.t.Errorf("%s: %q, want %q", name, got, want.Header.Get(name))
		}
	}
	if length := want.Header.Get("Content-Length"); length != "" && length != poll.Header().Get("Content-Length") {
		p.t.Errorf("Content-Length %q, want %s", poll.Header(), length)
	}
}

// connOf returns the connection of a request with a sid, or nil.
func (p *replay) connOf(poll *pending) *fakeConn { return p.conns[SID(poll.request)] }

// emit sends what the recorded application sent.
func (p *replay) emit(body []byte, form Form, c *fakeConn) {
	if c == nil {
		return
	}
	packets, err := form.Parse(body)
	for _, packet := range packets {
		if err == nil && bytes.HasPrefix(packet, []byte("42[")) {
			c.push(string(packet))
		}
	}
}

// learn notes the sid of a packet Open.
func (p *replay) learn(want, got string) {
	_, recorded, ok := strings.Cut(want, `"sid":"`)
	_, sid, ok2 := strings.Cut(got, `"sid":"`)
	if ok && ok2 {
		p.sids[recorded[:24]] = sid[:24]
		p.conns[sid[:24]] = p.b.last()
	}
}

func (p *replay) fromPage(line recorded) {
	s := p.sockets[line.Conn]
	for _, f := range line.Frames {
		if _, err := s.nc.Write(clientFrame(byte(f.Opcode), f.Text)); err != nil && f.Opcode != wire.OpClose {
			p.t.Fatal(err)
		}
	}
	if line.End && s != nil {
		_ = s.nc.Close()
	}
	if strings.HasSuffix(line.Step, "_close") && len(line.Frames) > 0 {
		time.Sleep(time.Second)
	}
}

func (p *replay) toPage(line recorded) {
	for _, f := range line.Frames {
		p.checked++
		if strings.HasPrefix(f.Text, "42[") {
			p.of[line.Conn].push(f.Text)
		}
		p.sockets[line.Conn].want(f.Text)
	}
	if s := p.sockets[line.Conn]; line.End && s != nil && !s.gone() {
		p.t.Error("the WebSocket is open")
	}
}
