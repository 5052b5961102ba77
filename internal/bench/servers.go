package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/lxzan/gws"

	"wsframe/framework/auth"
)

// command parses a message to the gws server: a word and numbers.
func command(s string) (word string, numbers []int) {
	f := strings.Fields(s)
	if len(f) == 0 {
		return "", nil
	}
	for _, n := range f[1:] {
		numbers = append(numbers, number(n))
	}
	return f[0], numbers
}

var payload = []byte(`{"status":200,"event":"barrage","info":"","param":{"id":123456,"nickname":"somebody","say":"this is what a barrage message looks like"}}`)

// publishing calls publish count times, in bursts at a fixed interval.
func publishing(count, burst int, every time.Duration, publish func()) {
	next := time.Now()
	for i := range count {
		publish()
		if every > 0 && (i+1)%max(burst, 1) == 0 {
			next = next.Add(every)
			time.Sleep(time.Until(next))
		}
	}
}

// gwsEcho is the reference server. It echoes messages, and publishes with gws's Broadcaster.
type gwsEcho struct {
	gws.BuiltinEventHandler
	mu    sync.Mutex
	conns map[*gws.Conn]struct{}
}

func (e *gwsEcho) OnOpen(c *gws.Conn) { e.mu.Lock(); e.conns[c] = struct{}{}; e.mu.Unlock() }
func (e *gwsEcho) OnClose(c *gws.Conn, _ error) {
	e.mu.Lock()
	delete(e.conns, c)
	e.mu.Unlock()
}

func (e *gwsEcho) OnMessage(c *gws.Conn, m *gws.Message) {
	defer m.Close()
	switch word, n := command(string(m.Bytes())); {
	case word == "PUBLISH" && len(n) == 3:
		go publishing(n[0], n[1], time.Duration(n[2])*time.Microsecond, e.publish)
		return
	case word == "SLEEP" && len(n) == 1:
		time.Sleep(time.Duration(n[0]) * time.Microsecond)
	case word == "COLLECT" && len(n) == 1:
		for range n[0] {
			runtime.GC()
		}
	}
	_ = c.WriteMessage(m.Opcode, m.Bytes())
}

func (e *gwsEcho) publish() {
	b := gws.NewBroadcaster(gws.OpcodeText, payload)
	defer b.Close()
	e.mu.Lock()
	defer e.mu.Unlock()
	for c := range e.conns {
		_ = b.Broadcast(c)
	}
}

func listen() *net.TCPListener {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(ln.Addr())
	return ln.(*net.TCPListener)
}

func gwsServer() {
	s := gws.NewServer(&gwsEcho{conns: map[*gws.Conn]struct{}{}}, &gws.ServerOption{CheckUtf8Enabled: true, Recovery: gws.Recovery})
	s.OnError = func(net.Conn, error) {}
	panic(s.RunListener(listen()))
}

// process is a measured server.
type process struct {
	cmd  *exec.Cmd
	addr string
	push string                      // address of the push port
	pids []int                       // processes whose CPU time counts
	path func(i int) (string, error) // the token of the i-th client, each of a different user
	dir  string

	binary string
	cores  cores
}

func startRole(role string, c cores) (*process, error) {
	p, err := startServer(onCores(c.servers, os.Args[0], "-role", role))
	if err == nil {
		p.cores = c
	}
	return p, err
}

// startServer starts a server that prints its address.
func startServer(cmd *exec.Cmd) (*process, error) {
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, err
	}
	return &process{cmd: cmd, addr: strings.TrimSpace(line), pids: []int{cmd.Process.Pid}, path: func(int) (string, error) { return "/", nil }}, nil
}

// startConsole starts the console with master, worker, embedded store and token check. With
// withMaster, the master's CPU time counts, too.
func startConsole(console string, withMaster bool, c cores, env ...string) (*process, error) {
	dir, err := os.MkdirTemp("", "wsframe-bench-")
	if err != nil {
		return nil, err
	}
	cmd := onCores(c.servers, console, "-s", "start", "-c", "config")
	const key = "bench-key-0123456789abcdef"
	cmd.Env = append(os.Environ(), append([]string{"WSFRAME_APP_RUNTIME_DIR=" + dir, "WSFRAME_APP_OUTSIDE_PORT=0", "WSFRAME_APP_MANAGER_PORT=0", "WSFRAME_APP_PUSH_PORT=0", "WSFRAME_APP_AUTH_KEY=" + key}, env...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, dir: dir, binary: console, cores: c}
	r := bufio.NewReader(out)
	for p.addr == "" || p.push == "" {
		line, err := r.ReadString('\n')
		if err != nil {
			return nil, err
		}
		if rest, ok := strings.CutPrefix(line, "outside  ws://"); ok {
			p.addr = strings.TrimSuffix(strings.TrimSpace(rest), "/")
		}
		if rest, ok := strings.CutPrefix(line, "push     "); ok {
			p.push = strings.TrimSpace(rest)
		}
	}
	go func() { _, _ = io.Copy(io.Discard, r) }() // what is wrong is on its stderr
	tokens, err := auth.New(auth.Config{Keys: []string{key}})
	if err != nil {
		return nil, err
	}
	p.path = func(i int) (string, error) {
		token, err := tokens.Issue(auth.Identity{ID: strconv.Itoa(i), Type: "wechatUser", Code: "bench", Nickname: "bench"})
		return "/?auth=" + token, err
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", cmd.Process.Pid, cmd.Process.Pid))
	worker, _ := strconv.Atoi(strings.TrimSpace(string(children)))
	if err != nil || worker == 0 {
		worker = childOf(cmd.Process.Pid)
	}
	p.pids = []int{worker}
	if withMaster {
		p.pids = append(p.pids, cmd.Process.Pid)
	}
	return p, nil
}

// startRedis starts a redis-server with an append-only file, as recommended for several nodes.
func startRedis() (*process, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "wsframe-bench-")
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("redis-server", "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--appendonly", "yes", "--appendfsync", "everysec")
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, addr: fmt.Sprintf("127.0.0.1:%d", port), pids: []int{cmd.Process.Pid}, dir: dir}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", p.addr)
		if err == nil {
			_ = c.Close()
			return p, nil
		}
		if time.Now().After(end) {
			p.stop()
			return nil, fmt.Errorf("redis-server: %w", err)
		}
	}
}

func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGKILL)
	_ = p.cmd.Wait()
	if p.dir != "" {
		time.Sleep(300 * time.Millisecond) // the worker ends with its master
		_ = os.RemoveAll(p.dir)
	}
}
