package push

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime/multipart"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a Store.
type memory struct {
	mu    sync.Mutex
	m     map[string][]byte
	fails bool
}

var errStore = errors.New("store is away")

func (m *memory) Claim(_ context.Context, key string, value []byte, _ time.Duration) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fails {
		return nil, errStore
	}
	if there, ok := m.m[key]; ok {
		return there, nil
	}
	m.m[key] = bytes.Clone(value)
	return nil, nil
}

func (m *memory) Put(_ context.Context, key string, value []byte, _ time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.m[key] = bytes.Clone(value)
	return nil
}

func (m *memory) Remove(_ context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.m, key)
	return nil
}

// host is a served Server.
type host struct {
	*Server
	t       *testing.T
	url     string
	backend *recorder
	store   *memory
	client  *http.Client
}

func listen(t *testing.T) *net.TCPListener {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln.(*net.TCPListener)
}

func serve(t *testing.T, cfg Config) *host {
	t.Helper()
	h := &host{t: t, backend: &recorder{}, store: &memory{m: map[string][]byte{}}, client: &http.Client{Transport: &http.Transport{}, Timeout: 20 * time.Second}}
	cfg.Backend, cfg.Store = h.backend, h.store
	h.Server = NewServer(cfg)
	ln := listen(t)
	h.url = "http://" + ln.Addr().String()
	h.run(ln)
	return h
}

func (h *host) run(ln *net.TCPListener) {
	served := make(chan error, 1)
	go func() { served <- h.Serve(ln) }()
	h.t.Cleanup(func() {
		h.client.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := errors.Join(h.Shutdown(ctx), <-served); err != nil {
			h.t.Error(err)
		}
	})
}

