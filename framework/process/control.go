package process

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"syscall"
	"time"
)

// maxControl bounds one control message.
const maxControl = 8 << 20

// errPeerGone means that the other process has ended.
var errPeerGone = errors.New("the other process is gone")

// writeTime bounds the writing of one control message, so that callers do not wait for a peer that
// does not read.
const writeTime = 5 * time.Second

// message is sent on the control channel as a length of 4 bytes, big endian, and JSON.
type message struct {
	ID     uint64          `json:"id"`
	Answer bool            `json:"answer,omitempty"`
	Kind   string          `json:"kind,omitempty"`
	Error  string          `json:"error,omitempty"`
	Limit  time.Duration   `json:"limit,omitempty"` // for the work; 0 = none
	Files  int             `json:"files,omitempty"` // descriptors that travel with it
	Body   json.RawMessage `json:"body,omitempty"`
}

// request is the argument of a handleFunc, which closes the files. There are none where this
// process had no descriptor free for one of them.
type request struct {
	kind  string
	body  json.RawMessage
	files []*os.File
}

func (r request) decode(v any) error {
	if err := json.Unmarshal(r.body, v); err != nil {
		return fmt.Errorf("%s: %w", r.kind, err)
	}
	return nil
}

// handleFunc replies to a request of the other side. It runs in a goroutine of its own. Its context
// ends when the other side no longer waits.
type handleFunc func(ctx context.Context, r request) (any, error)

// lastWord is a reply that is written before then is called.
type lastWord struct {
	value any
	then  func()
}

// peer is one end of the control channel. Both ends send requests. Methods are safe for concurrent
// use.
type peer struct {
	conn      net.Conn
	handle    handleFunc
	gone      chan struct{} // closed when the other process has ended, or close was called
	writeTime time.Duration // bounds the writing of one message

	writeMu sync.Mutex

	mu      sync.Mutex
	nextID  uint64
	waiting map[uint64]chan message
}

func newPeer(conn net.Conn, handle handleFunc) *peer {
	p := makePeer(conn, handle)
	go p.read()
	return p
}

func makePeer(conn net.Conn, handle handleFunc) *peer {
	return &peer{conn: conn, handle: handle, waiting: map[uint64]chan message{}, gone: make(chan struct{}), writeTime: writeTime}
}

// read ends with the other process, and closes gone. The contexts of requests that are being
// handled end then. They are not waited for, since they may run the application's code.
func (p *peer) read() {
	ctx, cancel := context.WithCancel(context.Background())
	in := newInbox(p.conn)
	defer func() {
		cancel()
		_ = p.conn.Close()
		in.close()
		close(p.gone)
	}()
	r := bufio.NewReader(in)
	for {
		var head [4]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return
		}
		n := binary.BigEndian.Uint32(head[:])
		if n > maxControl {
			return
		}
		b := make([]byte, n)
		if _, err := io.ReadFull(r, b); err != nil {
			return
		}
		var m message
		if json.Unmarshal(b, &m) != nil {
			return // a foreign message: nothing after it can be trusted
		}
		files, err := in.pop(m.Files)
		if err != nil {
			return
		}
		if m.Answer {
			p.mu.Lock()
			ch := p.waiting[m.ID]
			delete(p.waiting, m.ID)
			p.mu.Unlock()
			if ch != nil {
				ch <- m
			}
			closeFiles(files) // replies have none
			continue
		}
		go p.answer(ctx, m, files)
	}
}

