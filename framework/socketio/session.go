package socketio

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"wsframe/framework/internal/wire"
)

// session is a client that polls. Its connection is the Backend's, and outlives it if it gets a
// WebSocket.
type session struct {
	sid     string
	version int
	form    Form
	conn    Conn   // set before anybody knows the sid
	gone    func() // forgets the sid

	posting atomic.Bool // a POST is being handled

	mu      sync.Mutex
	release context.CancelFunc // ends the wait of the held GET; nil = none is held
	upgrade net.Conn           // the WebSocket that is being probed; nil = none
	probed  bool               // it was answered 3probe
	over    bool               // the connection has ended
	// left is made when the client says that it leaves, and closed when it has nothing more to
	// say.
	left chan struct{}
	done bool // left is closed
}

// newSID returns a name that cannot be guessed, in the form of other servers.
func newSID() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func newSession(q query) *session {
	s := &session{sid: newSID(), version: q.version, form: Binary}
	switch {
	case q.version >= 4:
		s.form = Separated
	case q.base64:
		s.form = Counted
	}
	return s
}

// answer sends packets as the body of a response.
func (s *session) answer(w http.ResponseWriter, packets ...[]byte) {
	respond(w, http.StatusOK, s.form.ContentType(), s.form.Append(nil, packets...))
}

// poll answers a GET, when something is there to be sent, and else by a packet Noop.
func (s *session) poll(w http.ResponseWriter, r *http.Request) {
	ctx, ok := s.hold(r.Context())
	if !ok {
		s.conn.Close(wire.ClosePolicy, "two polls at once")
		errRequest.answer(w, http.StatusBadRequest)
		return
	}
	s.conn.Touch()
	packets, err := s.conn.Take(ctx, answerBytes)
	if last := len(packets) - 1; errors.Is(err, ErrEnded) || err == nil && string(packets[last]) == string(Close) {
		packets, err = s.untilLeft(ctx, packets, err)
		s.gone()
	}
	// The client may poll again as soon as it has the answer.
	s.letGo()
	switch {
	case err == nil:
		s.answer(w, packets...)
	case errors.Is(err, ErrEnded):
		errSID.answer(w, http.StatusBadRequest)
	case r.Context().Err() != nil: // the client has gone
	default: // released, or time is up
		s.answer(w, []byte{Noop})
	}
}

// hold notes a GET that waits. ok is false if another one does.
func (s *session) hold(ctx context.Context) (held context.Context, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.release != nil {
		return nil, false
	}
	limit := holdTime
	if s.probed {
		limit = probeHold
	}
	ctx, s.release = context.WithTimeout(ctx, limit)
	return ctx, true
}

// letGo ends hold.
func (s *session) letGo() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.release()
	s.release = nil
}

// untilLeft holds the end of the connection back from a client that is leaving, until it has sent
// its own packet Close. Then it gets a packet Noop.
func (s *session) untilLeft(ctx context.Context, packets [][]byte, err error) ([][]byte, error) {
	s.mu.Lock()
	left := s.left
	s.mu.Unlock()
	if left == nil {
		return packets, err
	}
	select {
	case <-left:
	case <-ctx.Done():
	}
	if err != nil {
		return [][]byte{{Noop}}, nil
	}
	packets[len(packets)-1] = []byte{Noop}
	return packets, nil
}

// post handles the packets of a POST, whose body may have so many bytes.
func (s *session) post(w http.ResponseWriter, r *http.Request, bytes int) {
	if !s.posting.CompareAndSwap(false, true) {
		errRequest.answer(w, http.StatusBadRequest)
		return
	}
	status, f := s.receive(w, r, bytes)
	// The client may send its next one as soon as it has the answer.
	s.posting.Store(false)
	if f != nil {
		f.answer(w, status)
		return
	}
	respond(w, http.StatusOK, "text/html", []byte("ok"))
}

// receive reads the body of a POST and handles its packets. f is what is wrong.
func (s *session) receive(w http.ResponseWriter, r *http.Request, bytes int) (status int, f *fault) {
	body, err := readBody(w, r, bytes)
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		s.conn.Close(wire.CloseTooLarge, "payload too large")
		return http.StatusRequestEntityTooLarge, errRequest
	}
	var packets [][]byte
	if err == nil {
		packets, err = s.parse(r.Header.Get("Content-Type"), body)
	}
	if err != nil {
		s.conn.Close(wire.ClosePolicy, "malformed payload")
		return http.StatusBadRequest, errRequest
	}
	leaves := s.leaving(packets)
	switch err := s.conn.Receive(packets); {
	case err == nil, leaves && errors.Is(err, ErrEnded):
		return http.StatusOK, nil
	case errors.Is(err, ErrEnded):
		return http.StatusBadRequest, errSID
	}
	return http.StatusBadRequest, errRequest
}

// readBody reads a body of at most so many bytes, within bodyTime.
func readBody(w http.ResponseWriter, r *http.Request, bytes int) ([]byte, error) {
	if r.ContentLength > int64(bytes) {
		return nil, &http.MaxBytesError{Limit: int64(bytes)}
	}
	return io.ReadAll(&timed{http.MaxBytesReader(w, r.Body, int64(bytes)), time.Now().Add(bodyTime)})
}

// timed fails after its time. It does not end a Read that waits.
type timed struct {
	io.Reader
	until time.Time
}

func (t *timed) Read(p []byte) (int, error) {
	if time.Now().After(t.until) {
		return 0, context.DeadlineExceeded
	}
	return t.Reader.Read(p)
}

// parse returns the packets of a payload. Clients of version 3 name its form.
func (s *session) parse(contentType string, body []byte) ([][]byte, error) {
	kind, _, _ := strings.Cut(contentType, ";")
	isBinary := strings.EqualFold(strings.TrimSpace(kind), "application/octet-stream")
	switch {
	case s.version >= 4 && isBinary:
		return nil, ErrBinary
	case s.version >= 4:
		return Separated.Parse(body)
	case isBinary:
		return Binary.Parse(body)
	}
	return Counted.Parse(body)
}

// leaving notes a client that says that it leaves, by a packet Disconnect or Close. It reports
// whether the packet Close is among these packets.
func (s *session) leaving(packets [][]byte) (finally bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range packets {
		finally = finally || p[0] == Close
		if s.left == nil && (finally || len(p) == 2 && p[0] == Message && p[1] == Disconnect) {
			s.left = make(chan struct{})
		}
	}
	if finally {
		s.forgetLocked()
	}
	return finally
}

// forget ends the wait for what a client that leaves has still to say.
func (s *session) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgetLocked()
}

func (s *session) forgetLocked() {
	if s.left != nil && !s.done {
		close(s.left)
		s.done = true
	}
}
