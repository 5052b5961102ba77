//go:build e2e

package e2e

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// model records the connections and their rooms, as the clients know them.
type model struct {
	*nodes
	random *rand.Rand
	open   []*modelled
	ended  []*modelled
	steps  map[string]int
}

type modelled struct {
	*member
	rooms  map[string]bool
	change time.Time // time of the last change
	killed bool      // its process died within a second of change, so its listener may run never or twice
}

// soon is the greatest delay of the bookkeeping. A process that dies loses what it has not written.
const soon = time.Second

// Random joins, leaves, kicks, closes, killed workers, killed nodes and reloads on three nodes
// leave exactly the clients' state in Redis. E2E_SEED repeats a run.
func TestModel(t *testing.T) {
	seed, _ := strconv.ParseUint(os.Getenv("E2E_SEED"), 10, 64)
	if seed == 0 {
		seed = rand.Uint64()
	}
	length := 8 * time.Second
	if long {
		length = 3 * time.Minute
	}
	t.Logf("E2E_SEED=%d", seed)
	onStores := map[string]func(testing.TB) *store{"one": oneRedis, "cluster": threeRedis}
	for name, open := range onStores {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := &model{nodes: startNodes(t, open(t), 3, nil), random: rand.New(rand.NewPCG(seed, 1)), steps: map[string]int{}}
			for end := time.Now().Add(length); time.Now().Before(end); {
				m.step()
			}
			for node := range 3 {
				m.connect(node) // the connection for questions to the node
			}
			m.compare()
			t.Log(m.steps)
		})
	}
}

func (m *model) step() {
	m.t.Helper()
	kind := ""
	switch k := m.random.IntN(1000); {
	case k < 250 || len(m.open) < 10:
		kind = "open"
		m.connect(m.random.IntN(3))
	case k < 500:
		kind = "join"
		c, room := m.any(), m.room()
		if m.random.IntN(2) == 0 {
			c.must(m.t, "hall.join", map[string]any{"room": room})
		} else {
			m.any().must(m.t, "hall.join", map[string]any{"to": c.fd, "room": room})
		}
		c.rooms[room] = true
	case k < 680:
		kind = "leave"
		c, room := m.any(), m.room()
		if m.random.IntN(2) == 0 {
			c.must(m.t, "hall.leave", map[string]any{"room": room})
		} else {
			m.any().must(m.t, "hall.leave", map[string]any{"to": c.fd, "room": room})
		}
		delete(c.rooms, room)
	case k < 800:
		kind = "vanish"
		c := m.any()
		_ = c.nc.Close()
		m.end(c)
	case k < 860:
		kind = "bye"
		c := m.any()
		c.must(m.t, "hall.bye", nil)
		m.end(c)
	case k < 930:
		kind = "kick"
		c := m.any()
		if by := m.any(); by != c {
			by.must(m.t, "hall.kick", map[string]any{"to": c.fd})
			m.end(c)
		}
	case k < 970:
		kind = "kick user"
		by, uid := m.any(), m.uid()
		if by.uid == uid {
			return
		}
		// A node without a worker has no connections, and does not answer.
		if err := by.call("hall.kick", map[string]any{"uid": uid}); err != nil && !strings.Contains(err.Error(), "not all nodes have answered") {
			m.t.Fatal(err)
		}
		for _, c := range slices.Clone(m.open) {
			if c.uid == uid {
				m.end(c)
			}
		}
	case k < 985:
		kind = "reload"
		s := m.list[m.random.IntN(3)]
		until(m.t, "a reload", func() bool {
			_, errs, code := s.run("-s", "reload")
			if code != 0 && !strings.Contains(errs, "is being restarted") { // the worker was killed just before
				m.t.Fatal(errs)
			}
			return code == 0
		})
	case k < 993:
		kind = "kill worker"
		i := m.random.IntN(3)
		pid := m.worker(i)
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			m.t.Fatal(err)
		}
		m.died(i)
		until(m.t, "the next worker", func() bool { list := children(m.list[i].cmd.Process.Pid); return len(list) > 0 && list[0] != pid })
	default:
		kind = "kill node"
		i := m.random.IntN(3)
		m.kill(i)
		m.died(i)
		until(m.t, "a port that nobody else has taken meanwhile", func() bool { m.launch(i); return m.ready(i) })
	}
	m.steps[kind]++
}

func (m *model) room() string   { return fmt.Sprint("ROOM_", m.random.IntN(6)) }
func (m *model) uid() string    { return fmt.Sprint("u", m.random.IntN(30)) }
func (m *model) any() *modelled { return m.open[m.random.IntN(len(m.open))] }

func (m *model) connect(node int) {
	m.t.Helper()
	c := &modelled{member: m.member(node, m.uid(), ""), rooms: map[string]bool{}, change: time.Now()}
	m.open = append(m.open, c)
}

// end waits until the connection has ended.
func (m *model) end(c *modelled) {
	m.t.Helper()
	select {
	case <-c.ended:
	case <-time.After(wait):
		m.t.Fatalf("connection %d of node %d does not end", c.fd, c.node)
	}
	c.change = time.Now()
	m.open = slices.DeleteFunc(m.open, func(o *modelled) bool { return o == c })
	m.ended = append(m.ended, c)
}

func (m *model) died(node int) {
	m.t.Helper()
	for _, c := range m.ended {
		c.killed = c.killed || c.node == node && time.Since(c.change) < soon
	}
	for _, c := range slices.Clone(m.open) {
		if c.node == node {
			c.killed = time.Since(c.change) < soon
			m.end(c)
		}
	}
}

