//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"wsframe/framework/manager"
)

func TestConsole(t *testing.T) {
	s := start(t)
	said := s.out.String()
	for _, part := range []string{"live.wall.say", "ws://" + s.outside, "embedded", "/static/wall.html#auth=w1.", "/static/user.html#auth=w1."} {
		if !strings.Contains(said, part) {
			t.Errorf("start does not print %q", part)
		}
	}
	user, wall := dial(t, s.outside, s.token("wechatUser", "u1")), dial(t, s.outside, s.token("wall", "w1"))
	user.send(`{"method":"live.user.join"}`)
	user.want("userJoinSuccess")
	wall.send(`{"method":"live.wall.join"}`)
	wall.want("wallJoinSuccess")
	if out := s.ok("-s", "say", "-i", "下午茶"); !strings.Contains(out, "2 clients") {
		t.Errorf("say: %s", out)
	}
	user.want(`"event":"serverBroadcast","info":"收到服务广播内容","param":"下午茶"`)
	wall.want("serverBroadcast")
	out := s.ok("-s", "connections")
	if !strings.Contains(out, "u1") || !strings.Contains(out, "wall") || strings.Count(out, "\n") != 3 {
		t.Errorf("connections:\n%s", out)
	}
	var list []manager.ConnInfo
	if err := json.Unmarshal([]byte(s.ok("-s", "connections", "-json")), &list); err != nil || len(list) != 2 || list[0].ID != "u1" {
		t.Errorf("connections -json: %v %v", list, err)
	}
	st := s.status()
	if st.Connections != 2 || st.Rooms != 2 || st.MasterPID != s.cmd.Process.Pid || st.WorkerPID == 0 || st.MemoryBytes < 1<<20 ||
		st.MessagesIn != 2 || st.MessagesOut != 4 || st.Goroutines < 3 || st.Store != "embedded" {
		t.Errorf("status: %+v", st)
	}
	text := s.ok("-s", "status")
	for _, row := range []string{"connections", "master pid", "worker pid", "memory", "uptime", "messages in", "goroutines", "rooms", "store"} {
		if !strings.Contains(text, row) {
			t.Errorf("status misses %q", row)
		}
	}
	if out := s.ok("-s", "routes"); !strings.Contains(out, "index.index.index") {
		t.Errorf("routes: %s", out)
	}
	if out := s.ok("-s", "checkconfig"); !strings.Contains(out, "app.limits.message_bytes: 65536") {
		t.Errorf("checkconfig: %s", out)
	}
	s.ok("-s", "stop")
	user.wantClose(1001)
	select {
	case <-s.ended:
	case <-time.After(wait):
		t.Fatal("the server has not ended")
	}
	if s.exit != nil {
		t.Errorf("exit: %v", s.exit)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "wsframe.pid")); err == nil {
		t.Error("the pid file is left")
	}
	for _, args := range [][]string{{"-s", "status"}, {"-s", "stop"}, {"-s", "reload"}, {"-s", "say", "-i", "x"}} {
		if _, errs, code := s.run(args...); code != 1 || !strings.Contains(errs, "is it started?") || strings.Count(errs, "\n") != 1 {
			t.Errorf("%v without a server: %d %s", args, code, errs)
		}
	}
}

func TestWrongCalls(t *testing.T) {
	s := prepare(t)
	for _, tc := range []struct {
		args []string
		want string
	}{
		{nil, "console start"},
		{[]string{"strat"}, "did you mean console start?"},
		{[]string{"-s", "dance"}, "unknown command \"dance\"; console help"},
		{[]string{"-s", "statsu"}, "did you mean console status?"},
		{[]string{"-s", "conn"}, "did you mean console connections?"},
		{[]string{"-s", "status", "-x"}, "-x"},
	} {
		if _, errs, code := s.run(tc.args...); code != 2 || !strings.Contains(errs, tc.want) {
			t.Errorf("%v: %d %s", tc.args, code, errs)
		}
	}
	for _, args := range [][]string{{"-help"}, {"help"}, {"-s", "help"}} {
		if out, _, code := s.run(args...); code != 0 || !strings.Contains(out, "checkconfig") || !strings.Contains(out, "-nickname") {
			t.Errorf("%v: %d %s", args, code, out)
		}
	}
	for _, args := range [][]string{{"version"}, {"-s", "version"}, {"--version"}} {
		if out, _, code := s.run(args...); code != 0 || !strings.HasPrefix(out, "console dev\nwsframe ") {
			t.Errorf("%v: %d %s", args, code, out)
		}
	}
}

