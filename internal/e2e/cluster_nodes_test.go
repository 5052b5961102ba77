//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"wsframe/framework/auth"
	"wsframe/internal/testserver"
	"wsframe/library/cache"
)

// long makes tests run more rounds with more connections. It is for manual runs.
var long = os.Getenv("E2E_LONG") != ""

const hallKey = "a-key-of-the-tests-0123456789"

// hallBinary builds the console with the tests' controller once.
var hallBinary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(filepath.Dir(console), "hall")
	var flags []string
	if os.Getenv("E2E_RACE") != "" {
		flags = append(flags, "-race")
	}
	return path, testserver.BuildHall(root, path, flags...)
})

// store is the Redis of the nodes, either a server or a cluster.
type store struct {
	masters  []*testserver.Redis
	password string
	client   redis.UniversalClient
}

func (s *store) addrs() (list []string) {
	for _, r := range s.masters {
		list = append(list, r.Addr)
	}
	return list
}

func openStore(t testing.TB, password string, masters ...*testserver.Redis) *store {
	t.Helper()
	s := &store{masters: masters, password: password}
	var err error
	s.client, err = cache.Open(t.Context(), cache.Options{Addrs: s.addrs(), Password: password, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.client.Close() })
	return s
}

func oneRedis(t testing.TB) *store {
	t.Helper()
	r := testserver.StartRedis(t, "--appendfsync", "everysec")
	return openStore(t, r.Password, r)
}

func threeRedis(t testing.TB) *store {
	t.Helper()
	c := testserver.StartRedisCluster(t, "--appendfsync", "everysec")
	return openStore(t, c.Password, c.Masters...)
}

// onStores runs a test on one Redis and on a Redis Cluster.
func onStores(t *testing.T, f func(t *testing.T, s *store)) {
	t.Run("one", func(t *testing.T) { t.Parallel(); f(t, oneRedis(t)) })
	t.Run("cluster", func(t *testing.T) { t.Parallel(); f(t, threeRedis(t)) })
}

// nodes are servers that share a store.
type nodes struct {
	t      *testing.T
	store  *store
	list   []*server
	tokens *auth.Tokens
	closed string // file in which close listeners write
}

// startNodes starts a number of nodes. addrs returns the addresses of the store for each node; nil
// means the store's own. Without a store, there is one node with an embedded store.
func startNodes(t *testing.T, s *store, count int, addrs func(i int) []string, env ...string) *nodes {
	t.Helper()
	n := &nodes{t: t, store: s, closed: filepath.Join(t.TempDir(), "closed")}
	var err error
	if n.tokens, err = auth.New(auth.Config{Keys: []string{hallKey}}); err != nil {
		t.Fatal(err)
	}
	env = append([]string{
		"WSFRAME_APP_AUTH_KEY=" + hallKey, "WSFRAME_APP_PUSH_PORT=0", "WSFRAME_APP_LIMITS_MESSAGE_RATE=0",
		"WSFRAME_APP_DEMO=false", "HALL_CLOSED=" + n.closed,
	}, env...)
	place := func(i int) *server {
		if s == nil {
			return prepare(t, env...)
		}
		list := s.addrs()
		if addrs != nil {
			list = addrs(i)
		}
		return prepare(t, append(env[:len(env):len(env)], "WSFRAME_CACHE_MASTER_DRIVER=redis", "WSFRAME_CACHE_MASTER_ADDRS="+strings.Join(list, ","),
			"WSFRAME_CACHE_MASTER_PASSWORD="+s.password, "WSFRAME_CACHE_MASTER_PREFIX=t:")...)
	}
	for i := range count {
		n.list = append(n.list, place(i))
		n.launch(i)
	}
	for i := range n.list {
		for try := 0; !n.ready(i); try++ { // another program has taken its port
			if try == 3 {
				t.Fatalf("node %d ended: %v\n%s", i, n.list[i].exit, n.list[i].out)
			}
			n.list[i] = place(i)
			n.launch(i)
		}
	}
	time.Sleep(1100 * time.Millisecond) // a node refreshes its list of nodes once a second
	return n
}

