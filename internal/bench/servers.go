package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/lxzan/gws"

	"wsframe/framework/auth"
)

// parseCommand parses a message to the gws server: PUBLISH count interval-µs, and a text.
func parseCommand(s string) (count int, every time.Duration, ok bool) {
	f := strings.Fields(s)
	if len(f) < 3 || f[0] != "PUBLISH" {
		return 0, 0, false
	}
	count, _ = strconv.Atoi(f[1])
	us, _ := strconv.Atoi(f[2])
	return count, time.Duration(us) * time.Microsecond, true
}

var payload = []byte(`{"status":200,"event":"barrage","info":"","param":{"id":123456,"nickname":"somebody","say":"this is what a barrage message looks like"}}`)

// publishing calls publish count times at a fixed interval.
func publishing(count int, every time.Duration, publish func()) {
	next := time.Now()
	for range count {
		publish()
		if every > 0 {
			next = next.Add(every)
			time.Sleep(time.Until(next))
		}
	}
}

// gwsServer is the reference server. It echoes messages, and publishes with gws's Broadcaster.
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
	if count, every, ok := parseCommand(string(m.Bytes())); ok {
		go publishing(count, every, func() {
			b := gws.NewBroadcaster(gws.OpcodeText, payload)
			e.mu.Lock()
			for c := range e.conns {
				_ = b.Broadcast(c)
			}
			e.mu.Unlock()
			_ = b.Close()
		})
		return
	}
	_ = c.WriteMessage(m.Opcode, m.Bytes())
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

// roomServer is the path of a program that uses the hub, which other modules cannot import.
const roomServer = "./framework/internal/hub/roomserver"

// process is a measured server.
type process struct {
	cmd  *exec.Cmd
	addr string
	push string                      // address of the push port
	pids []int                       // processes whose CPU time counts
	path func(i int) (string, error) // the token of the i-th client, each of a different user
	dir  string
}

func startRole(role string) (*process, error) {
	return startServer(exec.Command(os.Args[0], "-role", role))
}

// startRoom builds and starts a hub with one room for all connections.
func startRoom() (*process, error) {
	dir, err := os.MkdirTemp("", "wsframe-bench-")
	if err != nil {
		return nil, err
	}
	binary := filepath.Join(dir, "roomserver")
	root, err := checkout()
	if err != nil {
		return nil, err
	}
	build := exec.Command("go", "build", "-o", binary, roomServer)
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the room server: %w\n%s", err, out)
	}
	p, err := startServer(exec.Command(binary))
	if err == nil {
		p.dir = dir
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
func startConsole(console string, withMaster bool, env ...string) (*process, error) {
	dir, err := os.MkdirTemp("", "wsframe-bench-")
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(console, "-s", "start", "-c", "config")
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
	p := &process{cmd: cmd, dir: dir}
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
	go func() { _, _ = r.WriteTo(os.Stderr) }()
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

func childOf(pid int) int {
	out, _ := exec.CommandContext(context.Background(), "pgrep", "-P", strconv.Itoa(pid)).Output()
	n, _ := strconv.Atoi(strings.TrimSpace(string(out)))
	return n
}

func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGKILL)
	_ = p.cmd.Wait()
	if p.dir != "" {
		time.Sleep(300 * time.Millisecond) // the worker ends with its master
		_ = os.RemoveAll(p.dir)
	}
}

// cpu returns the user and system time of a process, in microseconds.
func (p *process) cpu() float64 {
	total := 0.0
	for _, pid := range p.pids {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+2:]))
		u, _ := strconv.ParseFloat(f[11], 64)
		s, _ := strconv.ParseFloat(f[12], 64)
		total += (u + s) * 10_000 // clock ticks of 1/100 s
	}
	return total
}

// pss returns the proportional set size in KiB.
func (p *process) pss() float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p.pids[0]))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
			v, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return v
		}
	}
	return 0
}