// A refused token creates no key.
func TestTokenRefused(t *testing.T) {
	t.Parallel()
	s := prepare(t)
	s.env = append(s.env, "WSFRAME_APP_RUNTIME_DIR="+filepath.Join(s.dir, "new"))
	for _, args := range [][]string{{"-id", "a b"}, {"-id", "1", "-type", ""}, {"-id", "1", "-code", "*"}, {"-id", "1", "-nickname", strings.Repeat("x", 129)}, {"-id", "1", "-3des"}, {}} {
		if _, errs, code := s.run(append([]string{"-s", "token"}, args...)...); code != 1 || !oneLine(errs) {
			t.Errorf("%v: %d %s", args, code, errs)
		}
		if _, err := os.Stat(filepath.Join(s.dir, "new")); err == nil {
			t.Fatalf("%v made the runtime directory", args)
		}
	}
	// Nor does a token that could be issued, because the server that accepts it belongs to somebody
	// else.
	if out, errs, code := s.run("-s", "token", "-id", "1"); code != 1 || out != "" || !oneLine(errs) || !strings.Contains(errs, "auth.key") {
		t.Errorf("%d %s", code, errs)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "new")); err == nil {
		t.Error("a key was made")
	}
}

// Each of these errors causes one clear line and an exit code, with -d, too.
func TestBadStarts(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = busy.Close() })
	port := fmt.Sprint(busy.Addr().(*net.TCPAddr).Port)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, env, want string }{
		{"busy outside port", "WSFRAME_APP_OUTSIDE_PORT=" + port, "address already in use (config/app.yaml: outside.port)"},
		{"busy manager port", "WSFRAME_APP_MANAGER_PORT=" + port, "address already in use (config/app.yaml: manager.port)"},
		{"busy push port", "WSFRAME_APP_PUSH_PORT=" + port, "address already in use (config/app.yaml: push.port)"},
		{"short push token", "WSFRAME_APP_PUSH_TOKENS=short send", "push.tokens"},
		{"unknown scope", "WSFRAME_APP_PUSH_TOKENS=0123456789abcdef all", "\"all\" is no scope"},
		{"bad port", "WSFRAME_APP_OUTSIDE_PORT=99999", "99999 is not a port"},
		{"unknown key", "WSFRAME_APP_OUTSIDE_PROT=1", "WSFRAME_APP_OUTSIDE_PROT: no such setting"},
		{"runtime is a file", "WSFRAME_APP_RUNTIME_DIR=" + file, "not a directory"},
		{"redis away", "WSFRAME_CACHE_MASTER_DRIVER=redis\nWSFRAME_CACHE_MASTER_ADDRS=127.0.0.1:1", "redis at 127.0.0.1:1 cannot be reached"},
		{"database away", "WSFRAME_DB_MASTER_DRIVER=mysql\nWSFRAME_DB_MASTER_DSN=u:p@tcp(127.0.0.1:1)/x", "mysql database cannot be reached"},
		{"postgres away", "WSFRAME_DB_MASTER_DRIVER=postgres\nWSFRAME_DB_MASTER_DSN=host=127.0.0.1 port=1 user=u dbname=x", "postgres database cannot be reached"},
		{"no directory for the database", "WSFRAME_DB_MASTER_DSN=" + file + "/x.db", "not a directory"},
		{"two faults", "WSFRAME_APP_OUTSIDE_PORT=-1\nWSFRAME_APP_LIMITS_FRAGMENTS=0", "must be at least 1; "},
		{"open manager", "WSFRAME_APP_MANAGER_HOST=0.0.0.0", "manager.token"},
		{"published key", "WSFRAME_APP_AUTH_KEY=marico-websocket", "published"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := prepare(t, strings.Split(tc.env, "\n")...)
			for _, args := range [][]string{{"-s", "start"}, {"-s", "start", "-d"}} {
				if _, errs, code := s.run(args...); code != 1 || !oneLine(errs) || strings.Count(errs, tc.want) != 1 || strings.Count(errs, "dial error") > 1 {
					t.Errorf("%v: %d\n%s", args, code, errs)
				}
			}
			if strings.HasSuffix(tc.name, "away") && !strings.Contains(s.log(), "cannot be reached") {
				t.Errorf("the log does not say it:\n%s", s.log())
			}
		})
	}
}

