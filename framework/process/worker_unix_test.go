//go:build unix

package process

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"wsframe/framework/internal/contract"
	"wsframe/framework/manager"
	"wsframe/library/log"
)

// The environment variables that make the test binary a worker or a master.
const (
	envScript = "PROCESS_TEST_SCRIPT" // file with what a worker is to do, in words
	envMaster = "PROCESS_TEST_MASTER" // runtime directory of a master in a process of its own
)

func TestMain(m *testing.M) {
	w, is, err := FromEnv()
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	case is:
		stdio := log.Guard()
		code := testWorker(w)
		stdio.Close(time.Second)
		os.Exit(code)
	case os.Getenv(envMaster) != "":
		os.Exit(testMaster(os.Getenv(envMaster)))
	}
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil { // parallel tests wait more than they compute
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// testMaster is a master to be killed; it prints its worker's pid and the address.
func testMaster(dir string) int {
	var m *Master
	cfg := testConfig(dir, os.Environ())
	cfg.Stdout, cfg.Stderr, cfg.Log = os.Stdout, os.Stderr, zap.NewNop()
	cfg.Started = func(s Started) {
		c, _ := m.roster.serving()
		fmt.Printf("started %d %s\n", c.pid, s.Addrs["outside"])
	}
	m = New(cfg)
	if err := m.Run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func testConfig(dir string, env []string) MasterConfig {
	return MasterConfig{
		Sockets: []Socket{{Name: "outside", Key: "outside.port", Host: "127.0.0.1"}}, Manager: Socket{Name: "manager", Key: "manager.port", Host: "127.0.0.1"},
		RuntimeDir: dir, Command: []string{os.Args[0]}, Env: env, Version: "test", StoreKind: "embedded",
		StopGrace: 10 * time.Second, DrainTime: 10 * time.Second, Reopen: func() {},
	}
}

// testWorker does what the words of the script say. It sends each client its pid, returns each line
// with the pid before it, and sends the close code at the end.
func testWorker(w *Worker) int {
	script, err := os.ReadFile(os.Getenv(envScript))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	words := map[string]bool{}
	for _, word := range strings.Fields(string(script)) {
		words[word] = true
	}
	ready := Ready{Routes: []Route{{"index.index.index", "*index.Index", ""}, {"live.user.join", "*live.User", ""}}, Contract: &contract.Contract{Events: []contract.Event{{Name: "said"}}}}
	switch {
	case words["exit"]:
		fmt.Fprintln(os.Stderr, "cannot find my shoes")
		return 3
	case words["panic"]:
		for range 50 {
			go func() { select {} }() // their stacks must not hide the reason
		}
		panic("no coffee")
	case words["hang"]:
		fmt.Println("worker hangs", os.Getpid())
		fmt.Fprintln(os.Stderr, "waiting for godot")
		select {}
	case words["fail"]:
		w.Fail(errors.New("redis is away"))
		fmt.Fprintln(os.Stderr, "redis is away, said twice")
		return 1
	case words["routes"]:
		ready.Routes = []Route{{"index.index.index", "*index.Other", ""}, {"live.wall.join", "*live.Wall", ""}}
		ready.Contract = &contract.Contract{}
	}
	h := &testHandler{worker: w, words: words, conns: map[net.Conn]bool{}, stopping: make(chan struct{})}
	h.resumed = sync.NewCond(&h.mu)
	var handler Handler = h
	if words["v1"] || words["v2"] {
		handler = mover{h}
		ready.Transfer = Versions{Writes: 1, Reads: []int{1}}
		if words["v2"] {
			ready.Transfer = Versions{Writes: 2, Reads: []int{2}}
		}
	}
	if w.Check {
		if err := w.Report(context.Background(), ready); err != nil {
			return 1
		}
		if words["lingers"] {
			select {}
		}
		return 0
	}
	if words["leaves-a-child"] { // with our stderr, and for longer than we live
		cmd := exec.Command("sleep", "30")
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			return 1
		}
		fmt.Println("left", cmd.Process.Pid)
	}
	if !w.Reload {
		h.Accept()
	}
	if words["dies-when-ready"] {
		if err := w.Report(context.Background(), ready); err != nil {
			return 1
		}
		return 4
	}
	if err := w.Serve(context.Background(), ready, handler, 5*time.Second); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

type testHandler struct {
	worker *Worker
	words  map[string]bool

	accepting sync.Once
	loop      sync.WaitGroup // the accept loop
	stopping  chan struct{}  // closed by Stop

	mu       sync.Mutex
	conns    map[net.Conn]bool
	settled  bool
	reopens  int
	messages int64
	paused   bool
	resumed  *sync.Cond
}

func (h *testHandler) Accept() {
	h.accepting.Do(func() { h.loop.Go(func() { h.accept(h.worker.Listener("outside")) }) })
}

func (h *testHandler) note(n *int) {
	h.mu.Lock()
	*n++
	h.mu.Unlock()
}

func (h *testHandler) accept(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			h.mu.Lock()
			for h.paused {
				h.resumed.Wait()
			}
			h.mu.Unlock()
			continue
		}
		if err != nil {
			return
		}
		h.mu.Lock() // who has read it is counted
		fmt.Fprintln(c, os.Getpid())
		h.conns[c] = true
		h.mu.Unlock()
		h.serve(c)
	}
}

