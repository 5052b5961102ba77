package gateway

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"
)

// lasting is a worker that only remembers what it is told.
type lasting struct{ connected, gone chan string }

func (l lasting) Connect(key string, _ netip.Addr, _ WorkerConn) WorkerEvents {
	l.connected <- key
	return gone{l, key}
}

type gone struct {
	lasting
	key string
}

func (g gone) Gone() { g.gone <- g.key }

// process is a process with an inner port and a Register.
type process struct {
	backend  *fake
	inner    *Inner
	register *Register
	workers  lasting
}

func newProcess() *process {
	p := &process{backend: newFake(1), workers: lasting{make(chan string, 9), make(chan string, 9)}}
	p.inner = NewInner(InnerConfig{Commands: &Commands{Backend: p.backend}, Workers: p.workers, Secret: "s"})
	p.register = NewRegister(RegisterConfig{Secret: "s"})
	p.register.SetAddresses([]string{"127.0.0.1:1"})
	return p
}

// serve serves two listeners until the returned function is called.
func (p *process) serve(t *testing.T, inner, register net.Listener) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- p.inner.Run(ctx, inner) }()
	go func() { ended <- p.register.Run(ctx, register) }()
	return func() {
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}
}

func listenTCP(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func dialTCP(t *testing.T, l net.Listener, text string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr().String())
	if err == nil {
		_, err = c.Write([]byte(text))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	return c
}

// Connections of PHP programs move in the middle of a frame and of a line, and PHP notices nothing.
func TestMove(t *testing.T) {
	old, next := newProcess(), newProcess()
	inner, register := listenTCP(t), listenTCP(t)
	endOld := old.serve(t, inner, register)
	frame := func(f Frame) string {
		f.Flag = FlagBytes
		return string(AppendFrame(nil, f))
	}
	hello := frame(Frame{Command: cmdGatewayClientConnect, Body: []byte(`{"secret_key":"s"}`)})
	ask := frame(Frame{Command: cmdIsOnline, Connection: 1})
	const yes = "\x00\x00\x00\x04i:1;"
	reads := func(what string, c io.Reader, want string) {
		t.Helper()
		got := make([]byte, len(want))
		if n, err := io.ReadFull(c, got); string(got[:n]) != want {
			t.Fatalf("%s: %q, %v", what, got[:n], err)
		}
	}
	client := dialTCP(t, inner, hello+ask+ask[:10])
	reads("before", client, yes)
	worker := dialTCP(t, inner, frame(Frame{Command: cmdWorkerConnect, Body: []byte(`{"worker_key":"w:0","secret_key":"s"}`)}))
	if key := <-old.workers.connected; key != "w:0" {
		t.Error(key)
	}
	const list = `{"event":"broadcast_addresses","addresses":["127.0.0.1:1"]}` + "\n"
	listener := dialTCP(t, register, `{"event":"worker_connect","secret_key":"s"}`+"\n")
	reads("list", listener, list)
	php := dialTCP(t, register, `{"event":"gateway_connect","address":"127.0.0.1:2","secret_key":"s"}`+"\n"+`{"event":"pi`)
	const both = `{"event":"broadcast_addresses","addresses":["127.0.0.1:1","127.0.0.1:2"]}` + "\n"
	reads("both", listener, both)

	freeze := func() { old.inner.Freeze(); old.register.Freeze() }
	freeze()
	if _, err := client.Write([]byte(ask[10:])); err != nil {
		t.Fatal(err)
	}
	old.inner.Thaw()
	old.register.Thaw()
	reads("thawed", client, yes)

	if _, err := client.Write([]byte(ask[:20])); err != nil {
		t.Fatal(err)
	}
	freeze()
	innerPeers, registerPeers := old.inner.Export(), old.register.Export()
	if len(innerPeers) != 2 || len(registerPeers) != 2 {
		t.Fatal(len(innerPeers), len(registerPeers))
	}
	old.inner.Release()
	old.register.Release()
	if key := <-old.workers.gone; key != "w:0" {
		t.Error(key)
	}
	for _, m := range innerPeers {
		if err := next.inner.Import(m); err != nil {
			t.Error(err)
		}
	}
	for _, m := range registerPeers {
		if err := next.register.Import(m); err != nil {
			t.Error(err)
		}
	}
	if key := <-next.workers.connected; key != "w:0" {
		t.Error(key)
	}
	if _, err := client.Write([]byte(ask[20:])); err != nil {
		t.Fatal(err)
	}
	reads("moved", client, yes)
	if _, err := worker.Write([]byte(ask)); err != nil {
		t.Fatal(err)
	}
	reads("worker", worker, yes)
	if _, err := php.Write([]byte("ng\"}\n")); err != nil {
		t.Fatal(err)
	}
	_ = php.Close()
	reads("without PHP's gateway", listener, list)
	endOld()

	later := listenTCP(t)
	endNext := next.serve(t, later, listenTCP(t))
	one := bufio.NewReader(dialTCP(t, later, hello+ask))
	reads("new", one, yes)
	endNext()
	if key := <-next.workers.gone; key != "w:0" {
		t.Error(key)
	}
}