// ready waits until a node serves. It returns false if the node ended because its port was taken.
func (n *nodes) ready(i int) (ok bool) {
	n.t.Helper()
	s := n.list[i]
	until(n.t, fmt.Sprintf("node %d is ready", i), func() bool {
		select {
		case <-s.ended:
			if !strings.Contains(s.out.String(), "address already in use") {
				n.t.Fatalf("node %d ended: %v\n%s", i, s.exit, s.out)
			}
			return true
		default:
		}
		ok = strings.Contains(s.out.String(), "manager  ws://")
		return ok
	})
	return ok
}

// launch starts a node, or restarts one that was killed.
func (n *nodes) launch(i int) {
	n.t.Helper()
	binary, err := hallBinary()
	if err != nil {
		n.t.Fatal(err)
	}
	s := n.list[i]
	s.out, s.ended, s.exit = &lockedBuffer{}, make(chan struct{}), nil
	cmd, out, ended := exec.Command(binary, "-s", "start", "-c", s.config), s.out, s.ended
	cmd.Env, cmd.Stdout, cmd.Stderr = s.env, out, out
	s.cmd = cmd
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	go func() { s.exit = cmd.Wait(); close(ended) }()
	n.t.Cleanup(func() {
		for _, pid := range append(children(cmd.Process.Pid), cmd.Process.Pid) {
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(wait):
			_ = cmd.Process.Kill()
			<-ended
			n.t.Errorf("node %d had to be killed", i)
		}
		if n.t.Failed() {
			n.t.Logf("node %d, pid %d said:\n%s", i, cmd.Process.Pid, out)
			for _, kind := range []string{"worker", "master"} {
				files, _ := filepath.Glob(filepath.Join(s.dir, "logs", kind+"*"))
				for _, file := range files {
					b, _ := os.ReadFile(file)
					n.t.Logf("%s:\n%s", file, b[max(0, len(b)-6000):])
				}
			}
		}
	})
}

func (n *nodes) worker(i int) int {
	n.t.Helper()
	list := children(n.list[i].cmd.Process.Pid)
	if len(list) == 0 {
		n.t.Fatalf("node %d has no worker", i)
	}
	return list[0]
}

// signal sends a signal to both processes of a node, first to the master, so that it does not
// restart its worker.
func (n *nodes) signal(i int, sig syscall.Signal) {
	n.t.Helper()
	worker := n.worker(i)
	for _, pid := range []int{n.list[i].cmd.Process.Pid, worker} {
		if err := syscall.Kill(pid, sig); err != nil {
			n.t.Fatalf("%v to node %d: %v", sig, i, err)
		}
	}
}

// kill ends a node like a power cut.
func (n *nodes) kill(i int) {
	n.t.Helper()
	n.signal(i, syscall.SIGSTOP) // the frozen node does not detect the other's death
	n.signal(i, syscall.SIGKILL)
	<-n.list[i].ended
}

// closeCalls returns how often the close listeners of each connection ran, and in which processes.
func (n *nodes) closeCalls() (times map[int64]int, by map[int64]int) {
	n.t.Helper()
	times, by = map[int64]int{}, map[int64]int{}
	b, err := os.ReadFile(n.closed)
	if err != nil {
		n.t.Fatal(err)
	}
	for _, line := range strings.Fields(strings.ReplaceAll(string(b), " ", ",")) {
		f := strings.Split(line, ",")
		if len(f) != 3 {
			continue // the line is not complete yet
		}
		fd, _ := strconv.ParseInt(f[0], 10, 64)
		times[fd]++
		by[fd], _ = strconv.Atoi(f[1])
	}
	return times, by
}

// set returns the members of a Redis set of the application.
func (n *nodes) set(key string) map[string]bool {
	list, err := n.store.client.SMembersMap(n.t.Context(), "t:"+key).Result()
	if err != nil {
		return nil
	}
	set := map[string]bool{}
	for name := range list {
		set[name] = true
	}
	return set
}

// keys returns all keys of the store except permanent ones of all nodes.
func (n *nodes) keys() (list []string) {
	n.t.Helper()
	for _, r := range n.store.masters {
		c := redis.NewClient(&redis.Options{Addr: r.Addr, Password: n.store.password, DisableIdentity: true})
		list = append(list, leftovers(n.t, c)...)
		_ = c.Close()
	}
	return list
}