// oneLine tells whether the output of a command is this one line.
func oneLine(errs string) bool {
	return strings.HasPrefix(errs, "console: ") && strings.Count(errs, "\n") == 1 && strings.HasSuffix(errs, "\n")
}

func TestSecondStartAndDaemon(t *testing.T) {
	s := prepare(t)
	out := s.ok("-s", "start", "-d")
	if !strings.Contains(out, "started, pid") {
		t.Fatalf("%s", out)
	}
	first := s.status()
	t.Cleanup(func() { s.run("-s", "stop") })
	for _, args := range [][]string{{"-s", "start"}, {"-s", "start", "-d"}} {
		if _, errs, code := s.run(args...); code != 1 || !oneLine(errs) || !strings.Contains(errs, fmt.Sprintf("already runs with the runtime directory %s (pid %d)", s.dir, first.MasterPID)) {
			t.Fatalf("%v: %d %s", args, code, errs)
		}
	}
	s.ok("-s", "restart")
	if second := s.status(); second.MasterPID == first.MasterPID {
		t.Fatal("not restarted")
	}
	s.ok("-s", "stop", "-g")
	// A daemon that cannot start prints the reason.
	s.env = append(s.env, "WSFRAME_DB_MASTER_DRIVER=mysql", "WSFRAME_DB_MASTER_DSN=u:p@tcp(127.0.0.1:1)/x")
	if _, errs, code := s.run("-s", "start", "-d"); code != 1 || !oneLine(errs) || !strings.Contains(errs, "mysql database cannot be reached") {
		t.Fatalf("%d %s", code, errs)
	}
}

// A page of another host cannot connect, even with a token (security rule 4).
func TestForeignOrigin(t *testing.T) {
	s := start(t)
	token := s.token("guest", "g")
	for origin, status := range map[string]int{"https://evil.example": 403, "http://" + s.outside: 101} {
		ws, resp, err := websocket.Dial(t.Context(), "ws://"+s.outside+"/?auth="+token, &websocket.DialOptions{HTTPHeader: http.Header{"Origin": {origin}}})
		if resp == nil || resp.StatusCode != status {
			t.Fatalf("%s: %v %v, want status %d", origin, resp, err, status)
		}
		if err == nil {
			_ = ws.CloseNow()
		}
	}
}

// After kill -9, the worker is restarted. The port never refuses a connection, and the data of the
// dead connections is cleaned up (promise S4).
func TestWorkerKilled(t *testing.T) {
	s := start(t)
	token := s.token("wechatUser", "u1")
	p := dial(t, s.outside, token)
	p.send(`{"method":"live.user.join"}`)
	p.want("userJoinSuccess")
	old := s.status().WorkerPID
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, err := p.receive(); err == nil {
		t.Fatal("the connection lives on")
	}
	again := dial(t, s.outside, token) // the kernel queues this client until the new worker accepts
	again.send(`{"method":"live.user.join"}`)
	again.want("userJoinSuccess")
	until(t, "status of the new worker", func() bool {
		st := s.status()
		return st.WorkerPID != old && st.WorkerRestarts == 1 && st.Connections == 1
	})
	until(t, "the sweep is logged", func() bool { return strings.Contains(s.log(), "cleaned up dead connections") })
}

func (s *server) log() string {
	var all strings.Builder
	files, _ := filepath.Glob(filepath.Join(s.dir, "logs", "*.log"))
	for _, f := range files {
		b, _ := os.ReadFile(f)
		all.Write(b)
	}
	return all.String()
}

