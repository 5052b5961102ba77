package socketio

import (
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"wsframe/framework/internal/wire"
)

const sidUnknown, badRequest = `{"code":1,"message":"Session ID unknown"}`, `{"code":3,"message":"Bad request"}`

// A session of each form begins with the packet Open alone, and gets the rest by its next poll.
func TestOpen(t *testing.T) {
	const sid = `"sid":"[0-9a-f]{24}","upgrades":\["websocket"\],"pingInterval":25000,"pingTimeout":60000`
	for _, tc := range []struct{ query, contentType, open, next string }{
		{"EIO=3&transport=polling&b64=1", "text/plain; charset=UTF-8", `^101:0{` + sid + `}$`, "2:40"},
		{"transport=polling&b64=1&t=Q7&auth=x", "text/plain; charset=UTF-8", `^101:0{` + sid + `}$`, "2:40"},
		{"EIO=3&transport=polling", "application/octet-stream", "^\x00\x01\x00\x01\xff0{" + sid + `}$`, "\x00\x02\xff40"},
		{"EIO=4&transport=polling", "text/plain; charset=UTF-8", `^0{` + sid + `,"maxPayload":1000}$`, ""},
	} {
		inBubble(t, func(t *testing.T, r *rig) {
			w := r.do("GET", tc.query, "")
			body := w.Body.String()
			// A regular expression knows no single bytes that are not UTF-8.
			if !regexp.MustCompile(strings.ReplaceAll(tc.open, "\xff", "ÿ")).MatchString(strings.ReplaceAll(body, "\xff", "ÿ")) || w.Header().Get("Content-Type") != tc.contentType {
				t.Fatalf("%s: %q %q", tc.query, body, w.Header())
			}
			i := strings.Index(body, `"sid":"`) + 7
			next := r.send("GET", tc.query+"&sid="+body[i:i+24], "")
			if next.answered() != (tc.next != "") || next.Body.String() != tc.next {
				t.Errorf("%s: %q, want %q", tc.query, next.Body, tc.next)
			}
			next.cancel()
		})
	}
}

func TestRefusals(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		q, _ := r.open("3")
		for _, tc := range []struct {
			method, query, want string
		}{
			{"GET", "EIO=3", `{"code":0,"message":"Transport unknown"}`},
			{"GET", "EIO=3&transport=foo", `{"code":0,"message":"Transport unknown"}`},
			{"GET", "EIO=3&transport=polling&sid=xyz", sidUnknown},
			{"POST", "EIO=4&transport=polling&sid=xyz", sidUnknown},
			{"POST", "EIO=3&transport=polling", `{"code":2,"message":"Bad handshake method"}`},
			{"PUT", "EIO=3&transport=polling", `{"code":2,"message":"Bad handshake method"}`},
			{"GET", "EIO=3&transport=websocket", badRequest},
			{"GET", "EIO=3&transport=polling&j=0", badRequest},
			{"GET", strings.Replace(q, "EIO=3", "EIO=4", 1), badRequest},
			{"GET", strings.Replace(q, "polling", "websocket", 1), badRequest},
			{"DELETE", q, badRequest},
			{"GET", "EIO=2&transport=polling", `{"code":5,"message":"Unsupported protocol version"}`},
			{"GET", "EIO=5&transport=polling", `{"code":5,"message":"Unsupported protocol version"}`},
			{"GET", "EIO=&transport=polling", `{"code":5,"message":"Unsupported protocol version"}`},
		} {
			w := r.do(tc.method, tc.query, "1:2")
			r.want(w, 400, tc.want)
			if w.Header().Get("Content-Type") != "application/json" || w.Header().Get("Access-Control-Allow-Origin") != "*" {
				t.Errorf("%s: %q", tc.query, w.Header())
			}
		}
		if w := r.do("GET", "/other", ""); w.Code != 404 {
			t.Error(w.Code)
		}
		if n := r.e.Sessions(); n != 1 {
			t.Errorf("%d sessions", n)
		}
		r.b.full = true
		r.want(r.do("GET", "EIO=3&transport=polling", ""), 403, "refused\n")
		if n := r.e.Sessions(); n != 1 {
			t.Errorf("%d sessions after a refusal", n)
		}
	})
}

func TestOrigins(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.b.closed = true
		q, c := r.open("3")
		const page, foreign = "http://o.test", "http://evil.test"
		w := r.do("OPTIONS", q, "", "Origin", page)
		h := w.Header()
		if w.Code != 204 || h.Get("Access-Control-Allow-Origin") != page || h.Get("Access-Control-Allow-Credentials") != "true" ||
			h.Get("Access-Control-Allow-Methods") != "GET, POST" || h.Get("Access-Control-Allow-Headers") != "Content-Type" || w.Body.Len() > 0 {
			t.Errorf("%d %q", w.Code, h)
		}
		for _, w := range []*httptest.ResponseRecorder{
			r.do("OPTIONS", q, "", "Origin", foreign), r.do("GET", q, "", "Origin", foreign), r.do("POST", q, `8:42["x"]`, "Origin", foreign),
			r.do("GET", "EIO=3&transport=polling", "", "Origin", foreign), r.do("GET", "EIO=3&transport=polling&sid=x", "", "Origin", foreign),
		} {
			if w.Code != 403 || w.Header().Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%d %q", w.Code, w.Header())
			}
		}
		if len(c.events()) > 0 || c.touched > 0 {
			t.Error("a foreign page has sent something")
		}
	})
}