// do makes a request; headers are "Name: value".
func (h *host) do(method, path, body string, headers ...string) (int, string, http.Header) {
	h.t.Helper()
	r, err := http.NewRequest(method, h.url+path, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		if name == "Host" {
			r.Host = value
		}
		r.Header.Set(name, value)
	}
	res, err := h.client.Do(r)
	if err != nil {
		h.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return res.StatusCode, string(b), res.Header
}

const asJSON = "Content-Type: application/json"

func (h *host) post(method, body string, headers ...string) (int, string) {
	h.t.Helper()
	status, text, _ := h.do(http.MethodPost, "/api/v1/"+method, body, append(headers, asJSON)...)
	return status, strings.TrimSpace(text)
}

func (h *host) want(status int, part string) func(int, string) {
	return func(got int, text string) {
		h.t.Helper()
		if got != status || !strings.Contains(text, part) {
			h.t.Errorf("got %d %s, want %d and %q", got, text, status, part)
		}
	}
}

func TestForm(t *testing.T) {
	h := serve(t, Config{MaxBody: 2048})
	multi := &bytes.Buffer{}
	w := multipart.NewWriter(multi)
	for name, value := range map[string]string{"type": "publish", "to": "7", "content": "multi"} {
		if err := w.WriteField(name, value); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	const encoded = "application/x-www-form-urlencoded"
	push := func(text string) string { return `{"event":"new_msg","param":"` + text + `"}` }
	for _, tc := range []struct {
		name, method, query, kind, body string
		status                          int
		want, done, why                 string
	}{
		{"query", "GET", "type=publish&to=7&content=hi+%E4%BD%A0%E5%A5%BD", "", "", 200, "ok", "Reach 7 " + push("hi 你好"), ""},
		{"form", "POST", "", encoded, "type=publish&to=7&content=hi", 200, "ok", "Reach 7 " + push("hi"), ""},
		{"multipart, as PHP's curl sends arrays", "POST", "", w.FormDataContentType(), multi.String(), 200, "ok", "Reach 7 " + push("multi"), ""},
		{"query of a POST", "POST", "type=publish&to=7&content=hi", "", "", 200, "ok", "Reach 7 " + push("hi"), ""},
		{"body before query", "POST", "type=publish&to=8&content=no", encoded, "to=7&content=yes", 200, "ok", "Reach 7 " + push("yes"), ""},
		{"everyone", "GET", "type=publish&to=&content=hi", "", "", 200, "ok", "SendToAll " + push("hi"), ""},
		{"everyone, without to", "GET", "type=publish&content=", "", "", 200, "ok", "SendToAll " + push(""), ""},
		{"nobody", "GET", "type=publish&to=0&content=hi", "", "", 200, "offline", "", ""},
		{"another type", "GET", "type=other&to=7", "", "", 200, "fail", "", "type must be publish"},
		{"nothing", "GET", "", "", "", 200, "fail", "", "type must be publish"},
		{"malformed", "POST", "", encoded, "type=publish&content=%zz", 200, "fail", "", "malformed"},
		{"malformed multipart", "POST", "", "multipart/form-data", "x", 200, "fail", "", "malformed"},
		{"not UTF-8", "GET", "type=publish&content=%ff", "", "", 200, "fail", "", "not UTF-8"},
		{"uid", "GET", "type=publish&to=a+b&content=hi", "", "", 200, "fail", "", "to must match"},
		{"long uid", "GET", "type=publish&content=hi&to=" + strings.Repeat("x", 65), "", "", 200, "fail", "", "to must match"},
		{"too large", "POST", "", encoded, "type=publish&content=" + strings.Repeat("x", 2048), 413, "fail", "", "tooLarge"},
		{"another method", "PUT", "type=publish&content=hi", "", "", 405, "fail", "", "GET or POST"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			status, text, header := h.do(tc.method, "/?"+tc.query, tc.body, "Content-Type: "+tc.kind)
			done := strings.Join(h.backend.said(), "; ")
			if status != tc.status || text != tc.want || done != tc.done || !strings.Contains(header.Get("message"), tc.why) {
				t.Errorf("got %d %q %q %q", status, text, done, header.Get("message"))
			}
		})
	}
	h.do("POST", "/", url.Values{"type": {"publish"}, "content": {`<b a="1">'&`}}.Encode(), "Content-Type: "+encoded)
	if got := h.backend.said(); len(got) != 1 || !strings.Contains(got[0], `"\u0026lt;b a=\u0026quot;1\u0026quot;\u0026gt;\u0026#039;\u0026amp;"`) {
		t.Errorf("not escaped: %s", got) // \u0026 is the recorder's own
	}
	h.backend.fail = errors.New("secret cause")
	if status, text, header := h.do("GET", "/?type=publish&content=hi", ""); status != 200 || text != "fail" || strings.Contains(header.Get("message"), "secret") {
		t.Errorf("got %d %q %v", status, text, header)
	}
}

func TestErrors(t *testing.T) {
	h := serve(t, Config{MaxBody: 1024})
	h.want(200, `{"result":{}}`)(h.post("sendToFD", `{"fd":1,"event":"e"}`))
	h.want(200, `{"result":{"connections":2}}`)(h.post("REACH", `{"uid":"7","event":"e"}`))
	h.want(404, `"noConnection","message":"connection 9: no such connection"`)(h.post("sendToFD", `{"fd":9,"event":"e"}`))
	h.want(404, `"unknownMethod"`)(h.post("nothing", `{}`))
	h.want(404, `"unknownMethod"`)(h.post("a%2fb", `{}`))
	h.want(400, `"badRequest","message":"fd is missing"`)(h.post("kick", `{}`))
	h.want(413, `"tooLarge"`)(h.post("sendToAll", `{"event":"e","info":"`+strings.Repeat("x", 1024)+`"}`))
	status, text, _ := h.do("POST", "/api/v1/counts", "{}", "Content-Type: text/plain")
	h.want(415, `"unsupportedMediaType"`)(status, text)
	status, text, header := h.do("GET", "/api/v1/counts", "")
	h.want(405, `"methodNotAllowed"`)(status, text)
	if header.Get("Allow") != "POST" {
		t.Error("no Allow")
	}
	status, text, _ = h.do("GET", "/nothing", "")
	h.want(404, `"notFound"`)(status, text)
	status, text, _ = h.do("GET", "/healthz", "")
	h.want(200, "ok")(status, text)
	h.backend.fail = errors.New("dial redis: secret")
	h.want(500, `{"error":{"code":"internal","message":"internal error"}}`)(h.post("counts", `{}`))
	h.backend.fail = fail(CodePartial, "not all nodes have answered")
	h.want(504, `{"result":{"connections":2},"error":{"code":"partial"`)(h.post("reach", `{"uid":"7","event":"e"}`))
	h.backend.fail = fail(CodeQueueFull, "too much waits")
	h.want(503, `"queueFull"`)(h.post("sendToAll", `{"event":"e"}`))
	h.backend.fail = context.DeadlineExceeded
	h.want(504, `"timeout"`)(h.post("counts", `{}`))
}

func TestBatch(t *testing.T) {
	h := serve(t, Config{Tokens: []Token{{"0123456789abcdef", []string{ScopeSend}}, {"fedcba9876543210", nil}}})
	const all = "Authorization: Bearer fedcba9876543210"
	h.want(200, `{"result":{"results":[{"result":{}},{"error":{"code":"noConnection","message":"connection 3: no such connection"}},{"result":{"connections":2,"uids":1,"rooms":1,"nodes":1}}]}}`)(
		h.post("batch", `{"calls":[{"method":"join","params":{"fd":1,"room":"A"}},{"method":"leave","params":{"fd":3,"room":"A"}},{"method":"counts"}]}`, all))
	if got := h.backend.said(); !slices.Equal(got, []string{"Join 1 A false", "Counts"}) {
		t.Error(got)
	}
	for body, want := range map[string]string{
		`{"calls":[]}`:              "calls must have 1 to 100 entries",
		`{"calls":{}}`:              "calls must be a list",
		`{"calls":[{"params":{}}]}`: "calls: method is missing",
		`{"calls":[{"method":"counts","param":{}}]}`:                                         `calls: \"param\" is no field`,
		`{"calls":[{"method":"a b"}]}`:                                                       "calls: method must match",
		`{"calls":[` + strings.Repeat(`{"method":"counts"},`, 100) + `{"method":"counts"}]}`: "calls must have 1 to 100 entries",
	} {
		h.want(400, want)(h.post("batch", body, all))
	}
	h.want(200, `{"error":{"code":"unknownMethod"`)(h.post("batch", `{"calls":[{"method":"batch","params":{"calls":[]}}]}`, all))
	h.want(200, `{"result":{}},{"error":{"code":"forbidden","message":"counts needs a token with the scope read"}}`)(
		h.post("batch", `{"calls":[{"method":"sendToAll","params":{"event":"e"}},{"method":"counts"}]}`, "Authorization: Bearer 0123456789abcdef"))
}

func TestAccess(t *testing.T) {
	open := serve(t, Config{})
	for _, line := range []string{"Origin: http://127.0.0.1:2121", "Origin: null", "Sec-Fetch-Site: cross-site", "X-Forwarded-For: 1.2.3.4", "X-Real-IP: 127.0.0.1", "Host: evil.example:2121"} {
		open.want(403, `"forbidden"`)(open.post("counts", `{}`, line))
		if status, text, header := open.do("GET", "/?type=publish&content=x", "", line); status != 403 || text != "fail" || !strings.Contains(header.Get("message"), "forbidden") {
			t.Errorf("%s: %d %s", line, status, text)
		}
	}
	for _, line := range []string{"Host: localhost:2121", "Host: [::1]:2121", "Host: 127.0.0.1"} {
		open.want(200, `"result"`)(open.post("counts", `{}`, line))
	}
	if got := open.backend.said(); len(got) != 3 {
		t.Error(got)
	}
	r := &http.Request{RemoteAddr: "192.0.2.1:5", Host: "127.0.0.1", Header: http.Header{}}
	if _, e := open.access.of(r); e == nil || e.Code != CodeForbidden {
		t.Errorf("a stranger: %v", e)
	}

	h := serve(t, Config{Tokens: []Token{{"send-0123456789ab", []string{ScopeSend}}, {"read-0123456789ab", []string{ScopeRead}}, {"all-00123456789ab", nil}}})
	for _, tc := range []struct {
		token  string
		status [3]int // of sendToAll, counts, kick
	}{
		{"", [3]int{401, 401, 401}},
		{"Bearer wrong-0123456789ab", [3]int{401, 401, 401}},
		{"Bearer send-0123456789a", [3]int{401, 401, 401}},
		{"Bearer ", [3]int{401, 401, 401}},
		{"Basic send-0123456789ab", [3]int{401, 401, 401}},
		{"Bearer send-0123456789ab", [3]int{200, 403, 403}},
		{"Bearer read-0123456789ab", [3]int{403, 200, 403}},
		{"Bearer all-00123456789ab", [3]int{200, 200, 200}},
	} {
		for i, call := range [][2]string{{"sendToAll", `{"event":"e"}`}, {"counts", `{}`}, {"kick", `{"fd":1}`}} {
			h.want(tc.status[i], "")(h.post(call[0], call[1], "Authorization: "+tc.token, "Origin: https://a.example"))
		}
		status, text, _ := h.do("GET", "/?type=publish&content=x", "", "Authorization: "+tc.token)
		if want := tc.status[0]; status != want || (text == "ok") != (want == 200) {
			t.Errorf("%s: the form answers %d %s", tc.token, status, text)
		}
	}
}

func TestParseToken(t *testing.T) {
	for text, want := range map[string]string{
		"0123456789abcdef":                   "[0123456789abcdef []]",
		" 0123456789abcdef  send  read ":     "[0123456789abcdef [send read]]",
		"":                                   "at least 16 bytes",
		"short":                              "at least 16 bytes",
		"0123456789abcdef send,read":         `"send,read" is no scope`,
		"0123456789abcdef manage everything": `"everything" is no scope`,
	} {
		token, err := ParseToken(text)
		if got := fmt.Sprint([]any{token.Value, token.Scopes}, err); !strings.Contains(got, want) {
			t.Errorf("%q: %s", text, got)
		}
	}
}

func TestRate(t *testing.T) {
	h := serve(t, Config{RateLimit: 20})
	var limited int
	for range 60 {
		if status, _ := h.post("counts", `{}`); status == 429 {
			limited++
		}
	}
	if limited == 0 {
		t.Error("60 requests at once, but 20 a second, were all let in")
	}
	b := newBucket(10)
	if !b.take(100) || b.take(1) {
		t.Error("a batch larger than the rate takes all, and is let in")
	}
	if free := newBucket(0); !free.take(1e6) {
		t.Error("0 is no limit")
	}
}

func TestOnce(t *testing.T) {
	h := serve(t, Config{})
	key := "Idempotency-Key: order-5"
	h.want(200, `{"result":{"connections":2}}`)(h.post("reach", `{"uid":"7","event":"e"}`, key))
	h.want(200, `{"result":{"connections":2}}`)(h.post("reach", `{"uid":"7","event":"e"}`, key))
	h.want(422, `"keyReused"`)(h.post("reach", `{"uid":"8","event":"e"}`, key))
	h.want(422, `"keyReused"`)(h.post("sendToUID", `{"uid":"7","event":"e"}`, key))
	if got := h.backend.said(); len(got) != 1 {
		t.Errorf("done %d times: %s", len(got), got)
	}
	// What was not done may come again.
	key = "Idempotency-Key: k2"
	h.want(400, `"badRequest"`)(h.post("kick", `{"fd":"1"}`, key))
	h.backend.fail = fail(CodeQueueFull, "full")
	h.want(503, `"queueFull"`)(h.post("kick", `{"fd":1}`, key))
	h.backend.fail = nil
	h.want(200, `{}`)(h.post("kick", `{"fd":1}`, key))
	// What may have been done is not done again.
	key = "Idempotency-Key: k3"
	h.backend.fail = context.DeadlineExceeded
	h.want(504, `"timeout"`)(h.post("kick", `{"fd":2}`, key))
	h.backend.fail = nil
	h.backend.said()
	h.want(504, `"timeout"`)(h.post("kick", `{"fd":2}`, key))
	if got := h.backend.said(); len(got) != 0 {
		t.Error(got)
	}
	h.want(400, "1 to 128 printable")(h.post("kick", `{"fd":2}`, "Idempotency-Key: a b"))
	h.store.fails = true
	h.want(503, `"unavailable"`)(h.post("kick", `{"fd":2}`, "Idempotency-Key: k4"))
	h.want(200, `"result"`)(h.post("counts", `{}`, "Idempotency-Key: k5")) // reads need no memory
	h.store.fails = false

	// Many at the same time: one does it, the others get its answer.
	h.backend.hold = make(chan struct{})
	h.backend.said()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			h.want(200, `{"result":{"members":2}}`)(h.post("dismissRoom", `{"room":"A"}`, "Idempotency-Key: k6"))
		})
	}
	time.AfterFunc(100*time.Millisecond, func() { close(h.backend.hold) })
	all.Wait()
	if got := h.backend.said(); len(got) != 1 {
		t.Errorf("done %d times", len(got))
	}
}