// If the new worker does not boot at a reload, the old one continues, and the reason is printed.
func TestReload(t *testing.T) {
	s := prepare(t)
	s.config = filepath.Join(t.TempDir(), "config")
	if err := os.CopyFS(s.config, os.DirFS(filepath.Join(root, "config"))); err != nil {
		t.Fatal(err)
	}
	s.launch(console)
	until(t, "server is ready", func() bool { return strings.Contains(s.out.String(), "manager  ws://") })
	p := dial(t, s.outside, s.token("wechatUser", "u1"))
	before := s.status()
	file := filepath.Join(s.config, "app.yaml")
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for bad, why := range map[string]string{
		"limits:\n  foo: 1\n": "unknown key limits.foo", "auth:\n  key: short\n": "auth.key: has 5 bytes", "a: [": "did not find expected node content",
	} {
		if err := os.WriteFile(file, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"-s", "reload"}, {"-s", "reload", "-check"}} {
			_, errs, code := s.run(args...)
			note, refused, _ := strings.Cut(errs, "\n")
			if code != 1 || !strings.HasPrefix(note, "console: note: ") || !oneLine(refused) || !strings.Contains(refused, "the new worker does not boot; the old one goes on: "+file) || !strings.Contains(refused, why) {
				t.Fatalf("%v with %q: %d %s", args, bad, code, errs)
			}
		}
		// The server continues, and its commands still work.
		var st manager.Status
		out, errs, code := s.run("-s", "status", "-json")
		if err := json.Unmarshal([]byte(out), &st); err != nil || code != 0 || st.WorkerPID != before.WorkerPID || !strings.Contains(errs, why) || strings.Count(errs, "\n") != 1 {
			t.Fatalf("status with %q: %d %s%s", bad, code, out, errs)
		}
		if out := s.ok("-s", "say", "-i", "hi"); !strings.Contains(out, "1 clients") {
			t.Fatalf("say with %q: %s", bad, out)
		}
		p.want("serverBroadcast")
	}
	if _, errs, code := s.run("-s", "restart"); code != 1 || !oneLine(errs) {
		t.Fatalf("a restart that could not start again: %d %s", code, errs)
	}
	p.send("2")
	p.want("3")
	if after := s.statusWith(good, file); after.WorkerPID != before.WorkerPID || after.Connections != 1 {
		t.Fatalf("%+v", after)
	}
	out := s.ok("-s", "reload")
	var moved, drained, ms, oldPID, newPID int
	line := out[strings.LastIndex(strings.TrimSpace(out), "\n")+1:]
	if n, err := fmt.Sscanf(line, "%d connections moved, %d drained, pause %d ms, worker %d → %d", &moved, &drained, &ms, &oldPID, &newPID); n != 5 {
		t.Fatalf("%s: %v", out, err)
	}
	if oldPID != before.WorkerPID || newPID == oldPID || moved != 1 || drained != 0 {
		t.Fatalf("%s", out)
	}
	p.send("2")
	p.want("3")
	if after := s.status(); after.MasterPID != before.MasterPID || after.WorkerPID != newPID {
		t.Fatalf("%+v", after)
	}
	if err := os.WriteFile(file, []byte("a: ["), 0o600); err != nil {
		t.Fatal(err)
	}
	s.ok("-s", "stop")
	p.wantClose(1001)
}

func (s *server) statusWith(config []byte, file string) (st struct {
	WorkerPID   int `json:"worker_pid"`
	Connections int `json:"connections"`
}) {
	s.t.Helper()
	if err := os.WriteFile(file, config, 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(s.ok("-s", "status", "-json")), &st); err != nil {
		s.t.Fatal(err)
	}
	return st
}

// A worker never outlives its master.
func TestMasterKilled(t *testing.T) {
	s := start(t)
	p := dial(t, s.outside, s.token("wall", "w1"))
	worker := s.status().WorkerPID
	if err := s.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.wantClose(1001)
	until(t, "worker ends", func() bool { return syscall.Kill(worker, 0) != nil })
}

// The port never refuses a connection while workers are replaced.
func TestReloadNeverRefuses(t *testing.T) {
	s := start(t)
	stop := make(chan struct{})
	failed := make(chan error, 1)
	go func() {
		defer close(failed)
		for {
			select {
			case <-stop:
				return
			default:
			}
			nc, err := net.DialTimeout("tcp", s.outside, 5*time.Second)
			if err != nil {
				failed <- err
				return
			}
			_ = nc.Close()
			time.Sleep(2 * time.Millisecond)
		}
	}()
	for range 3 {
		s.ok("-s", "reload")
	}
	close(stop)
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
}

