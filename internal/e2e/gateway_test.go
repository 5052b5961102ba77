//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"wsframe/framework/gateway"
	"wsframe/framework/manager"
	"wsframe/internal/testserver"
)

// estate is a server with the gateway of PHP back ends.
type estate struct {
	*server
	gateway  string // host:port of PHP's own WebSocket port
	register string
	inner    string
}

const greeting = `{"type":"init","client_id":"{client_id}"}`

// estateOf starts a server with a gateway.
func estateOf(t *testing.T, env ...string) *estate {
	t.Helper()
	ports := [3]int{testserver.FreePort(t), testserver.FreePort(t), testserver.FreePort(t)}
	e := &estate{
		gateway: fmt.Sprint("127.0.0.1:", ports[0]), register: fmt.Sprint("127.0.0.1:", ports[1]), inner: fmt.Sprint("127.0.0.1:", ports[2]),
	}
	e.server = start(t, append([]string{
		"WSFRAME_APP_GATEWAY_ENABLED=true", fmt.Sprint("WSFRAME_APP_GATEWAY_PORT=", ports[0]), fmt.Sprint("WSFRAME_APP_GATEWAY_REGISTER_PORT=", ports[1]),
		fmt.Sprint("WSFRAME_APP_GATEWAY_START_PORT=", ports[2]), "WSFRAME_APP_GATEWAY_GREETING=" + greeting, "WSFRAME_APP_GATEWAY_WORKERS=false",
	}, env...)...)
	return e
}

// phpPage is a WebSocket client of PHP's own port.
type phpPage struct {
	*websocket.Conn
	t  *testing.T
	id string
}

func (e *estate) page() *phpPage {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	c, _, err := websocket.Dial(ctx, "ws://"+e.gateway+"/?room=7", nil)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { _ = c.CloseNow() })
	p := &phpPage{Conn: c, t: e.t.(*testing.T)}
	var hello struct {
		Type     string
		ClientID string `json:"client_id"`
	}
	if err := json.Unmarshal([]byte(p.next()), &hello); err != nil || hello.Type != "init" || len(hello.ClientID) != 20 {
		e.t.Fatal(hello, err)
	}
	p.id = hello.ClientID
	return p
}