func (h *testHandler) serve(c net.Conn) {
	h.mu.Lock()
	h.conns[c] = true
	h.mu.Unlock()
	go func() {
		r := bufio.NewReader(c)
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			h.mu.Lock()
			h.messages++
			h.mu.Unlock()
			switch line {
			case "crash\n":
				os.Exit(7)
			case "say something\n":
				for range 100 {
					fmt.Fprintln(os.Stderr, "something") // the master may be gone
				}
			}
			fmt.Fprintf(c, "%d %s", os.Getpid(), line)
		}
	}()
}

func (h *testHandler) Stats() Stats {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := Stats{Connections: len(h.conns), Goroutines: h.reopens, MessagesIn: h.messages}
	if h.settled {
		s.Rooms = 1
	}
	return s
}

func (h *testHandler) Say(text string) int { return len(text) }

func (h *testHandler) Nodes(context.Context) ([]manager.NodeInfo, error) { return nil, nil }

func (h *testHandler) Connections(offset, limit int) []manager.ConnInfo {
	return []manager.ConnInfo{{FD: int64(offset), ID: strings.Repeat("x", limit)}}
}

func (h *testHandler) Start() error {
	switch {
	case h.words["bad-start"]:
		return errors.New("OnWorkerStart of live.user: no")
	case h.words["dies-at-start"]:
		os.Exit(9)
	}
	return nil
}

func (h *testHandler) Reloading(ctx context.Context) error {
	switch {
	case h.words["bad-hook"]:
		return errors.New("OnReload of live.user: no")
	case h.words["slow-hook"]:
		<-ctx.Done()
		return fmt.Errorf("OnReload of live.user: %w", ctx.Err())
	case h.words["crashes-in-hook"]:
		os.Exit(8)
	case h.words["waits-in-hook"]:
		fmt.Fprintln(os.Stderr, "OnReload waits")
		for { // until the file is gone
			if _, err := os.Stat(os.Getenv(envScript)); err != nil {
				return nil
			}
			time.Sleep(5 * time.Millisecond)
		}
	case h.words["no-spare"]:
		h.worker.spare.free()
		fallthrough
	case h.words["full"]:
		fillUp()
	}
	return nil
}

func (h *testHandler) Stop(ctx context.Context, code int, reason string, _ time.Duration) (int, error) {
	if h.words["stubborn"] {
		select {}
	}
	close(h.stopping)
	_ = h.worker.Listener("outside").Close()
	h.mu.Lock()
	h.paused = false
	h.resumed.Broadcast()
	h.mu.Unlock()
	h.loop.Wait() // a connection that was accepted just now is told, too
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.conns {
		fmt.Fprintln(c, "bye", code, reason)
		_ = c.Close()
	}
	if h.words["slow-stop"] {
		<-ctx.Done()
	}
	return len(h.conns), nil
}