// A poll is held until something is there, and then gets all of it.
func TestHeldPoll(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		q, c := r.open("3")
		r.want(r.do("GET", q, ""), 200, "2:40")
		poll := r.send("GET", q, "")
		time.Sleep(holdTime - time.Second)
		if poll.answered() {
			t.Fatal("it was not held")
		}
		c.change(func() { c.queue = append(c.queue, []byte(`42["a"]`), []byte(`42["b"]`)) })
		if !poll.answered() {
			t.Fatal("it was not answered")
		}
		r.want(poll.ResponseRecorder, 200, `7:42["a"]7:42["b"]`)

		poll = r.send("GET", q, "")
		time.Sleep(holdTime + time.Second)
		if !poll.answered() {
			t.Fatal("it is held too long")
		}
		r.want(poll.ResponseRecorder, 200, "1:6")

		// A client that goes takes nothing with it.
		poll = r.send("GET", q, "")
		poll.answered()
		poll.cancel()
		poll.answered()
		c.push(`42["c"]`)
		r.want(r.do("GET", q, ""), 200, `7:42["c"]`)
	})
}

// A second GET ends the session, as recorded.
func TestTwoPolls(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		q, c := r.open("3")
		r.do("GET", q, "")
		first := r.send("GET", q, "")
		first.answered()
		r.want(r.do("GET", q, ""), 400, badRequest)
		if !first.answered() {
			t.Fatal("the first is still held")
		}
		r.want(first.ResponseRecorder, 200, "1:1")
		if c.closed() != wire.ClosePolicy {
			t.Error(c.closed())
		}
		r.want(r.do("GET", q, ""), 400, sidUnknown)
		r.want(r.do("POST", q, "1:2"), 400, sidUnknown)
	})
}

func TestPosts(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		q, c := r.open("3")
		w := r.do("POST", q, `16:42["login","u7"]16:42["login","u8"]1:29:2textping`, "Content-Type", "text/plain;charset=UTF-8")
		r.want(w, 200, "ok")
		if w.Header().Get("Content-Type") != "text/html" || !slices.Equal(c.events(), []string{`login "u7"`, `login "u8"`}) {
			t.Errorf("%q %q", w.Header(), c.events())
		}
		r.want(r.do("GET", q, ""), 200, "2:401:39:3textping")
		r.want(r.do("POST", q, "\x00\x01\x06\xff42[\"login\",\"u9\"]", "Content-Type", "application/octet-stream"), 200, "ok")
		if n := len(c.events()); n != 3 {
			t.Errorf("%d events", n)
		}

		// Another one while one runs.
		c.mu.Lock()
		c.block = make(chan struct{})
		c.mu.Unlock()
		first := r.send("POST", q, `7:42["d"]`)
		first.answered()
		r.want(r.do("POST", q, `7:42["e"]`), 400, badRequest)
		close(c.block)
		if !first.answered() {
			t.Fatal("the first is not answered")
		}
		r.want(first.ResponseRecorder, 200, "ok")
		r.want(r.do("POST", q, `7:42["f"]`), 200, "ok")
		if got := c.events()[3:]; !slices.Equal(got, []string{"d", "f"}) {
			t.Errorf("events %q", got)
		}
	})
}

// Each bad payload ends its session.
func TestBadPosts(t *testing.T) {
	for _, tc := range []struct {
		version, body, contentType string
		status, code               int
	}{
		{"3", "", "", 400, wire.ClosePolicy}, {"3", "x", "", 400, wire.ClosePolicy}, {"3", "-1:2", "", 400, wire.ClosePolicy}, {"3", "99999:2", "", 400, wire.ClosePolicy},
		{"3", "2:4\xff", "", 400, wire.ClosePolicy}, {"3", strings.Repeat("1:2", MaxPackets+1), "", 400, wire.ClosePolicy}, {"3", "d=1%3A2", "application/x-www-form-urlencoded", 400, wire.ClosePolicy},
		{"3", "1:2", "application/octet-stream", 400, wire.ClosePolicy}, {"3", "\x01\x01\xff4", "application/octet-stream", 400, wire.ClosePolicy},
		{"4", "2\x1e", "", 400, wire.ClosePolicy}, {"4", "bAAAA", "", 400, wire.ClosePolicy}, {"4", "3", "application/octet-stream", 400, wire.ClosePolicy},
		{"3", strings.Repeat("x", 1001), "", 413, wire.CloseTooLarge}, {"4", "4" + strings.Repeat("x", 1000), "", 413, wire.CloseTooLarge},
		{"3", `5:42[1]`, "", 200, wire.ClosePolicy}, {"3", `4:42{}`, "", 200, wire.ClosePolicy}, {"3", `10:451-["x"]`, "", 400, wire.ClosePolicy}, {"3", `9:451-["x"]`, "", 200, wire.ClosePolicy},
	} {
		inBubble(t, func(t *testing.T, r *rig) {
			q, c := r.open(tc.version)
			w := r.do("POST", q, tc.body, "Content-Type", tc.contentType)
			if w.Code != tc.status || c.closed() != tc.code {
				t.Errorf("%.30q: %d %q, closed with %d", tc.body, w.Code, w.Body, c.closed())
			}
			if w := r.do("GET", q, ""); !strings.HasSuffix(w.Body.String(), "1") {
				t.Errorf("%.30q: poll %q", tc.body, w.Body)
			}
			r.want(r.do("GET", q, ""), 400, sidUnknown)
		})
	}
}