func (p *peer) answer(ctx context.Context, m message, files []*os.File) {
	if m.Limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, m.Limit)
		defer cancel()
	}
	out := message{ID: m.ID, Answer: true}
	body, err := func() (v any, err error) {
		defer func() {
			if r := recover(); r != nil {
				// The stack goes to this process's log only: the reply may reach a client of the
				// admin port.
				fmt.Fprintf(os.Stderr, "%s: panic: %q\n%s", m.Kind, fmt.Sprint(r), debug.Stack())
				err = fmt.Errorf("%s failed in process %d; its log says why", m.Kind, os.Getpid())
			}
		}()
		return p.handle(ctx, request{m.Kind, m.Body, files})
	}()
	if last, ok := body.(lastWord); ok {
		body = last.value
		defer last.then()
	}
	if body != nil {
		var bad error
		if out.Body, bad = json.Marshal(body); err == nil {
			err = bad
		}
	}
	if err != nil {
		out.Error = err.Error()
	}
	if err := p.write(out, nil); err != nil && !errors.Is(err, errPeerGone) {
		_ = p.write(message{ID: m.ID, Answer: true, Error: err.Error()}, nil) // it was too large
	}
}

func (p *peer) write(m message, files []*os.File) error {
	m.Files = len(files)
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if len(b) > maxControl {
		return fmt.Errorf("control message of %d bytes is too large", len(b))
	}
	b = append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(b)), uint32(len(b))), b...)
	p.writeMu.Lock()
	defer p.writeMu.Unlock()
	_ = p.conn.SetWriteDeadline(time.Now().Add(p.writeTime)) // fails for a closed one, as Write does
	n, err := writeFiles(p.conn, b, files)
	switch {
	case err == nil:
		return nil
	case n == 0 && errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("the other process does not read: %w", err)
	case n == 0 && (errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)): // its last messages are unread
		return fmt.Errorf("%w: %w", errPeerGone, err)
	}
	_ = p.conn.Close() // half a message was written: the peer could not find the next one
	return fmt.Errorf("%w: %w", errPeerGone, err)
}

// call sends a request and waits for the reply until ctx ends. The files are closed here as soon as
// they are sent, so that only the other process has them.
func (p *peer) call(ctx context.Context, kind string, in, out any, files ...*os.File) error {
	limit := time.Duration(0)
	if end, ok := ctx.Deadline(); ok {
		limit = workLimit(time.Until(end))
	}
	return p.callWithin(ctx, limit, kind, in, out, files...)
}

// workLimit is the other side's time for its work, for a caller that waits that long. It is
// shorter, so that the reason for which the work took too long arrives before the caller gives up.
func workLimit(wait time.Duration) time.Duration {
	wait = max(wait, 1)
	return wait - min(wait/10, time.Second)
}

// callWithin is call with a separate time limit for the other side's work; 0 = none.
func (p *peer) callWithin(ctx context.Context, limit time.Duration, kind string, in, out any, files ...*os.File) error {
	defer closeFiles(files)
	m := message{Kind: kind, Limit: limit}
	if in != nil {
		var err error
		if m.Body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	ch := make(chan message, 1)
	p.mu.Lock()
	p.nextID++
	m.ID = p.nextID
	p.waiting[m.ID] = ch
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.waiting, m.ID)
		p.mu.Unlock()
	}()
	if err := p.write(m, files); err != nil {
		return err
	}
	closeFiles(files)
	var a message
	select {
	case a = <-ch:
	case <-p.gone:
		select {
		case a = <-ch: // it has replied and ended
		default:
			return errPeerGone
		}
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", kind, ctx.Err())
	}
	if out != nil && len(a.Body) > 0 {
		if err := json.Unmarshal(a.Body, out); err != nil {
			return fmt.Errorf("%s: answer: %w", kind, err)
		}
	}
	if a.Error != "" {
		return errors.New(a.Error)
	}
	return nil
}

// note sends a message without waiting for a reply.
func (p *peer) note(kind string, in any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.nextID++
	id := p.nextID
	p.mu.Unlock()
	return p.write(message{ID: id, Kind: kind, Body: body}, nil) // nobody waits for the reply
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		_ = f.Close() // a second time has no effect
	}
}

func (p *peer) close() {
	_ = p.conn.Close()
	<-p.gone
}
