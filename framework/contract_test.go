package framework_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"wsframe/framework"
	"wsframe/framework/frameworktest"
	"wsframe/library/config"
)

// TestMain runs many tests at once: those that are parallel wait for seconds, and compute little.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("database/sql.(*DB).connectionOpener"))
}

// probe is a controller that shows what an action sees and does what can go wrong.
type probe struct {
	mu     sync.Mutex
	closed []framework.Closed
	hooks  []string
}

func (p *probe) See(c *framework.Ctx) (*framework.Reply, error) {
	return framework.OK("see", "", json.RawMessage(c.Body())), nil
}

type typed struct {
	FD   int64              `json:"fd"`
	Code string             `json:"code"`
	Auth framework.Identity `json:"auth"`
	N    framework.Int      `json:"n" validate:"max=10"`
	S    framework.Str      `json:"s"`
	B    framework.Bool     `json:"b"`
}

func (p *probe) Typed(_ *framework.Ctx, in *typed) (*framework.Reply, error) {
	return framework.OK("typed", "", in), nil
}
func (p *probe) Leave(c *framework.Ctx) (*framework.Reply, error) {
	if err := c.Close(999, ""); err == nil {
		return nil, errors.New("999 is no close code")
	}
	return framework.OK("left", ""), errors.Join(c.Close(4321, "bye"), c.Close(4322, "too late"))
}
func (p *probe) Nothing(*framework.Ctx) (*framework.Reply, error) { return nil, nil }
func (p *probe) Panics(*framework.Ctx) (*framework.Reply, error)  { panic("secret cause") }
func (p *probe) Fails(*framework.Ctx) (*framework.Reply, error) {
	return nil, errors.New("secret cause")
}
func (p *probe) Cannot(*framework.Ctx) (*framework.Reply, error) {
	return framework.OK("x", "", func() {}), nil
}
func (p *probe) Listen(c *framework.Ctx) (*framework.Reply, error) {
	if err := c.AddCloseListener("Probe"); err != nil {
		return nil, err
	}
	return framework.OK("listening", ""), c.AddCloseKey("SOME_SET")
}
func (p *probe) Deaf(c *framework.Ctx) (*framework.Reply, error) {
	c.RemoveCloseListener("index.probe")
	c.RemoveCloseKey("SOME_SET")
	return framework.OK("deaf", ""), nil
}
func (p *probe) OnMessage(c *framework.Ctx) (*framework.Reply, error) {
	return framework.OK("onMessage", c.Requested), nil
}
func (p *probe) OnClose(c *framework.Closed) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = append(p.closed, *c)
	if c.Auth.ID == "panics" {
		panic("in a close listener")
	}
}
func (p *probe) OnReload(context.Context) error   { return p.hook("reload") }
func (p *probe) OnShutdown(context.Context) error { return p.hook("shutdown") }
func (p *probe) hook(name string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hooks = append(p.hooks, name)
	return nil
}

type plain struct{}

func (plain) Index(*framework.Ctx) (*framework.Reply, error) { return framework.OK("plain", ""), nil }

// front is the controller of requests without a method.
type front struct{}

func (front) Index(*framework.Ctx) (*framework.Reply, error) {
	return framework.OK("success", "执行完成"), nil
}
func (front) Who(c *framework.Ctx) (*framework.Reply, error) {
	return framework.OK("who", c.Auth.ID), nil
}
func (front) Enter(c *framework.Ctx) (*framework.Reply, error) {
	return framework.OK("entered", ""), c.Join("FRONT_ROOM")
}

func start(t *testing.T, p *probe, options ...frameworktest.Option) *frameworktest.Harness {
	return frameworktest.New(t, func(d framework.Deps) ([]framework.Controller, error) {
		return []framework.Controller{framework.Mount("index.index", &front{}), framework.Mount("probe", p), framework.Mount("plain", &plain{})}, nil
	}, options...)
}

