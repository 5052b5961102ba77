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
	"runtime/debug"
	"sync"
)

// maxControl bounds one control message.
const maxControl = 8 << 20

// errPeerGone means that the other process has ended.
var errPeerGone = errors.New("the other process is gone")

// message is what travels on the control channel: a length of 4 bytes, big endian, and JSON.
type message struct {
	ID     uint64          `json:"id"`
	Answer bool            `json:"answer,omitempty"`
	Kind   string          `json:"kind,omitempty"`
	Error  string          `json:"error,omitempty"`
	Body   json.RawMessage `json:"body,omitempty"`
}

// handleFunc answers a request of the other side. It runs in a goroutine of its own.
type handleFunc func(ctx context.Context, kind string, body json.RawMessage) (any, error)

// peer is one end of the control channel. Both ends may ask; calls are safe for concurrent use.
type peer struct {
	conn   net.Conn
	handle handleFunc

	writeMu sync.Mutex

	mu      sync.Mutex
	nextID  uint64
	waiting map[uint64]chan message
	gone    chan struct{}
	work    sync.WaitGroup
}

func newPeer(conn net.Conn, handle handleFunc) *peer {
	p := &peer{conn: conn, handle: handle, waiting: map[uint64]chan message{}, gone: make(chan struct{})}
	go p.read()
	return p
}

// read ends when the other process does; then gone is closed.
func (p *peer) read() {
	ctx, cancel := context.WithCancel(context.Background())
	defer func() {
		cancel()
		_ = p.conn.Close()
		p.work.Wait()
		close(p.gone)
	}()
	r := bufio.NewReader(p.conn)
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
			return // not one of ours: nothing it says can be trusted
		}
		if m.Answer {
			p.mu.Lock()
			ch := p.waiting[m.ID]
			delete(p.waiting, m.ID)
			p.mu.Unlock()
			if ch != nil {
				ch <- m
			}
			continue
		}
		p.work.Go(func() { p.answer(ctx, m) })
	}
}

func (p *peer) answer(ctx context.Context, m message) {
	out := message{ID: m.ID, Answer: true}
	body, err := func() (v any, err error) {
		defer func() {
			if r := recover(); r != nil {
				err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
			}
		}()
		return p.handle(ctx, m.Kind, m.Body)
	}()
	if err == nil && body != nil {
		out.Body, err = json.Marshal(body)
	}
	if err != nil {
		out.Error = err.Error()
	}
	_ = p.write(out) // a peer that is gone needs no answer
}

func (p *peer) write(m message) error {
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
	if _, err := p.conn.Write(b); err != nil {
		return fmt.Errorf("%w: %w", errPeerGone, err)
	}
	return nil
}

// call asks the other side and waits for its answer until ctx ends.
func (p *peer) call(ctx context.Context, kind string, in, out any) error {
	m := message{Kind: kind}
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
	if err := p.write(m); err != nil {
		return err
	}
	var a message
	select {
	case a = <-ch:
	case <-p.gone:
		select {
		case a = <-ch: // answered, then gone
		default:
			return errPeerGone
		}
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", kind, ctx.Err())
	}
	if a.Error != "" {
		return errors.New(a.Error)
	}
	if out == nil || len(a.Body) == 0 {
		return nil
	}
	return json.Unmarshal(a.Body, out)
}

func (p *peer) close() {
	_ = p.conn.Close()
	<-p.gone
}