// truth returns the expected content of Redis: key → members or fields.
func (m *model) truth() map[string][]string {
	all := map[string][]string{}
	add := func(key, name string) { all[key] = append(all[key], name) }
	for _, c := range m.open {
		fd := strconv.FormatInt(c.fd, 10)
		add("WEBSOCKET_FDINFO", fd)
		add("FDS of node "+strconv.Itoa(c.node), fd)
		add("WEBSOCKET_FdController_"+fd, "index.hall")
		for room := range c.rooms {
			add(room, fd)
			add("WEBSOCKET_FdCloseSetKey_"+fd, room)
		}
	}
	for key := range all {
		slices.Sort(all[key])
	}
	return all
}

// found returns the content of Redis for these keys, and all other content.
func (m *model) found() (all map[string][]string, foreign []string) {
	all = map[string][]string{}
	ctx := m.t.Context()
	for _, r := range m.store.masters {
		c := redis.NewClient(&redis.Options{Addr: r.Addr, Password: m.store.password, DisableIdentity: true})
		for _, key := range leftovers(m.t, c) {
			name := strings.TrimPrefix(key, "t:")
			switch {
			case name == "WEBSOCKET_FDINFO":
				all[name] = c.HKeys(ctx, key).Val()
			case name == "WEBSOCKET_UIDTOFD":
				for uid, fd := range c.HGetAll(ctx, key).Val() {
					if !slices.ContainsFunc(m.open, func(c *modelled) bool { return c.uid == uid && strconv.FormatInt(c.fd, 10) == fd }) {
						foreign = append(foreign, fmt.Sprintf("user %s at %s", uid, fd))
					}
				}
			case name == "WSFRAME_NODES":
				if n := c.SCard(ctx, key).Val(); n != 3 {
					foreign = append(foreign, fmt.Sprintf("%d members in the list of nodes", n))
				}
			case strings.Contains(name, "}:FDS:"):
				i := slices.IndexFunc(m.list, func(s *server) bool { return strings.Contains(name, s.dir) })
				key := "FDS of node " + strconv.Itoa(i)
				if all[key] != nil {
					foreign = append(foreign, "another incarnation: "+name)
				}
				all[key] = c.SMembers(ctx, "t:"+name).Val()
			case name == "WSFRAME_STRAYS": // the clean-up of strays uses this key
			case strings.Contains(name, "}:LEASE:") || strings.Contains(name, "}:MARK:") || strings.Contains(name, "}:DEAD:") || strings.HasSuffix(name, "}:HOLDER"):
			case strings.HasPrefix(name, "ROOM_") || strings.HasPrefix(name, "WEBSOCKET_Fd"):
				all[name] = c.SMembers(ctx, key).Val()
			default:
				foreign = append(foreign, name)
			}
		}
		_ = c.Close()
	}
	for key := range all {
		slices.Sort(all[key])
	}
	return all, foreign
}

func (m *model) compare() {
	m.t.Helper()
	want := m.truth()
	same := func(a, b []string) bool { return slices.Equal(a, b) }
	var found map[string][]string
	var foreign []string
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if found, foreign = m.found(); maps.EqualFunc(want, found, same) && len(foreign) == 0 {
			break
		}
		if time.Now().After(end) {
			for key := range want {
				if !same(want[key], found[key]) {
					m.t.Errorf("%s: %v, want %v", key, found[key], want[key])
				}
			}
			for key := range found {
				if want[key] == nil {
					m.t.Errorf("left: %s %v", key, found[key])
				}
			}
			m.t.Fatalf("foreign: %v", foreign)
		}
	}
	var counts struct{ Connections, UIDs, Rooms, Nodes int }
	users, rooms := map[string]bool{}, map[string][]int64{}
	for _, c := range m.open {
		users[c.uid] = true
		for room := range c.rooms {
			rooms[room] = append(rooms[room], c.fd)
		}
	}
	for _, i := range []int{0, 1, 2} { // every node returns the same
		asking := m.open[slices.IndexFunc(m.open, func(c *modelled) bool { return c.node == i })]
		until(m.t, "all nodes to count", func() bool {
			return asking.call("hall.counts", nil, &counts) == nil && counts.Nodes == 3
		})
		if counts.Connections != len(m.open) || counts.UIDs != len(users) || counts.Rooms != len(rooms) {
			m.t.Errorf("node %d counts %+v, there are %d connections, %d users, %d rooms", i, counts, len(m.open), len(users), len(rooms))
		}
		for room, fds := range rooms {
			var got []int64
			asking.must(m.t, "hall.members", map[string]any{"room": room, "limit": 1000}, &got)
			if slices.Sort(fds); !slices.Equal(got, fds) {
				m.t.Errorf("node %d: members of %s %v, want %v", i, room, got, fds)
			}
		}
	}
	until(m.t, "all ends to be told", func() bool {
		times, _ := m.closeCalls()
		return !slices.ContainsFunc(m.ended, func(c *modelled) bool { return times[c.fd] == 0 && !c.killed })
	})
	times, _ := m.closeCalls()
	odd := 0
	for _, c := range m.ended {
		switch {
		case times[c.fd] == 1:
		case c.killed && times[c.fd] < 3:
			odd++
		default:
			m.t.Errorf("the end of %d of node %d was told %d times", c.fd, c.node, times[c.fd])
		}
	}
	for _, c := range m.open {
		if times[c.fd] != 0 {
			m.t.Errorf("the end of %d was told, but it lives", c.fd)
		}
	}
	m.t.Logf("%d connections live, %d have ended; %d of them at the moment their process was killed, not told of once", len(m.open), len(m.ended), odd)
}