func TestSignals(t *testing.T) {
	s := start(t)
	before := s.status()
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	until(t, "SIGHUP reloads", func() bool { return s.status().WorkerPID != before.WorkerPID })
	files, _ := filepath.Glob(filepath.Join(s.dir, "logs", "wsframe-*.log"))
	if len(files) != 1 {
		t.Fatalf("logs: %v", files)
	}
	if err := os.Rename(files[0], files[0]+".old"); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	until(t, "SIGUSR1 reopens the logs", func() bool { _, err := os.Stat(files[0]); return err == nil })
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.ended:
		if s.exit != nil {
			t.Fatalf("exit: %v", s.exit)
		}
	case <-time.After(wait):
		t.Fatal("SIGTERM does not end it")
	}
}

// Each node lists all nodes on its Redis with their data. A killed node is listed as dead until it
// has been cleaned up.
func TestConsoleNodes(t *testing.T) {
	t.Parallel()
	n := startNodes(t, oneRedis(t), 2, nil)
	n.member(0, "u1", "hall")
	n.member(1, "u2", "hall")
	n.member(1, "u2", "hall")
	listed := func(i int) map[string]manager.NodeInfo {
		var list []manager.NodeInfo
		if err := json.Unmarshal([]byte(n.list[i].ok("-s", "nodes", "-json")), &list); err != nil {
			t.Fatal(err)
		}
		all := map[string]manager.NodeInfo{}
		for _, node := range list {
			all[node.Address] = node
		}
		return all
	}
	for i := range n.list {
		var found map[string]manager.NodeInfo
		until(t, fmt.Sprintf("all to be listed by node %d", i), func() bool { // at the next renewal of the leases
			found = listed(i)
			return len(found) == 2 && found[n.list[0].outside].Connections == 1 && found[n.list[1].outside].Connections == 2
		})
		for j, s := range n.list {
			node, st := found[s.outside], s.status()
			if node.State != manager.NodeAlive || node.Self != (i == j) || node.UIDs != 1 || node.Rooms != 1 || node.WorkerPID != st.WorkerPID ||
				node.Version != st.Version || !strings.HasSuffix(node.ID, s.dir) || node.Host == "" || node.RefreshedSeconds < 0 || node.RefreshedSeconds > 15 ||
				time.Since(time.Unix(node.Since, 0)) > time.Hour {
				t.Errorf("node %d lists %d as %+v", i, j, node)
			}
		}
		st := n.list[i].status()
		if len(st.Nodes) != 2 || st.NodesError != "" || st.UIDs != 1 || st.Connections != i+1 {
			t.Errorf("status of node %d: %+v", i, st)
		}
		if out := n.list[i].ok("-s", "status"); !strings.Contains(out, "nodes            2 (") || !strings.Contains(out, n.list[1-i].dir) {
			t.Errorf("status of node %d:\n%s", i, out)
		}
	}
	out := n.list[0].ok("-s", "nodes")
	if strings.Count(out, "\n") != 3 || !strings.Contains(out, n.list[1].outside) || strings.Count(out, "alive") != 2 {
		t.Errorf("nodes:\n%s", out)
	}
	// The data of a node survives its reload.
	n.list[1].ok("-s", "reload")
	worker := n.list[1].status().WorkerPID
	until(t, "the new worker to be listed", func() bool {
		node := listed(0)[n.list[1].outside]
		return node.WorkerPID == worker && node.Connections == 2 && node.State == manager.NodeAlive
	})
	// A frozen node counts as dead when its lease has expired, and disappears after another node
	// has cleaned up.
	n.signal(1, syscall.SIGSTOP)
	dead := false
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		node, there := listed(0)[n.list[1].outside]
		dead = dead || node.State == manager.NodeDead && node.RefreshedSeconds >= 14
		if !there {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("still listed: %+v", node)
		}
	}
	if !dead {
		t.Error("the frozen node was never listed as dead")
	}
	n.signal(1, syscall.SIGCONT)
	until(t, "it to be back", func() bool { return listed(0)[n.list[1].outside].State == manager.NodeAlive })
	// Without Redis, the rest of the status is still available.
	n.store.masters[0].Freeze()
	st := n.list[0].status()
	n.store.masters[0].Thaw()
	if st.NodesError == "" || len(st.Nodes) != 1 || !st.Nodes[0].Self || st.Connections != 1 {
		t.Errorf("status without Redis: %+v", st)
	}
}