// Two servers share a port, as the workers of a reload do: who asks is never refused, and nobody is answered by the old one once it
// pauses.
func TestPause(t *testing.T) {
	old := serve(t, Config{})
	next := &host{Server: NewServer(Config{Backend: &recorder{}, Store: old.store}), t: t, client: &http.Client{}}
	old.backend.hold = make(chan struct{})
	under := make(chan string, 1)
	go func() { _, text := old.post("kick", `{"fd":1}`); under <- text }()
	until(t, "it is under way", func() bool { return old.busy() })
	paused := make(chan struct{})
	go func() { old.Pause(); close(paused) }()
	select {
	case <-paused:
		t.Error("paused before a request under way had ended")
	case <-time.After(50 * time.Millisecond):
	}
	close(old.backend.hold)
	if text := <-under; !strings.Contains(text, `"result"`) {
		t.Error(text)
	}
	<-paused
	// Who comes now waits for the next one.
	waiting := make(chan string, 1)
	go func() { _, text := old.post("roomCount", `{"room":"A"}`); waiting <- text }()
	f, err := old.ln.File()
	if err != nil {
		t.Fatal(err)
	}
	shared, err := net.FileListener(f)
	_ = f.Close()
	if err != nil {
		t.Fatal(err)
	}
	old.backend.said()
	next.run(shared.(*net.TCPListener))
	if text := <-waiting; !strings.Contains(text, `"members":2`) {
		t.Error(text)
	}
	if got := old.backend.said(); len(got) != 0 {
		t.Errorf("the old one has answered: %s", got)
	}
	// Had the move failed, it would go on.
	old.Resume()
	until(t, "both serve", func() bool {
		old.client.CloseIdleConnections()
		old.post("counts", `{}`)
		return len(old.backend.said()) > 0
	})
	old.Pause()
	old.Pause()
	old.Resume()
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func TestOnline(t *testing.T) {
	s := NewServer(Config{Backend: &recorder{}, Store: &memory{m: map[string][]byte{}}})
	b, turns := s.cfg.Backend.(*recorder), s.cfg.Store.(*memory)
	for i, want := range []int{1, 0, 0} { // once for a number, however often it is looked at, whoever does
		if err := s.tellOnline(t.Context()); err != nil {
			t.Fatal(err)
		}
		sent := slices.DeleteFunc(b.said(), func(c string) bool { return c == "Counts" })
		if len(sent) != want || want == 1 && !strings.Contains(sent[0], `"event":"update_online_count","info":"当前1人在线，共打开2个页面"`) {
			t.Errorf("%d: %s", i, sent)
		}
		if i == 1 {
			_ = turns.Remove(t.Context(), "ONLINE_TURN")
		}
	}
	h := serve(t, Config{OnlineCount: true}) // it runs, and ends
	until(t, "told", func() bool { return len(h.backend.said()) > 0 })
}

// The document and the handlers are of one table; this holds what each side makes of it together.
func TestDocument(t *testing.T) {
	h := serve(t, Config{})
	status, text, _ := h.do("GET", "/openapi.json", "")
	var doc struct {
		OpenAPI string `json:"openapi"`
		Paths   map[string]map[string]struct {
			RequestBody struct {
				Content map[string]struct{ Schema schema } `json:"content"`
			} `json:"requestBody"`
			Responses map[string]json.RawMessage `json:"responses"`
		} `json:"paths"`
		Components struct{ Schemas map[string]json.RawMessage } `json:"components"`
	}
	if err := json.Unmarshal([]byte(text), &doc); err != nil || status != 200 || doc.OpenAPI != "3.1.0" {
		t.Fatal(status, doc.OpenAPI, err)
	}
	names := []string{"/api/v1/batch"}
	for _, m := range methods {
		names = append(names, "/api/v1/"+m.name)
	}
	slices.Sort(names)
	if got := slices.Sorted(maps.Keys(doc.Paths)); !slices.Equal(got, names) {
		t.Errorf("paths: %s", got)
	}
	for rest := text; ; { // every reference leads somewhere
		_, after, ok := strings.Cut(rest, `"#/components/schemas/`)
		if !ok {
			break
		}
		name, _, _ := strings.Cut(after, `"`)
		if doc.Components.Schemas[name] == nil {
			t.Errorf("there is no schema %s", name)
		}
		rest = after
	}
	for _, m := range methods {
		s := doc.Paths["/api/v1/"+m.name]["post"].RequestBody.Content["application/json"].Schema
		if s.AdditionalProperties == nil || *s.AdditionalProperties || len(s.Properties) != len(m.fields) {
			t.Errorf("%s: %+v", m.name, s)
		}
		whole := object{}
		for name, p := range s.Properties {
			whole[name] = p.example(name)
		}
		if m.name == "sendToAll" || whole["class"] != nil {
			whole["class"], whole["key"] = Latest, "k"
		}
		bare := object{}
		for _, name := range s.Required {
			bare[name] = whole[name]
		}
		try := func(body object, want int, what string) {
			t.Helper()
			b, _ := json.Marshal(body)
			if status, text := h.post(m.name, string(b)); status != want {
				t.Errorf("%s, %s: %s: %d %s", m.name, what, b, status, text)
			}
		}
		try(whole, 200, "all fields")
		try(bare, 200, "required fields")
		changed := func(name string, v any) object { c := maps.Clone(whole); c[name] = v; return c }
		try(changed("another", 1), 400, "an unknown field")
		for name, p := range s.Properties {
			if slices.Contains(s.Required, name) {
				c := maps.Clone(whole)
				delete(c, name)
				try(c, 400, "without "+name)
			}
			if p.Type != "" {
				try(changed(name, map[bool]any{true: 1.5, false: []any{[]any{}}}[p.Type == "array"]), 400, name+" of another type")
			}
			if p.Minimum != nil {
				try(changed(name, *p.Minimum-1), 400, name+" too small")
				try(changed(name, *p.Maximum+1), 400, name+" too large")
			}
			if p.MaxLength > 0 {
				try(changed(name, strings.Repeat("x", p.MaxLength+1)), 400, name+" too long")
			}
			if p.Enum != nil {
				try(changed(name, "other"), 400, name+" is no such word")
			}
			if p.MaxItems > 0 {
				try(changed(name, slices.Repeat([]int{1}, p.MaxItems+1)), 400, name+" too long")
			}
		}
	}
}

type schema struct {
	Type                 string            `json:"type"`
	Properties           map[string]schema `json:"properties"`
	Required             []string          `json:"required"`
	Minimum, Maximum     *int64
	MaxLength, MaxItems  int
	Enum                 []string
	AdditionalProperties *flag
}

// flag is true for a schema, too.
type flag bool

func (f *flag) UnmarshalJSON(b []byte) error { *f = string(b) != "false"; return nil }

func (s schema) example(name string) any {
	switch {
	case name == "code":
		return 4000
	case s.Type == "integer":
		return max(1, *s.Minimum)
	case s.Type == "boolean":
		return true
	case s.Enum != nil:
		return s.Enum[0]
	case s.Type == "string":
		return "x"
	case s.Type == "array":
		return []int{1}
	}
	return object{"a": 1}
}

// Every method of the application API is a call, and every call reaches it by the Client with its arguments in place.
func TestClient(t *testing.T) {
	h := serve(t, Config{Tokens: []Token{{"0123456789abcdef", nil}}})
	c, err := NewClient(h.url+"/", "0123456789abcdef")
	if err != nil {
		t.Fatal(err)
	}
	c.HTTP = h.client
	var names []string
	for _, m := range methods {
		names = append(names, strings.ToLower(m.name))
	}
	for iface, i := reflect.TypeFor[Backend](), 0; i < iface.NumMethod(); i++ {
		if name := strings.ToLower(iface.Method(i).Name); name != "errorcode" && !slices.Contains(names, name) {
			t.Errorf("%s is no call", name)
		}
	}
	ctx := t.Context()
	p := &Push{Event: "e", Info: "i", Param: JSON("<"), Except: []int64{9}, Class: Latest, Key: "k"}
	values := map[string]json.RawMessage{"a": JSON(1), "b": JSON(nil)}
	n := func(_ any, err error) error { return err }
	for _, tc := range []struct {
		err  error
		want string
	}{
		{c.SendToFD(ctx, 1, p), "SendToFD 1 " + text(p)},
		{c.SendToUID(ctx, "7", p), "SendToUID 7 " + text(p)},
		{c.SendToRoom(ctx, "A", p, Keep{5, 60}), "SendToRoom A " + text(p) + " {5 60}"},
		{c.SendToAll(ctx, p), "SendToAll " + text(p)},
		{n(c.Reach(ctx, "7", p)), "Reach 7 " + text(p)},
		{c.Join(ctx, 1, "A", true), "Join 1 A true"},
		{c.Leave(ctx, 1, "A"), "Leave 1 A"},
		{c.LeaveAll(ctx, 1), "LeaveAll 1"},
		{n(c.DismissRoom(ctx, "A")), "DismissRoom A"},
		{c.BindUID(ctx, 1, "u"), "BindUID 1 u"},
		{c.UnbindUID(ctx, 1, "u"), "UnbindUID 1 u"},
		{c.Kick(ctx, 1, 4000, "r"), "Kick 1 4000 r"},
		{n(c.KickUID(ctx, "7", 0, "")), "KickUID 7 0 "},
		{n(c.Session(ctx, 1)), "Session 1"},
		{c.SetSession(ctx, 1, values), "SetSession 1 map[a:1 b:null]"},
		{c.UpdateSession(ctx, 1, values), "UpdateSession 1 map[a:1 b:null]"},
		{n(c.RoomCount(ctx, "A")), "RoomCount A"},
		{n(c.Counts(ctx)), "Counts"},
		{n(c.Connections(ctx, 0, 5)), "Connections 0 5"},
		{n(c.RoomMembers(ctx, "A", 3, 5)), "RoomMembers A 3 5"},
		{n(c.UIDs(ctx, "a", 5)), "UIDs a 5"},
		{n(c.RoomNames(ctx, "", 5)), "RoomNames  5"},
		{n(c.History(ctx, "A", -1, 5)), "History A -1 5"},
	} {
		h.backend.mu.Lock()
		got := h.backend.calls[0]
		h.backend.calls = h.backend.calls[1:]
		h.backend.mu.Unlock()
		if tc.err != nil || got != tc.want {
			t.Errorf("got %q %v, want %q", got, tc.err, tc.want)
		}
	}
	if page, err := c.History(ctx, "A", 0, 1); err != nil || page.Items[0].Offset != 1 || page.Epoch != "e" {
		t.Error(page, err)
	}
	if on, err := c.IsUIDOnline(ctx, "7"); !on || err != nil {
		t.Error(on, err)
	}
	if on, err := c.IsOnline(ctx, 5); on || err != nil {
		t.Error(on, err)
	}
	var e *Error
	if err := c.Kick(ctx, 5, 0, ""); !errors.As(err, &e) || e.Code != CodeNoConnection {
		t.Error(err)
	}
	if said, err := c.Publish(ctx, "8", "x"); said != "offline" || err != nil {
		t.Error(said, err)
	}
	if err := c.SendToAll(ctx, &Push{Event: "e", Param: JSON(func() {})}); err == nil {
		t.Error("a func was sent")
	}
	for _, base := range []string{"", "127.0.0.1:2121", "ftp://a", "http://"} {
		if _, err := NewClient(base, ""); err == nil {
			t.Errorf("%q is no address", base)
		}
	}
}
