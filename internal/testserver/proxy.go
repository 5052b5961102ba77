package testserver

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Proxy passes bytes on after a time, as a long line does: what is under way together arrives together.
type Proxy struct {
	Addr string

	delay atomic.Int64
	bytes atomic.Int64
	gate  sync.RWMutex // held: nothing passes
}

// Delay sets the time for each direction, from now on.
func (p *Proxy) Delay(d time.Duration) { p.delay.Store(int64(d)) }

// Hold keeps back what is under way and what comes, as a server that is frozen does, until release is called.
func (p *Proxy) Hold() (release func()) {
	p.gate.Lock()
	return sync.OnceFunc(p.gate.Unlock)
}

// Bytes is how many it has passed on, in both directions.
func (p *Proxy) Bytes() int64 { return p.bytes.Load() }

// StartProxy listens for connections to that address. It ends with the test.
func StartProxy(t testing.TB, to string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Addr: l.Addr().String()}
	var work sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	work.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				_ = in.Close()
				continue
			}
			mu.Lock()
			open[in], open[out] = true, true
			mu.Unlock()
			var both sync.WaitGroup
			both.Go(func() { p.pass(out, in) })
			both.Go(func() { p.pass(in, out) })
			work.Go(func() {
				both.Wait()
				_ = in.Close()
				_ = out.Close()
				mu.Lock()
				delete(open, in)
				delete(open, out)
				mu.Unlock()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		work.Wait()
	})
	return p
}

// pass copies from one to the other until either ends.
func (p *Proxy) pass(to, from net.Conn) {
	type piece struct {
		data []byte
		due  time.Time
	}
	pieces := make(chan piece, 1024) // a line that is full holds up its sender
	go func() {
		defer close(pieces)
		for {
			b := make([]byte, 32<<10)
			n, err := from.Read(b)
			if n > 0 {
				pieces <- piece{b[:n], time.Now().Add(time.Duration(p.delay.Load()))}
			}
			if err != nil {
				return
			}
		}
	}()
	for x := range pieces {
		time.Sleep(time.Until(x.due)) // the latency
		p.gate.RLock()
		p.gate.RUnlock() //nolint:staticcheck // passing it is all
		n, err := to.Write(x.data)
		p.bytes.Add(int64(n))
		if err != nil {
			_ = from.Close()
			for range pieces { // until the reader has seen it
			}
			return
		}
	}
	if tcp, ok := to.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
}