var someone = framework.Identity{ID: "7", Type: framework.TypeWechatUser, Code: "A1", Nickname: "小明"}

// number is a connection's: it follows the time, and the tests write it as 1.
var number = regexp.MustCompile(`\b[0-9]{15}\b`)

// contract §3, the table of what comes in and goes out, frame by frame.
func TestFrames(t *testing.T) {
	h := start(t, &probe{})
	c := h.Dial(someone)
	for _, tc := range []struct{ name, in, out string }{
		{"heartbeat", `2`, `3`},
		{"default", `{}`, `{"status":200,"event":"success","info":"执行完成"}`},
		{"default, as PHP sends nothing", `{"method":null,"id":1}`, `{"status":200,"event":"success","info":"执行完成","id":1}`},
		{"one part is the action", `{"method":"index"}`, `{"status":200,"event":"success","info":"执行完成"}`},
		{"two parts", `{"method":"index.index"}`, `{"status":200,"event":"success","info":"执行完成"}`},
		{"three parts, any case, dots around", `{"method":"..Index.INDEX.index."}`, `{"status":200,"event":"success","info":"执行完成"}`},
		{"empty parts are index", `{"method":"index..index"}`, `{"status":200,"event":"success","info":"执行完成"}`},
		{"id echo, number", `{"id":7}`, `{"status":200,"event":"success","info":"执行完成","id":7}`},
		{"id echo, string", `{"id":"a\"b"}`, `{"status":200,"event":"success","info":"执行完成","id":"a\"b"}`},
		{"controller unknown", `{"method":"live.nobody.x"}`, `{"status":404,"event":"controllerNotFound","info":"您请求的控制器不存在"}`},
		{"four parts", `{"method":"a.b.c.d","id":1}`, `{"status":404,"event":"controllerNotFound","info":"您请求的控制器不存在","id":1}`},
		{"action unknown", `{"method":"plain.other"}`, `{"status":405,"event":"methodNotFound","info":"您请求的method方法不存在"}`},
		{"action unknown, onMessage", `{"method":"probe.other"}`, `{"status":200,"event":"onMessage","info":"probe.other"}`},
		{"a hook is no action", `{"method":"probe.OnReload"}`, `{"status":200,"event":"onMessage","info":"probe.OnReload"}`},
		{"panic", `{"method":"probe.panics","id":2}`, `{"status":500,"event":"controllerError","info":"程序错误","id":2}`},
		{"error", `{"method":"probe.fails"}`, `{"status":500,"event":"controllerError","info":"程序错误"}`},
		{"reply cannot be encoded", `{"method":"probe.cannot"}`, `{"status":500,"event":"controllerError","info":"程序错误"}`},
		{"reserved keys", `{"method":"probe.see","fd":1,"FD":2,"\u0061uth":3,"cOdE":4,"x":[{"fd":5}]}`,
			`{"status":200,"event":"see","info":"","param":{"fd":1,"auth":{"id":"7","type":"wechatUser","code":"A1","nickname":"小明"},"code":"A1","method":"probe.see","x":[{"fd":5}]}}`},
		{"typed, as PHP sends it", `{"method":"probe.typed","n":"7","s":12,"b":"1","fd":99}`,
			`{"status":200,"event":"typed","info":"","param":{"fd":1,"code":"A1","auth":{"id":"7","type":"wechatUser","code":"A1","nickname":"小明","ctime":9},"n":7,"s":"12","b":true}}`},
		{"typed, wrong", `{"method":"probe.typed","n":11}`, `{"status":400,"event":"paramError","info":"参数错误","param":[{"field":"n","rule":"max=10"}]}`},
		{"typed, wrong kind", `{"method":"probe.typed","n":[]}`, `{"status":400,"event":"paramError","info":"参数错误","param":[{"field":"n","rule":"type int64"}]}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c.Send(tc.in)
			got := number.ReplaceAllString(c.Receive(), "1")
			if i := strings.Index(got, `"ctime":`); i >= 0 {
				got = got[:i+8] + "9" + strings.TrimLeft(got[i+8:], "0123456789")
			}
			if got != tc.out {
				t.Fatalf("got  %s\nwant %s", got, tc.out)
			}
			if strings.Contains(got, "secret") {
				t.Fatal("the cause was told")
			}
		})
	}
	c.Send(`{"method":"probe.nothing"}`)
	c.WantNothing()
	c.Call("probe.leave", nil).Want(200, "left") // the reply comes before the end
	c.WantClose(4321)
}

// What is no JSON object closes the connection (contract §3, promise C2); the next client is served.
func TestBadJSON(t *testing.T) {
	h := start(t, &probe{})
	for in, code := range map[string]int{
		`x`: 1007, ``: 1007, `[]`: 1007, `"2"`: 1007, `22`: 1007, `{"a":}`: 1007, `{} {}`: 1007, `null`: 1007,
		strings.Repeat(`{"a":`, 40) + `1` + strings.Repeat(`}`, 40): 1008,
		`{"x":` + strings.Repeat(`[`, 60_000):                       1008,
		`{"method":"a","method":"b"}`:                               1008,
		`{"method":"a","\u006dethod":"b"}`:                          1008,
		`{"method":1}`:                                              1008,
		`{"x":"` + strings.Repeat("y", 65_536) + `"}`:               1009,
	} {
		c := h.Dial(someone)
		c.Send(in)
		c.WantClose(code)
	}
	h.Dial(someone).Call("index", nil).Want(200, "success")
}

type loud struct{}

func (loud) Act(c *framework.Ctx) (*framework.Reply, error) { return loud{}.OnMessage(c) }
func (loud) OnMessage(c *framework.Ctx) (*framework.Reply, error) {
	c.Log().Info("loud")
	return nil, errors.New("fails")
}

// The log names the route, in no words of the client's (promises: security rule 10).
func TestLogNamesTheRoute(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	h := frameworktest.New(t, func(framework.Deps) ([]framework.Controller, error) {
		return []framework.Controller{framework.Mount("index.loud", &loud{})}, nil
	}, func(o *framework.Options) { o.Deps.Log = zap.New(core) })
	c := h.Dial(someone)
	for method, want := range map[string]string{
		"index.loud.act": "index.loud.act", "LOUD.Act": "index.loud.act", "..Index.LOUD.act.": "index.loud.act",
		"loud.secret": "index.loud.onMessage", "loud." + strings.Repeat("x", 60_000): "index.loud.onMessage",
	} {
		logs.TakeAll()
		c.Call(method, nil).Want(500, "controllerError")
		lines := logs.FilterField(zap.String("method", want)).All()
		if len(lines) != 2 || len(lines) != logs.Len() {
			t.Errorf("%.40s: logged %.400v", method, logs.All())
		}
	}
}

// What comes as binary is handled as if it were text, if it could be: replies are text, and what is echoed there must be UTF-8.
func TestBinary(t *testing.T) {
	h := start(t, &probe{})
	for in, want := range map[string]string{
		`2`:                     `3`,
		`{"id":"é"}`:            `{"status":200,"event":"success","info":"执行完成","id":"é"}`,
		"{\"id\":\"\xff\xfe\"}": "",
		"{\"say\":\"\xc3\"}":    "",
	} {
		id := someone
		id.CTime = time.Now().Unix()
		token, err := h.Tokens.Issue(id)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), frameworktest.Timeout)
		defer cancel()
		ws, _, err := websocket.Dial(ctx, h.URL+"?auth="+token, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer ws.CloseNow()
		if err := ws.Write(ctx, websocket.MessageBinary, []byte(in)); err != nil {
			t.Fatal(err)
		}
		kind, got, err := ws.Read(ctx)
		var ended websocket.CloseError
		switch {
		case want == "" && (!errors.As(err, &ended) || ended.Code != 1007 || ended.Reason != "not valid UTF-8"):
			t.Errorf("%q: %s %v, want the close code 1007", in, got, err)
		case want != "" && (err != nil || kind != websocket.MessageText || string(got) != want):
			t.Errorf("%q: %v %s %v", in, kind, got, err)
		}
	}
}

// A method is as long as its frame may be.
func TestLongMethods(t *testing.T) {
	h := start(t, &probe{}, frameworktest.Quiet())
	c := h.Dial(someone)
	long := strings.Repeat("x", 60_000)
	for _, tc := range []struct {
		method string
		status int
		event  string
	}{
		{long, 405, "methodNotFound"},
		{"plain." + long, 405, "methodNotFound"},
		{long + ".index", 404, "controllerNotFound"},
		{"index." + long + ".index", 404, "controllerNotFound"},
		{strings.Repeat("x.", 30_000) + "x", 404, "controllerNotFound"},
		{strings.Repeat(".", 60_000), 200, "success"},
		{strings.Repeat(".", 30_000) + "index" + strings.Repeat(".", 30_000), 200, "success"},
	} {
		c.Call(tc.method, nil).Want(tc.status, tc.event)
	}
}

// contract §4: listeners' onClose first, then the close keys, then the bookkeeping; each once.
func TestClosing(t *testing.T) {
	p := &probe{}
	h := start(t, p)
	listening, deaf, panics := h.Dial(someone), h.Dial(someone), h.Dial(framework.Identity{ID: "panics", Type: "guest"})
	for _, c := range []*frameworktest.Client{listening, deaf, panics} {
		c.Call("probe.listen", nil).Want(200, "listening")
		c.Call("probe.listen", nil).Want(200, "listening") // twice is once
	}
	deaf.Call("probe.deaf", nil).Want(200, "deaf")
	var me struct{ FD int64 }
	listening.Call("probe.see", nil).Into(&me)
	h.Flush()
	ctx := t.Context()
	fd := fmt.Sprint(me.FD)
	h.Redis.SAdd(ctx, "SOME_SET", fd) // the application fills it
	if got := h.Redis.SMembers(ctx, "WEBSOCKET_FdController_"+fd).Val(); !slices.Equal(got, []string{"index.probe"}) {
		t.Fatalf("listeners in Redis: %v", got)
	}
	if got := h.Redis.SMembers(ctx, "WEBSOCKET_FdCloseSetKey_"+fd).Val(); !slices.Equal(got, []string{"SOME_SET"}) {
		t.Fatalf("close keys in Redis: %v", got)
	}
	// UIDTOFD points to the newer connection of the same user and survives the older one's close.
	if got := h.Redis.HGet(ctx, "WEBSOCKET_UIDTOFD", "7").Val(); got == fd || got == "" {
		t.Fatalf("UIDTOFD: %q", got)
	}
	listening.Close()
	panics.Vanish()
	h.Eventually("set cleaned", func() bool { return h.Redis.SCard(ctx, "SOME_SET").Val() == 0 && h.App.Hub().Len() == 1 })
	h.Flush()
	if got := h.Redis.HGet(ctx, "WEBSOCKET_UIDTOFD", "7").Val(); got == "" {
		t.Fatal("UIDTOFD of the newer connection is gone")
	}
	deaf.Close()
	h.Eventually("all gone", func() bool { return h.App.Hub().Len() == 0 })
	p.mu.Lock()
	defer p.mu.Unlock()
	ids := []string{}
	for _, c := range p.closed {
		ids = append(ids, fmt.Sprintf("%s %d", c.Auth.ID, c.Code))
	}
	slices.Sort(ids)
	if !slices.Equal(ids, []string{"7 1000", "panics 1006"}) {
		t.Fatalf("OnClose ran for %v", ids)
	}
}

// leaver is a close listener that looks what Redis still holds of the connection that it is told of.
type leaver struct {
	h    *frameworktest.Harness
	seen chan string
}

func (l *leaver) Enter(c *framework.Ctx) (*framework.Reply, error) {
	return framework.OK("entered", "", c.FD), errors.Join(c.AddCloseListener("leaver"), c.Join("ROOM"), c.AddCloseKey("SOME_SET"))
}

func (l *leaver) OnClose(c *framework.Closed) {
	r, fd := l.h.Redis, fmt.Sprint(c.FD)
	err := l.h.App.Node().Flush(c) // whatever was told to Redis before this
	l.seen <- fmt.Sprint(err, r.SIsMember(c, "ROOM", fd).Val(), r.SIsMember(c, "SOME_SET", fd).Val(), r.HExists(c, "WEBSOCKET_FDINFO", fd).Val(),
		r.HGet(c, "WEBSOCKET_UIDTOFD", c.Auth.ID).Val() == fd, r.SMembers(c, "WEBSOCKET_FdController_"+fd).Val(), r.SCard(c, "WEBSOCKET_FdCloseSetKey_"+fd).Val())
}

// contract §4: a listener's OnClose finds the connection in its sets and the bookkeeping whole; what follows is in the cluster's tests.
func TestListenersComeFirst(t *testing.T) {
	l := &leaver{seen: make(chan string, 1)}
	h := frameworktest.New(t, func(framework.Deps) ([]framework.Controller, error) {
		return []framework.Controller{framework.Mount("leaver", l)}, nil
	})
	l.h = h
	c := h.Dial(someone)
	var fd int64
	c.Call("leaver.enter", nil).Want(200, "entered").Into(&fd)
	if err := h.Redis.SAdd(t.Context(), "SOME_SET", fd).Err(); err != nil {
		t.Fatal(err)
	}
	h.Flush()
	c.Close()
	if got, want := <-l.seen, "<nil> true true true true [index.leaver] 2"; got != want {
		t.Fatalf("OnClose saw %s, want %s", got, want)
	}
	h.Eventually("all keys gone", func() bool {
		return slices.Equal(h.Redis.Keys(t.Context(), "*").Val(), []string{"WSFRAME_FD_NEXT"})
	})
}

// contract §4: only WeChat users are found by WEBSOCKET_UIDTOFD.
func TestUIDToFD(t *testing.T) {
	h := start(t, &probe{})
	for _, kind := range []string{framework.TypeWechatUser, framework.TypeWall, "guest"} {
		h.Dial(framework.Identity{ID: "a-" + kind, Type: kind, Code: "A1"}).Call("index", nil).Want(200, "success")
	}
	h.Flush()
	got := h.Redis.HGetAll(t.Context(), "WEBSOCKET_UIDTOFD").Val()
	if of := h.Redis.HGet(t.Context(), "WEBSOCKET_FDINFO", got["a-wechatUser"]).Val(); len(got) != 1 || !strings.Contains(of, "a-wechatUser") {
		t.Fatalf("UIDTOFD: %v", got)
	}
	if n := h.Redis.HLen(t.Context(), "WEBSOCKET_FDINFO").Val(); n != 3 {
		t.Fatalf("FDINFO has %d", n)
	}
}

func TestHooks(t *testing.T) {
	t.Parallel()
	p := &probe{}
	h := start(t, p)
	c := h.Dial(someone)
	c.Call("enter", nil).Want(200, "entered")
	if n := h.App.Say("维护 <now>"); n != 1 {
		t.Fatalf("said to %d", n)
	}
	c.WantPush("serverBroadcast").WantInfo("收到服务广播内容").WantParam(`"维护 <now>"`)
	if err := h.App.Reloading(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := h.App.Shutdown(t.Context(), 1001, "server is going away", 0); err != nil {
		t.Fatal(err)
	}
	c.WantClose(1001)
	if !slices.Equal(p.hooks, []string{"reload", "shutdown"}) {
		t.Fatalf("hooks: %v", p.hooks)
	}
	if keys := h.Redis.Keys(t.Context(), "*").Val(); !slices.Equal(keys, []string{"WSFRAME_FD_NEXT"}) {
		t.Fatalf("left in Redis: %v", keys)
	}
}

// Misuse is refused at start, by name.
func TestMount(t *testing.T) {
	for _, tc := range []struct {
		c    framework.Controller
		want string
	}{
		{framework.Mount("a.b.c", &plain{}), "a.b.c"},
		{framework.Mount("", &plain{}), "name"},
		{framework.Mount("a", &nearMiss{}), "Almost"},
		{framework.Mount("a", &badHook{}), "OnClose"},
		{framework.Mount("a", &empty{}), "no action"},
		{framework.Mount[plain]("a", nil), "nil"},
		{framework.Controller{}, "Mount"},
	} {
		if _, err := framework.Routes([]framework.Controller{tc.c}); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("got %v, want one that names %q", err, tc.want)
		}
	}
	if _, err := framework.Routes([]framework.Controller{framework.Mount("a", &plain{}), framework.Mount("index.A", &plain{})}); err == nil {
		t.Error("two controllers of one name")
	}
}

type nearMiss struct{}

func (*nearMiss) Almost(*framework.Ctx) *framework.Reply { return nil }

type badHook struct{ plain }

func (*badHook) OnClose(*framework.Ctx) {}

type empty struct{}

// faulty panics wherever it is called.
type faulty struct{}

func (faulty) Act(*framework.Ctx) (*framework.Reply, error)           { panic("in an action") }
func (faulty) Typed(*framework.Ctx, *typed) (*framework.Reply, error) { panic("in a typed action") }
func (faulty) OnMessage(*framework.Ctx) (*framework.Reply, error)     { panic("in OnMessage") }
func (faulty) OnClose(*framework.Closed)                              { panic("in OnClose") }
func (faulty) OnConnect(c *framework.Ctx) error {
	if c.Auth.ID == "barred" {
		panic("in OnConnect")
	}
	return errors.Join(c.AddCloseListener("faulty"), c.AddCloseListener("probe"))
}

type barred struct{ plain }

func (barred) Guard(*framework.Ctx) error { panic("in Guard") }

// Ten thousand faults, everywhere, cost nothing but their replies (promise L7).
func TestPanics(t *testing.T) {
	p := &probe{}
	h := frameworktest.New(t, func(d framework.Deps) ([]framework.Controller, error) {
		return []framework.Controller{
			framework.Mount("faulty", &faulty{}), framework.Mount("barred", &barred{}), framework.Mount("probe", p), framework.Mount("plain", &plain{}),
			framework.Mount("wrapped", &plain{}, func(framework.Action) framework.Action {
				return func(*framework.Ctx) (*framework.Reply, error) { panic("in a middleware") }
			}),
		}, nil
	}, frameworktest.Config(func(c *config.App) { c.Limits.MessageRate = 0 }), frameworktest.Quiet())
	c := h.Dial(someone)
	c.Call("plain.index", nil).Want(200, "plain")
	goroutines := runtime.NumGoroutine()
	methods := []string{"faulty.act", "faulty.typed", "faulty.other", "barred.index", "wrapped.index"}
	for range 1_800 {
		for _, method := range methods {
			c.Send(`{"method":"` + method + `"}`)
		}
		for _, method := range methods {
			if got := c.Receive(); got != `{"status":500,"event":"controllerError","info":"程序错误"}` {
				t.Fatalf("%s: %s", method, got)
			}
		}
	}
	for range 500 {
		h.Dial(framework.Identity{ID: "barred", Type: "guest"}).WantClose(1011)
		h.Dial(someone).Close()
	}
	c.Call("plain.index", nil).Want(200, "plain")
	told := func() int {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.closed)
	}
	h.Eventually("the listeners behind the faulty one", func() bool { return told() == 500 })
	h.Eventually("goroutines back", func() bool { return runtime.NumGoroutine() <= goroutines+5 })
}
