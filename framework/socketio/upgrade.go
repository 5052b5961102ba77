package socketio

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"wsframe/framework/internal/wire"
	"wsframe/library/socket"
)

// WebSocket answers a handshake. Without a sid it makes a connection, and with one it begins an
// upgrade, for which it does not wait.
func (e *Engine) WebSocket(h Handshake) {
	q := queryOf(h.Request)
	s, f := e.check(q, h.Request.Method, true)
	switch {
	case !served(h.Request.URL.Path):
		e.refuse(h.Socket, http.StatusNotFound, "")
	case f != nil:
		e.refuse(h.Socket, http.StatusBadRequest, f.json())
	case s != nil:
		e.upgrade(h, s)
	case h.Open == nil: // the port has seen a sid in it
		e.refuse(h.Socket, http.StatusBadRequest, errRequest.json())
	default:
		e.openWebSocket(h, q.version)
	}
}

// refuse answers a handshake, and gives the client time to read that.
func (e *Engine) refuse(nc net.Conn, status int, json string) {
	e.running.Go(func() {
		defer nc.Close()
		kind := "application/json"
		if json == "" {
			kind, json = "text/plain; charset=utf-8", http.StatusText(status)+"\n"
		}
		head := fmt.Sprintf("HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", status, http.StatusText(status), kind, len(json), json)
		if nc.SetDeadline(time.Now().Add(socket.LingerTime)) != nil {
			return
		}
		if _, err := nc.Write([]byte(head)); err != nil {
			return
		}
		if c, ok := nc.(socket.HalfCloser); ok {
			socket.Linger(c)
		}
	})
}

// openWebSocket makes a connection that has never polled. Nothing more is known of it here.
func (e *Engine) openWebSocket(h Handshake, version int) {
	conn, err := h.Open(version, func() {})
	if err != nil {
		e.refuse(h.Socket, http.StatusServiceUnavailable, "")
		return
	}
	b := append(switching(h.Request), wire.TextFrame(e.openPacket(newSID(), version, false)).Bytes...)
	err = write(h.Socket, b)
	if err == nil {
		err = attach(conn, h.Socket, h.Early)
	}
	if err != nil {
		_ = h.Socket.Close()
		conn.Close(wire.CloseAbnormal, "")
	}
}

// switching returns the response to a handshake (RFC 6455 §4.2.2).
func switching(r *http.Request) []byte {
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return []byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
		base64.StdEncoding.EncodeToString(sum[:]) + "\r\n\r\n")
}

func write(nc net.Conn, b []byte) error {
	if err := nc.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	_, err := nc.Write(b)
	return err
}

// attach gives a socket to its connection, without the deadlines of the engine.
func attach(conn Conn, nc net.Conn, early []byte) error {
	if err := nc.SetDeadline(time.Time{}); err != nil {
		return err
	}
	return conn.Attach(nc, early)
}

// upgrade lets a client that polls probe a WebSocket. Only one is probed at a time.
func (e *Engine) upgrade(h Handshake, s *session) {
	if !s.beginUpgrade(h.Socket) {
		e.refuse(h.Socket, http.StatusBadRequest, errRequest.json())
		return
	}
	p := &probe{e: e, s: s, nc: h.Socket, read: bytes.Clone(h.Early)}
	response := switching(h.Request)
	e.running.Go(func() { p.run(response) })
}

// beginUpgrade notes the WebSocket that is probed. It returns false if there is one already.
func (s *session) beginUpgrade(nc net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.upgrade != nil || s.over {
		return false
	}
	s.upgrade = nc
	return true
}

// endUpgrade closes the WebSocket that is probed, if there is one, and allows no more.
func (s *session) endUpgrade() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	if s.upgrade != nil {
		_ = s.upgrade.Close()
	}
}

// upgraded notes the end of an upgrade. Polls are held as before if it has failed.
func (s *session) upgraded() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.upgrade, s.probed = nil, false
}

// setProbed releases the held poll, because a client awaits its answer before it goes on. Polls
// that come later are held for a short time only.
func (s *session) setProbed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.probed = true
	if s.release != nil {
		s.release()
	}
}

// probe is a WebSocket that a client tries before it leaves polling: it sends 2probe, is answered
// 3probe, and sends 5. Then the WebSocket is the connection's. Anything else closes the WebSocket,
// and polling goes on.
type probe struct {
	e    *Engine
	s    *session
	nc   net.Conn
	read []byte // bytes of the client's frames that are not handled yet
}

// maxProbeFrames bounds the pings and pongs before a packet of an upgrade.
const maxProbeFrames = 16

var errProbe = errors.New("not a packet of an upgrade")

func (p *probe) run(response []byte) {
	defer p.s.upgraded()
	if err := p.steps(response); err != nil {
		_ = write(p.nc, wire.CloseFrame(wire.ClosePolicy, "")) // it may be gone
		_ = p.nc.Close()
	}
}

// steps returns nil when the socket is the connection's.
func (p *probe) steps(response []byte) error {
	if err := write(p.nc, response); err != nil {
		return err
	}
	if err := p.nc.SetReadDeadline(time.Now().Add(upgradeTime)); err != nil {
		return err
	}
	if err := p.expect("2probe"); err != nil {
		return err
	}
	if err := write(p.nc, wire.TextFrame([]byte("3probe")).Bytes); err != nil {
		return err
	}
	p.s.setProbed()
	if err := p.expect(string(Upgrade)); err != nil {
		return err
	}
	if err := attach(p.s.conn, p.nc, p.read); err != nil {
		return err
	}
	p.e.table.remove(p.s)
	return nil
}

// expect reads frames up to a text frame with this packet, which must be the next data frame.
func (p *probe) expect(packet string) error {
	for range maxProbeFrames {
		op, payload, err := p.frame()
		switch {
		case err != nil:
			return err
		case op == wire.OpText && string(payload) == packet:
			return nil
		case op == wire.OpPing:
			err = write(p.nc, wire.ControlFrame(wire.OpPong, payload))
		case op != wire.OpPong:
			err = errProbe
		}
		if err != nil {
			return err
		}
	}
	return errProbe
}

// frame reads one short frame.
func (p *probe) frame() (op byte, payload []byte, err error) {
	for {
		h, ok := wire.ParseHeader(p.read)
		if ok && (!h.Fin || h.RSV != 0 || !h.Masked || h.Length > wire.MaxControl) {
			return 0, nil, errProbe
		}
		if size := h.Size + int(h.Length); ok && len(p.read) >= size {
			payload = h.Unmask(p.read[:size])
			p.read = p.read[size:]
			return h.Op, payload, nil
		}
		b := make([]byte, 512)
		n, err := p.nc.Read(b)
		p.read = append(p.read, b[:n]...)
		if err != nil && n == 0 {
			return 0, nil, err
		}
	}
}
