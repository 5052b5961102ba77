package socketio

import (
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// Config of an Engine.
type Config struct {
	Backend      Backend
	PingInterval time.Duration // announced to clients, 25 s
	PingTimeout  time.Duration // likewise, 60 s
	MessageBytes int           // largest body of a POST, 64 KiB
}

const (
	holdTime     = 25 * time.Second       // of a poll for which nothing comes
	probeHold    = 500 * time.Millisecond // of a poll while a WebSocket is probed
	upgradeTime  = 10 * time.Second       // from a WebSocket's handshake to its packet Upgrade
	bodyTime     = 10 * time.Second       // for the body of a POST
	keepTime     = 10 * time.Second       // of a session whose connection has ended
	maxKept      = 2000                   // such sessions, of which each may have a full outbox
	answerBytes  = 256 << 10              // of packets in the answer to a poll
	writeTimeout = 5 * time.Second        // of the few bytes that the engine writes to a WebSocket
)

// Engine serves the Engine.IO side of a port: sessions, polling, and WebSockets until they belong
// to a connection. It is safe for concurrent use.
//
//	GET without sid ──▶ Backend.Open ──▶ session ◀── GET: Conn.Take, POST: Conn.Receive
//	                                        │
//	handshake with sid ──▶ 2probe, 3probe, 5 ──▶ Conn.Attach; the session's sid is forgotten
//	handshake without sid ──▶ Handshake.Open ──▶ Conn.Attach
type Engine struct {
	cfg     Config
	table   table
	running sync.WaitGroup // goroutines that own sockets
}

var _ Port = (*Engine)(nil)

// New returns an Engine. It starts no goroutine before the first request.
func New(cfg Config) *Engine {
	if cfg.PingInterval == 0 {
		cfg.PingInterval = 25 * time.Second
	}
	if cfg.PingTimeout == 0 {
		cfg.PingTimeout = 60 * time.Second
	}
	if cfg.MessageBytes == 0 {
		cfg.MessageBytes = 64 << 10
	}
	e := &Engine{cfg: cfg}
	e.table.sessions = map[string]*session{}
	return e
}

// Close ends the upgrades under way, and waits for the engine's goroutines. It is called when the
// listener has stopped. Connections are the Backend's.
func (e *Engine) Close() {
	for _, s := range e.table.close() {
		s.endUpgrade()
	}
	e.running.Wait()
}

// Sessions returns the number of sessions that poll.
func (e *Engine) Sessions() int { return e.table.len() }

// query holds the parameters of a request that the engine reads.
type query struct {
	transport, sid string
	version        int // 3 or 4; 0 = another
	base64, jsonp  bool
}

func queryOf(r *http.Request) query {
	// Pairs that cannot be read are left out, as by other servers.
	values, _ := url.ParseQuery(r.URL.RawQuery)
	q := query{transport: values.Get("transport"), sid: values.Get("sid"), base64: values.Get("b64") != "", jsonp: values.Has("j")}
	switch versions := values["EIO"]; {
	case len(versions) == 0, versions[0] == "3":
		q.version = 3
	case versions[0] == "4":
		q.version = 4
	}
	return q
}

// SID returns the sid of a request; "" = it asks for a new session.
func SID(r *http.Request) string { return queryOf(r).sid }

// served reports whether clients ask for this path.
func served(path string) bool { return path == "/socket.io/" || path == "/socket.io" }

// check returns the session of a request, which is nil for a new one, or what is wrong.
func (e *Engine) check(q query, method string, handshake bool) (*session, *fault) {
	switch {
	case q.transport != "polling" && q.transport != "websocket":
		return nil, errTransport
	case q.version == 0:
		return nil, errVersion
	case q.sid == "" && method != http.MethodGet:
		return nil, errMethod
	case q.jsonp, handshake != (q.transport == "websocket"):
		return nil, errRequest
	case q.sid == "":
		return nil, nil
	}
	s := e.table.get(q.sid)
	if s == nil {
		return nil, errSID
	}
	if s.version != q.version || method != http.MethodGet && method != http.MethodPost {
		return nil, errRequest
	}
	return s, nil
}

// ServeHTTP answers the requests of polling clients. Whoever calls it bounds the time of single
// reads and writes.
func (e *Engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !served(r.URL.Path) {
		http.NotFound(w, r)
		return
	}
	allowed := e.cfg.Backend.Allowed(r)
	if allowed {
		allowOrigin(w.Header(), r)
	}
	q := queryOf(r)
	s, f := e.check(q, r.Method, false)
	switch {
	case !allowed && (s != nil || f != nil):
		http.Error(w, http.StatusText(http.StatusForbidden), http.StatusForbidden)
	case r.Method == http.MethodOptions:
		w.Header().Set("Access-Control-Allow-Methods", "GET, POST")
		w.Header().Set("Access-Control-Allow-Headers", "Content-Type")
		w.WriteHeader(http.StatusNoContent)
	case f != nil:
		f.answer(w, http.StatusBadRequest)
	case s == nil:
		e.open(w, r, q)
	case r.Method == http.MethodPost:
		s.post(w, r, e.cfg.MessageBytes)
	default:
		s.poll(w, r)
	}
}

// open answers a GET without sid by a new session.
func (e *Engine) open(w http.ResponseWriter, r *http.Request, q query) {
	s := newSession(q)
	s.gone = func() { e.table.remove(s) }
	if !e.table.add(s) {
		errRequest.answer(w, http.StatusServiceUnavailable) // the server stops
		return
	}
	conn, ok := e.cfg.Backend.Open(w, r, q.version, func() { e.table.ended(s) })
	if !ok {
		e.table.remove(s)
		return
	}
	s.conn = conn
	s.answer(w, e.openPacket(s.sid, q.version, true))
}

// openPacket returns the first packet to a client. Over a WebSocket clients 4.x would take the
// upgrade as one that they have still to do.
func (e *Engine) openPacket(sid string, version int, polls bool) []byte {
	upgrades := `"websocket"`
	if version >= 4 && !polls {
		upgrades = ""
	}
	b := fmt.Appendf(nil, `%c{"sid":"%s","upgrades":[%s],"pingInterval":%d,"pingTimeout":%d`, Open, sid, upgrades,
		e.cfg.PingInterval.Milliseconds(), e.cfg.PingTimeout.Milliseconds())
	if version < 4 {
		return append(b, '}')
	}
	return fmt.Appendf(b, `,"maxPayload":%d}`, e.cfg.MessageBytes)
}