func (h *testHandler) Settled() {
	h.Accept()
	h.mu.Lock()
	h.settled = true
	h.mu.Unlock()
}

func (h *testHandler) ReopenLogs() {
	h.note(&h.reopens)
	fmt.Fprintln(os.Stderr, "logs reopened by", os.Getpid())
}

// fillUp leaves no free descriptor.
func fillUp() {
	for {
		if _, err := syscall.Open(os.DevNull, syscall.O_RDONLY|syscall.O_CLOEXEC, 0); err != nil {
			return
		}
	}
}

// mover moves the bare descriptors, one control message each, and then says that they are the
// other's.
type mover struct{ *testHandler }

var _ Transferrer = mover{}

func (m mover) Pause() { m.pause(time.Unix(1, 0), true) }

func (m mover) Resume() { m.pause(time.Time{}, false) }

func (m mover) pause(deadline time.Time, paused bool) {
	_ = m.worker.Listener("outside").(*net.TCPListener).SetDeadline(deadline)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.paused = paused
	m.resumed.Broadcast()
}

func (m mover) Transfer(ctx context.Context, pair *os.File, handed func(int)) (r TransferReport, err error) {
	defer func() {
		if err != nil {
			m.Resume()
		}
	}()
	if m.words["fails-to-give"] {
		_ = pair.Close()
		return r, errors.New("not in the mood")
	}
	conn, err := net.FileConn(pair)
	_ = pair.Close()
	if err != nil {
		return r, err
	}
	p := newPeer(conn, nil)
	defer p.close()
	err = func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		for c := range m.conns {
			f, err := c.(*net.TCPConn).File()
			if err != nil {
				return err
			}
			if err := p.call(ctx, "conn", nil, nil, f); err != nil {
				return err
			}
			if m.words["dies-giving"] {
				os.Exit(9)
			}
		}
		if m.words["dies-when-all-is-given"] {
			os.Exit(9)
		}
		_ = p.call(ctx, "commit", nil, nil) // it may have died: they were its own
		for c := range m.conns {
			delete(m.conns, c)
			_ = c.Close()
			r.Moved++
		}
		return nil
	}()
	if err != nil {
		return r, err
	}
	handed(r.Moved)
	if m.words["busy"] {
		select {
		case <-ctx.Done():
			r.Notes = append(r.Notes, "an action outlived the limit")
		case <-m.stopping:
		}
	}
	r.Pause = time.Millisecond
	return r, nil
}

func (m mover) Adopt(_ context.Context, pair *os.File, serving func()) (r TransferReport, err error) {
	conn, err := net.FileConn(pair)
	_ = pair.Close()
	if err != nil {
		return r, err
	}
	if m.words["full"] {
		fillUp()
	}
	var mu sync.Mutex
	var held []net.Conn
	begin := func() {
		for _, c := range held {
			m.serve(c)
			r.Moved++
		}
		held = nil
		serving()
		m.Accept()
	}
	p := newPeer(conn, func(_ context.Context, q request) (any, error) {
		mu.Lock()
		defer mu.Unlock()
		if q.kind == "commit" {
			if m.words["dies-claiming"] {
				os.Exit(9)
			}
			begin()
			return nil, nil
		}
		if m.words["dies-taking"] && len(held) == 1 {
			os.Exit(9)
		}
		if len(q.files) != 1 {
			return nil, errNoFile
		}
		c, err := net.FileConn(q.files[0])
		closeFiles(q.files)
		if err != nil {
			return nil, err
		}
		held = append(held, c)
		return nil, nil
	})
	<-p.gone
	mu.Lock()
	defer mu.Unlock()
	switch {
	case len(held) > 0: // whatever has come over is only here now
		begin()
	case r.Moved == 0:
		return r, errors.New("nothing came")
	}
	return r, nil
}