// A body that never ends costs no more than the time for it, and one that breaks off ends the
// session, since its packets are lost.
func TestBrokenBodies(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		for _, broken := range []bool{true, false} {
			q, c := r.open("3")
			req := httptest.NewRequest("POST", "/socket.io/?"+q, nil)
			req.Body, req.ContentLength = slowBody{}, -1
			if broken {
				req = httptest.NewRequest("POST", "/socket.io/?"+q, iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader("1:2"))))
			}
			p := r.serve(req, func() {})
			if !broken {
				time.Sleep(bodyTime + 2*time.Second)
			}
			if !p.answered() {
				t.Fatal("it is not answered")
			}
			r.want(p.ResponseRecorder, 400, badRequest)
			if c.closed() != wire.ClosePolicy {
				t.Error(c.closed())
			}
		}
	})
}

// slowBody yields a byte a second.
type slowBody struct{}

func (slowBody) Read(p []byte) (int, error) { time.Sleep(time.Second); p[0] = '1'; return 1, nil }
func (slowBody) Close() error               { return nil }

// A client that leaves sends 41, then 1, and its held poll gets a packet Noop, as recorded.
func TestLeave(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		q, _ := r.open("3")
		r.do("GET", q, "")
		poll := r.send("GET", q, "")
		r.want(r.do("POST", q, "2:41"), 200, "ok")
		if poll.answered() {
			t.Error("the poll did not wait for 1")
		}
		r.want(r.do("POST", q, "1:1"), 200, "ok")
		if !poll.answered() {
			t.Fatal("the poll is held")
		}
		r.want(poll.ResponseRecorder, 200, "1:6")

		// 1 alone.
		q, c := r.open("4")
		poll = r.send("GET", q, "")
		r.want(r.do("POST", q, "1"), 200, "ok")
		poll.answered()
		r.want(poll.ResponseRecorder, 200, "6")
		if c.closed() != wire.CloseNormal {
			t.Error(c.closed())
		}
		r.want(r.do("GET", q, ""), 400, sidUnknown)

		// 1 never comes.
		q, _ = r.open("3")
		r.do("GET", q, "")
		poll = r.send("GET", q, "")
		r.do("POST", q, "2:41")
		time.Sleep(keepTime + time.Second)
		poll.answered()
		r.want(poll.ResponseRecorder, 200, "1:6")
		r.want(r.do("POST", q, "1:1"), 400, sidUnknown)
	})
}

// What waits is sent before the end of a connection that the server closes.
func TestServerCloses(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		q, c := r.open("3")
		c.push(`42["bye"]`)
		c.Close(wire.CloseKicked, "")
		r.want(r.do("GET", q, ""), 200, `2:409:42["bye"]1:1`)
		r.want(r.do("GET", q, ""), 400, sidUnknown)

		q, c = r.open("3")
		r.do("GET", q, "")
		poll := r.send("GET", q, "")
		poll.answered()
		c.Close(wire.CloseRestart, "")
		poll.answered()
		r.want(poll.ResponseRecorder, 200, "1:1")
		r.want(r.do("POST", q, "1:2"), 400, sidUnknown)

		// Who does not come for it in time finds nothing.
		q, c = r.open("3")
		c.Close(wire.CloseIdle, "")
		r.want(r.do("POST", q, "1:2"), 400, sidUnknown)
		time.Sleep(keepTime + time.Second)
		r.want(r.do("GET", q, ""), 400, sidUnknown)
	})
}

// Sessions without a connection are kept in a bounded number.
func TestKeptSessions(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		for range maxKept + 10 {
			_, c := r.open("3")
			c.Close(wire.CloseIdle, "")
		}
		if synctest.Wait(); r.e.Sessions() != maxKept {
			t.Errorf("%d sessions", r.e.Sessions())
		}
	})
}
