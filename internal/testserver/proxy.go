package testserver

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Proxy forwards bytes with a delay, as a long line does: bytes that were sent together arrive
// together.
type Proxy struct {
	Addr string

	delay atomic.Int64
	bytes atomic.Int64
	gate  sync.RWMutex // is locked while nothing is forwarded
}

// Delay sets the delay of each direction, from now on.
func (p *Proxy) Delay(d time.Duration) { p.delay.Store(int64(d)) }

// Hold stops forwarding until release is called, as a frozen server does.
func (p *Proxy) Hold() (release func()) {
	p.gate.Lock()
	return sync.OnceFunc(p.gate.Unlock)
}

// Bytes returns how many bytes were forwarded, in both directions.
func (p *Proxy) Bytes() int64 { return p.bytes.Load() }

// StartProxy starts a proxy of the server at an address. It ends with the test.
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

// pass forwards bytes until either connection ends.
func (p *Proxy) pass(to, from net.Conn) {
	type piece struct {
		data []byte
		due  time.Time
	}
	pieces := make(chan piece, 1024) // bounds the bytes under way
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
		time.Sleep(time.Until(x.due)) // the delay
		p.gate.RLock()
		p.gate.RUnlock() //nolint:staticcheck // an empty section: only the wait matters
		n, err := to.Write(x.data)
		p.bytes.Add(int64(n))
		if err != nil {
			_ = from.Close()
			for range pieces { // until the reader has ended
			}
			return
		}
	}
	if tcp, ok := to.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
}