// systemd is notified of each reload, whoever requested it, and of the beginning of a stop.
func TestServiceManager(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	s := start(t, "NOTIFY_SOCKET="+path)
	var last int64
	want := func(prefix string) {
		t.Helper()
		b := make([]byte, 200)
		if err := socket.SetReadDeadline(time.Now().Add(wait)); err != nil {
			t.Fatal(err)
		}
		n, err := socket.Read(b)
		got := string(b[:n])
		if err != nil || !strings.HasPrefix(got, prefix) {
			t.Fatalf("told %q %v, want %q", got, err, prefix)
		}
		if at, ok := strings.CutPrefix(got, "RELOADING=1\nMONOTONIC_USEC="); ok {
			now, err := strconv.ParseInt(at, 10, 64)
			if err != nil || now <= last {
				t.Errorf("the time of a reload is %q, after %d", at, last)
			}
			last = now
		} else if got != prefix {
			t.Errorf("told %q", got)
		}
	}
	want("READY=1")
	s.ok("-s", "reload", "-check")
	s.ok("-s", "reload")
	want("RELOADING=1\n")
	want("READY=1")
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	want("RELOADING=1\n")
	want("READY=1")
	worker := s.status().WorkerPID
	if err := syscall.Kill(worker, syscall.SIGSTOP); err != nil { // the stop must wait for the worker
		t.Fatal(err)
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	want("STOPPING=1")
	select {
	case <-s.ended:
		t.Error("it was told when all was over")
	default:
	}
	if err := syscall.Kill(worker, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	<-s.ended
}

// A symbolic link switches to a new release, and the previous one is removed. A reload starts the
// program at the path that was started originally.
func TestReloadByPath(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	release := func(name string) {
		t.Helper()
		cmd := exec.Command("go", "build", "-ldflags", "-X main.version="+name, "-o", filepath.Join(dir, name, "console"), "./public")
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	release("one")
	release("two")
	for _, tc := range []struct{ name, arg, path string }{
		{"absolute", filepath.Join(dir, "absolute", "console"), ""},
		{"relative", "./relative/console", ""},
		{"in PATH", "console", filepath.Join(dir, "in PATH")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			link := filepath.Join(dir, tc.name)
			point := func(to string) {
				t.Helper()
				if err := os.Symlink(to, link+".next"); err != nil {
					t.Fatal(err)
				}
				if err := os.Rename(link+".next", link); err != nil {
					t.Fatal(err)
				}
			}
			first := tc.name + " one"
			if err := os.CopyFS(filepath.Join(dir, first), os.DirFS(filepath.Join(dir, "one"))); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(filepath.Join(dir, first, "console"), 0o755); err != nil {
				t.Fatal(err)
			}
			point(first)
			s := prepare(t)
			if tc.path != "" {
				s.env = append(s.env, "PATH="+tc.path+":"+os.Getenv("PATH"))
			}
			s.launchAs(&exec.Cmd{Path: filepath.Join(link, "console"), Args: []string{tc.arg, "-s", "start", "-c", s.config}, Dir: dir}, wait)
			if st := s.status(); st.Version != "one" || st.MasterVersion != "one" {
				t.Fatalf("%+v", st)
			}
			point("two")
			if err := os.RemoveAll(filepath.Join(dir, first)); err != nil {
				t.Fatal(err)
			}
			s.ok("-s", "reload", "-check")
			s.ok("-s", "reload")
			if st := s.status(); st.Version != "two" || st.MasterVersion != "one" || len(st.Nodes) != 1 || st.Nodes[0].Version != "two" {
				t.Fatalf("%+v", st)
			}
		})
	}
}

// A check without changes reports none, and a reload applies the level of the master's log.
func TestReloadConfig(t *testing.T) {
	t.Parallel()
	s := prepare(t)
	s.config = filepath.Join(t.TempDir(), "config")
	if err := os.CopyFS(s.config, os.DirFS(filepath.Join(root, "config"))); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(s.config, "app.yaml")
	config := copyOf(t, file)
	level := func(name string) {
		t.Helper()
		changed := bytes.Replace(config, []byte("  level: info "), []byte("  level: "+name+" "), 1)
		if err := os.WriteFile(file, changed, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	level("error")
	s.launch(console)
	until(t, "server is ready", func() bool { return strings.Contains(s.out.String(), "manager  ws://") })
	dial(t, s.outside, s.token("wall", "w"))
	out := s.ok("-s", "reload", "-check")
	if strings.Contains(out, "route") || strings.Contains(out, "1012") || !strings.HasSuffix(out, "the new worker would serve; nothing was changed\n") {
		t.Errorf("check:\n%s", out)
	}
	s.ok("-s", "reload")
	if said := s.log(); strings.Contains(said, "reloaded") || strings.Contains(said, "server is ready") {
		t.Errorf("logged below the level:\n%s", said)
	}
	level("info")
	s.ok("-s", "reload")
	if said := s.log(); strings.Count(said, `"reloaded"`) != 1 {
		t.Errorf("the master's log has the level of before:\n%s", said)
	}

	// Changes that a reload cannot apply are refused or reported.
	for _, tc := range []struct{ file, old, new, want string }{
		{"app.yaml", "  level: info ", "  level: loud ", "level"},
		{"db.yaml", `dsn: ""`, `dsn: "` + file + `/wsframe.db"`, "not a directory"},
		{"cache.yaml", "driver: embedded", "driver: redis", "needs a restart"},
	} {
		path := filepath.Join(s.config, tc.file)
		good := copyOf(t, path)
		changed := bytes.Replace(good, []byte(tc.old), []byte(tc.new), 1)
		if bytes.Equal(good, changed) {
			t.Fatalf("%s has no %q", tc.file, tc.old)
		}
		if err := os.WriteFile(path, changed, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"-s", "reload", "-check"}, {"-s", "reload"}} {
			if out, errs, code := s.run(args...); code == 0 || !strings.Contains(errs, tc.want) {
				t.Errorf("%v with %s: %d %s%s", args, tc.new, code, out, errs)
			}
		}
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}

	// The memory in the status is that of both processes according to the kernel.
	st := s.status()
	var resident int64
	for _, pid := range []int{st.MasterPID, st.WorkerPID} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			t.Skip(err) // only Linux has this file
		}
		_, rest, _ := strings.Cut(string(b), "VmRSS:")
		var kb int64
		if _, err := fmt.Sscan(rest, &kb); err != nil {
			t.Fatal(err)
		}
		resident += kb << 10
	}
	if st.MemoryBytes < resident*2/3 || st.MemoryBytes > resident*3/2 {
		t.Errorf("memory %d, resident %d", st.MemoryBytes, resident)
	}
}

// begin starts cmd as the server. The test ends it, and prints its output after a failure.
func (s *server) begin(cmd *exec.Cmd) {
	s.t.Helper()
	cmd.Env, s.cmd = s.env, cmd
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() { s.exit = cmd.Wait(); close(s.ended) }()
	s.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-s.ended:
		case <-time.After(wait):
			_ = cmd.Process.Kill()
			<-s.ended
			s.t.Errorf("the server had to be killed")
		}
		if s.t.Failed() {
			s.t.Logf("server said:\n%s", s.out)
		}
	})
}

// launchAs starts the server with a given command, and waits until it is ready, at most for a
// limit.
func (s *server) launchAs(cmd *exec.Cmd, limit time.Duration) {
	s.t.Helper()
	cmd.Stdout, cmd.Stderr = s.out, s.out
	s.begin(cmd)
	for end := time.Now().Add(limit); !strings.Contains(s.out.String(), "manager  ws://"); {
		select {
		case <-s.ended:
			s.t.Fatalf("server ended: %v\n%s", s.exit, s.out)
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(end) {
			s.t.Fatal("the server is not ready")
		}
	}
}