// next returns the next message, or the close code.
func (p *phpPage) next() string {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	_, b, err := p.Read(ctx)
	if code := websocket.CloseStatus(err); code >= 0 {
		return fmt.Sprint("close ", int(code))
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return string(b)
}

func (p *phpPage) want(list ...string) {
	p.t.Helper()
	for _, want := range list {
		if got := p.next(); got != want {
			p.t.Errorf("got %q, want %q", got, want)
		}
	}
}

// php is a running back end.
type php struct {
	t   *testing.T
	in  io.WriteCloser
	out *bufio.Scanner
}

// backend starts a PHP client: "once" connects for each command, "persistent" keeps a connection.
func (e *estate) backend(secret, mode string) *php {
	e.t.Helper()
	cmd := exec.Command("php", "testdata/gateway.php", e.register, secret, mode)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		e.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		e.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	p := &php{e.t.(*testing.T), in, bufio.NewScanner(out)}
	p.out.Buffer(nil, 1<<20)
	return p
}

// command is a line for the PHP client.
type command struct {
	Cmd  int    `json:"cmd"`
	ID   string `json:"id,omitempty"`
	Ext  string `json:"ext,omitempty"`
	Body string `json:"body,omitempty"`
	Flag int    `json:"flag"`
	Asks bool   `json:"asks,omitempty"`
}

func (p *php) do(c command) {
	p.t.Helper()
	b, err := json.Marshal(c)
	if err == nil {
		_, err = p.in.Write(append(b, '\n'))
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

// tell sends a command with a message.
func (p *php) tell(cmd int, id, ext, body string) {
	p.do(command{Cmd: cmd, ID: id, Ext: ext, Body: body, Flag: 1})
}

// ask returns what PHP reads from the answer of the only gateway.
func (p *php) ask(cmd int, id, ext string) string {
	p.t.Helper()
	p.do(command{Cmd: cmd, ID: id, Ext: ext, Flag: 1, Asks: true})
	if !p.out.Scan() {
		p.t.Fatal("PHP has ended", p.out.Err())
	}
	return strings.TrimSuffix(strings.TrimPrefix(p.out.Text(), "["), "]")
}

func (p *php) answers(cmd int, id, ext, want string) {
	p.t.Helper()
	if got := p.ask(cmd, id, ext); got != want {
		p.t.Errorf("command %d %s: %s, want %s", cmd, ext, got, want)
	}
}

// PHP programs reach pages by the commands of each family, with and without a secret, on connections
// for one command and on persistent ones.
func TestGatewayCommands(t *testing.T) {
	for _, tc := range []struct{ secret, mode string }{{"", "once"}, {"geheim!", "persistent"}} {
		t.Run(tc.mode, func(t *testing.T) {
			e := estateOf(t, "WSFRAME_APP_GATEWAY_SECRET_KEY="+tc.secret)
			a, b := e.page(), e.page()
			b2 := e.backend(tc.secret, tc.mode)
			n := func(p *phpPage) string { return connectionID(t, p) }
			b2.answers(11, a.id, "", "1")
			b2.answers(11, "7f0000010b54ffffffff"[:4]+a.id[4:12]+"ffffffff", "", "0")
			b2.answers(24, "", "", "2")

			b2.tell(12, a.id, "王 小明", "") // uids and groups of any bytes
			b2.tell(20, a.id, "room 7", "")
			b2.tell(20, b.id, "room 7", "")
			b2.tell(204, a.id, `a:1:{s:4:"name";s:3:"Bob";}`, "")
			b2.tell(9, a.id, `a:1:{s:1:"x";i:1;}`, "")
			b2.answers(15, "", "王 小明", "["+n(a)+"]")
			b2.answers(16, "", `["王 小明","x"]`, `{"王 小明":[`+n(a)+`],"x":[]}`)
			b2.answers(24, "", "room 7", "2")
			b2.answers(28, "", `["room 7","none"]`, `{"room 7":2,"none":0}`)
			b2.answers(26, "", "", `["room 7"]`)
			session := `a:2:{s:4:\"name\";s:3:\"Bob\";s:1:\"x\";i:1;}`
			b2.answers(203, a.id, "", `{"name":"Bob","x":1}`)
			b2.answers(10, "", "", fmt.Sprintf(`{"%s":"%s","%s":""}`, n(a), session, n(b)))
			b2.answers(23, "", "room 7", fmt.Sprintf(`{"%s":"%s","%s":""}`, n(a), session, n(b)))
			b2.answers(25, "", `{"fields":["uid","groups"],"where":{"connection_id":{"`+n(a)+`":`+n(a)+`}}}`,
				`{"`+n(a)+`":{"uid":"王 小明","groups":{"room 7":"room 7"}}}`)

			b2.tell(5, a.id, "", "one")
			b2.tell(14, "", `["王 小明","王 小明"]`, "uid")
			b2.tell(22, "", `{"group":["room 7"],"exclude":null}`, "group")
			b2.tell(22, "", `{"group":["room 7"],"exclude":{"`+n(b)+`":`+n(b)+`}}`, "not b")
			b2.tell(6, "", "", "all")
			a.want("one", "uid", "uid", "group", "not b", "all")
			b.want("group", "all")
			b2.do(command{Cmd: 5, ID: a.id, Body: `a:1:{s:4:"text";s:6:"你好";}`})
			b2.do(command{Cmd: 5, ID: a.id, Body: "\x81\x02ok", Flag: 3})
			b2.tell(21, b.id, "room 7", "")
			b2.tell(7, a.id, "", "bye")
			a.want(`{"text":"你好"}`)
			if got := a.next(); got != "bye" { // JSON cannot carry the byte 0x81, so the frame is refused
				t.Error(got)
			}
			a.want("close 1000")
			b2.answers(11, a.id, "", "0")
			b2.answers(10, "", "", fmt.Sprintf(`{"%s":""}`, n(b)))
			b2.tell(27, "", "room 7", "")
			b2.tell(8, b.id, "", "")
			b2.answers(24, "", "", "0")
		})
	}
}

// What one PHP connection sends to a page arrives in its order, and a page that joins a group gets
// nothing from before.
func TestGatewayOrder(t *testing.T) {
	e := estateOf(t)
	a, b := e.page(), e.page()
	p := e.backend("", "persistent")
	p.tell(20, a.id, "g", "")
	var want []string
	say := func(cmd int, id, ext string) {
		text := fmt.Sprint(len(want))
		want = append(want, text)
		p.tell(cmd, id, ext, text)
	}
	const group = `{"group":["g"],"exclude":null}`
	for range 100 {
		for range 5 {
			say(22, "", group)
		}
		say(5, a.id, "")
		say(22, "", group)
		say(6, "", "")
	}
	p.tell(22, "", group, "before")
	p.tell(20, b.id, "g", "")
	p.tell(22, "", group, "after")
	p.tell(7, a.id, "", "bye")
	a.want(append(want, "before", "after", "bye", "close 1000")...)
	for i := range 100 {
		b.want(fmt.Sprint(8*i + 7))
	}
	b.want("after")
}

// Reloads lose nothing that PHP sends, on lasting connections and on those for one command, and
// keep the order of each; clients keep uid, groups and session.
func TestGatewayReload(t *testing.T) {
	e := estateOf(t)
	a := e.page()
	a.SetReadLimit(1 << 20)
	lasting, short := e.backend("", "persistent"), e.backend("", "once")
	lasting.tell(12, a.id, "u", "")
	lasting.tell(20, a.id, "g", "")
	lasting.tell(204, a.id, `a:1:{s:1:"x";i:1;}`, "")
	lasting.answers(203, a.id, "", `{"x":1}`)
	const group = `{"group":["g"],"exclude":null}`
	done, sent := make(chan struct{}), make(chan struct{}, 2)
	for name, p := range map[string]*php{"lasting": lasting, "short": short} {
		go func() {
			defer func() { sent <- struct{}{} }()
			for i := 0; ; i++ {
				select {
				case <-done:
					p.tell(22, "", group, name+" end")
					return
				default:
				}
				text := fmt.Sprint(name, " ", i)
				if i%2 == 0 {
					p.tell(22, "", group, text)
				} else {
					p.tell(14, "", `["u"]`, text)
				}
				if i%10 == 0 { // PHP is not ahead by more
					p.answers(11, a.id, "", "1")
				}
			}
		}()
	}
	go func() {
		defer close(done)
		for range 3 {
			out, errs, code := e.run("-s", "reload")
			if code != 0 || !strings.Contains(out, "1 connections moved") {
				t.Error(out, errs)
			}
		}
	}()
	next := map[string]int{}
	for ends := 0; ends < 2; {
		name, n, _ := strings.Cut(a.next(), " ")
		if n == "end" {
			ends++
			continue
		}
		if n != fmt.Sprint(next[name]) {
			t.Fatalf("%s: %s comes after %d", name, n, next[name]-1)
		}
		next[name]++
	}
	t.Log(next)
	<-sent
	<-sent
	lasting.answers(203, a.id, "", `{"x":1}`)
	lasting.answers(25, "", `{"fields":["uid","groups"],"where":{"uid":["u"]}}`, `{"`+connectionID(t, a)+`":{"uid":"u","groups":{"g":"g"}}}`)
	if s := e.status(); s.Gateway == nil || s.Gateway.Address != e.inner || s.Gateway.Peers == 0 {
		t.Errorf("%+v", s.Gateway)
	}
}

// rawWorker is a BusinessWorker that only reads its events.
type rawWorker struct {
	net.Conn
	t *testing.T
}

func (e *estate) rawWorker() *rawWorker {
	e.t.Helper()
	conn, err := net.Dial("tcp", e.inner)
	if err == nil {
		_, err = conn.Write(gateway.AppendFrame(nil, gateway.Frame{Command: 200, Flag: 1, Body: []byte(`{"worker_key":"w:0","secret_key":""}`)}))
	}
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { _ = conn.Close() })
	return &rawWorker{conn, e.t.(*testing.T)}
}

// next returns the next event: number, connection_id, session, message.
func (w *rawWorker) next() string {
	w.t.Helper()
	head := make([]byte, 28)
	err := w.SetReadDeadline(time.Now().Add(wait))
	if err == nil {
		_, err = io.ReadFull(w, head)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	rest := make([]byte, binary.BigEndian.Uint32(head)-28)
	if _, err := io.ReadFull(w, rest); err != nil {
		w.t.Fatal(err)
	}
	ext := binary.BigEndian.Uint32(head[24:])
	if head[4] == 205 {
		rest = rest[:ext]
	}
	return fmt.Sprintf("%d %d %s %s", head[4], binary.BigEndian.Uint32(head[17:]), rest[:ext], rest[ext:])
}

// After the death of the process that has the clients, a worker is told of each one's end, once,
// with its session.
func TestGatewayDeath(t *testing.T) {
	e := estateOf(t, "WSFRAME_APP_GATEWAY_WORKERS=true")
	w := e.rawWorker()
	a := e.page()
	id := connectionID(t, a)
	want := func(list ...string) {
		t.Helper()
		for _, want := range list {
			if got := w.next(); got != want {
				t.Fatalf("%q, wanted %q", got, want)
			}
		}
	}
	want("1 "+id+"  ", "205 "+id+"  ")
	if err := a.Write(t.Context(), websocket.MessageText, []byte("hi")); err != nil {
		t.Fatal(err)
	}
	want("3 " + id + "  hi")
	p := e.backend("", "once")
	p.tell(204, a.id, "a:0:{}", "")
	p.answers(203, a.id, "", "[]")
	if out := e.ok("-s", "reload"); !strings.Contains(out, "1 connections moved") {
		t.Error(out)
	}
	if err := a.Write(t.Context(), websocket.MessageText, []byte("after")); err != nil {
		t.Fatal(err)
	}
	want("3 " + id + " a:0:{} after")
	p.tell(204, a.id, "a:1:{i:0;i:1;}", "")
	p.answers(203, a.id, "", "[1]")
	until(t, "the store has the session", func() bool { return e.status().StorePending == 0 })
	if err := syscall.Kill(e.status().WorkerPID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	until(t, "the next process serves", func() bool {
		conn, err := net.Dial("tcp", e.inner)
		if err != nil {
			return false
		}
		_ = conn.Close()
		return e.status().WorkerState == manager.WorkerServes
	})
	w = e.rawWorker()
	want("4 " + id + " a:1:{i:0;i:1;} ")
	b := e.page()
	want("1 "+connectionID(t, b)+"  ", "205 "+connectionID(t, b)+"  ") // and nothing more of a
	if err := e.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	want("4 " + connectionID(t, b) + "  ") // a stop tells of everyone, too
}

// Connections of the outside port are clients of PHP, too: pages ask for their client_id.
func TestGatewayReachesPagesOfControllers(t *testing.T) {
	e := estateOf(t)
	c := dial(t, e.outside, e.token("wechatUser", "7"))
	c.send(`{"method":"sys.clientId"}`)
	var reply struct {
		Param struct {
			ClientID string `json:"client_id"`
		}
	}
	if err := json.Unmarshal([]byte(c.want("sysClientId")), &reply); err != nil {
		t.Fatal(err)
	}
	p := e.backend("", "persistent")
	p.tell(5, reply.Param.ClientID, "", "hello")
	c.want("hello")
	p.tell(14, "", `["7"]`, "by the token's id")
	c.want("by the token's id")
	p.tell(7, reply.Param.ClientID, "", "bye")
	c.want("bye")
	c.wantClose(1000)
}

// The Register of each node lists all living nodes, and tells of a change. A node with the address of
// another one does not start.
func TestGatewayNodes(t *testing.T) {
	store := oneRedis(t)
	env := []string{
		"WSFRAME_CACHE_MASTER_DRIVER=redis", "WSFRAME_CACHE_MASTER_ADDRS=" + store.addrs()[0], "WSFRAME_CACHE_MASTER_PASSWORD=" + store.password,
		"WSFRAME_APP_AUTH_KEY=" + hallKey,
	}
	first := estateOf(t, env...)
	conn, err := net.Dial("tcp", first.register)
	if err == nil {
		_, err = conn.Write([]byte(`{"event":"worker_connect","secret_key":""}` + "\n"))
	}
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	lists := bufio.NewScanner(conn)
	want := func(addresses ...string) {
		t.Helper()
		if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
			t.Fatal(err)
		}
		lists.Scan()
		if got := lists.Text(); got != `{"event":"broadcast_addresses","addresses":["`+strings.Join(addresses, `","`)+`"]}` {
			t.Fatalf("%q, wanted %q", got, addresses)
		}
	}
	want(first.inner)
	second := estateOf(t, env...)
	want(first.inner, second.inner)

	a, b := first.page(), second.page()
	p := second.backend("", "once")
	p.tell(6, "", "", "to all nodes")
	a.want("to all nodes")
	b.want("to all nodes")
	p.tell(5, a.id, "", "by its client_id")
	a.want("by its client_id")

	_, port, _ := net.SplitHostPort(first.inner)
	double := prepare(t, append(env, "WSFRAME_APP_GATEWAY_ENABLED=true", "WSFRAME_APP_GATEWAY_PORT=-1", "WSFRAME_APP_GATEWAY_REGISTER_PORT=0",
		"WSFRAME_APP_GATEWAY_INNER_HOST=127.0.0.2", "WSFRAME_APP_GATEWAY_START_PORT="+port)...)
	double.launch(console)
	<-double.ended
	if out := double.out.String(); double.exit == nil || !strings.Contains(out, "has the address "+first.inner+" already") {
		t.Errorf("%v\n%s", double.exit, out)
	}
	if err := second.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	want(first.inner)
}

// checkconfig refuses settings with which PHP could not work, or anyone could.
func TestGatewaySettings(t *testing.T) {
	for setting, says := range map[string]string{
		"LAN_IP=localhost": "lan_ip", "START_PORT=0": "start_port", `SECRET_KEY=a"b`: "secret_key", "REGISTER_HOST=0.0.0.0": "register_host",
		"INNER_HOST=0.0.0.0": "inner_host", "PORT=2900": "already", "NOTHING=1": "no such setting",
	} {
		s := prepare(t, "WSFRAME_APP_GATEWAY_ENABLED=true", "WSFRAME_APP_GATEWAY_"+setting)
		if out, errs, code := s.run("-s", "checkconfig"); code == 0 || !strings.Contains(errs, says) {
			t.Errorf("%s: exit code %d, %s%s", setting, code, out, errs)
		}
	}
}

func connectionID(t *testing.T, p *phpPage) string {
	t.Helper()
	var id uint32
	if _, err := fmt.Sscanf(p.id[12:], "%x", &id); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(id)
}
