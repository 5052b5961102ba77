package console

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/manager"
)

// server is a running server with fixed figures.
type server struct{ manager.Backend }

func (server) Status(context.Context) (manager.Status, error) {
	return manager.Status{
		Version: "1.2.3", MasterVersion: "1.2.2", Connections: 3, UIDs: 2, Rooms: 1, MasterPID: 10, WorkerPID: 11, WorkerRestarts: 4,
		MemoryBytes: 64 << 20, UptimeSeconds: 90, Traffic: manager.Traffic{MessagesIn: 5, MessagesOut: 6, BytesIn: 7, BytesOut: 8, ClosedSlow: 9, ClosedIdle: 12, Dropped: 13},
		Goroutines: 14, Store: "embedded", StorePending: 15, WorkerState: manager.WorkerServes,
		Nodes: []manager.NodeInfo{{ID: "a", State: manager.NodeAlive}, {ID: "b\n", State: manager.NodeDead}}, NodesError: "no answer",
	}, nil
}

func (server) Nodes(context.Context) ([]manager.NodeInfo, error) {
	return []manager.NodeInfo{
		{ID: "a", Self: true, State: manager.NodeAlive, Address: "10.0.0.1:20003", Version: "1.2.3", WorkerPID: 11, Connections: 3, UIDs: 2, Rooms: 1, RefreshedSeconds: -1},
		{ID: "b", State: manager.NodeDead, Host: "host\tb", WorkerPID: 12, RefreshedSeconds: 20},
	}, nil
}

func (server) Connections(_ context.Context, offset, limit int) ([]manager.ConnInfo, error) {
	if offset > 0 || limit != 1000 {
		return nil, nil
	}
	return []manager.ConnInfo{{FD: 7, ID: "u", Type: "wall", Code: "A", Remote: "1.2.3.4:5", Since: 0, IdleSeconds: 6, MessagesIn: 1, MessagesOut: 2, OutboxBytes: 3, Rooms: 4}}, nil
}

func (server) Say(context.Context, string) (int, error) { return 3, nil }

func (server) Reload(_ context.Context, check bool) (manager.ReloadReport, error) {
	return manager.ReloadReport{
		Moved: 3, Drained: 1, Pause: 40 * time.Millisecond, OldPID: 11, NewPID: 12,
		Added: []string{"a.b"}, Removed: []string{"c.d"}, Changed: []string{"e.f"}, Notes: []string{"a note"},
	}, nil
}

// The commands print a running server's figures in this form, which people and scripts read.
func TestLists(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := manager.NewServer(manager.Config{Backend: server{}, Log: zap.NewNop()})
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	defer func() {
		s.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"status": {[]string{"-s", "status"}, `worker            serves
connections       3
users             2
rooms             1
master pid        10
worker pid        11
worker restarts   4
memory            64 MB
uptime            1m30s
messages in       5
messages out      6
bytes in          7
bytes out         8
closed as slow    9
closed as idle    12
frames dropped    13
goroutines        14
store             embedded (15 pending)
nodes             2 (a, b\n dead); others are not known: no answer
version           1.2.3
master's version  1.2.2
`},
		"nodes": {[]string{"-s", "nodes"}, `NODE  ADDRESS         STATE  REFRESHED  CONNECTIONS  USERS  ROOMS  SINCE  WORKER  VERSION
a     10.0.0.1:20003  alive  now        3            2      1      -      11      1.2.3
b     host\tb         dead   20 s ago   0            0      0      -      12      -
`},
		"connections": {[]string{"-s", "connections"}, `FD  ID  TYPE  CODE  REMOTE     SINCE                IDLE  IN  OUT  OUTBOX  ROOMS
7   u   wall  A     1.2.3.4:5  ` + time.Unix(0, 0).Format(time.DateTime) + `  6s    1   2    3       4
`},
		"connections as JSON": {[]string{"-s", "connections", "-json"}, `[
  {
    "fd": 7,
    "id": "u",
    "type": "wall",
    "code": "A",
    "remote": "1.2.3.4:5",
    "since": 0,
    "idle_seconds": 6,
    "messages_in": 1,
    "messages_out": 2,
    "outbox_bytes": 3,
    "rooms": 4
  }
]
`},
		"say": {[]string{"-s", "say", "-i", "hi"}, "said to 3 clients\n"},
		"reload": {[]string{"-s", "reload"}, `note: a note
new route: a.b
route gone: c.d
route of another controller: e.f
3 connections moved, 1 drained, pause 40 ms, worker 11 → 12
`},
		"check": {[]string{"-s", "reload", "-check"}, `note: a note
new route: a.b
route gone: c.d
route of another controller: e.f
the new worker would serve; nothing was changed
`},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := call(t, Program{}, nil, append(tc.args, "-p", port)...)
			lines := strings.Split(stdout, "\n")
			for i := range lines {
				lines[i] = strings.TrimRight(lines[i], " ") // of the last column
			}
			if got := strings.Join(lines, "\n"); code != 0 || stderr != "" || got != tc.want {
				t.Errorf("exit code %d, %s\n%s", code, stderr, got)
			}
		})
	}
}
