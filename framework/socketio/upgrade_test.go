package socketio

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"wsframe/framework/internal/wire"
)

// upgradeOf returns the query of the WebSocket of a session that polls.
func upgradeOf(query string) string { return strings.Replace(query, "polling", "websocket", 1) }

func TestWebSocket(t *testing.T) {
	for version, want := range map[string]string{
		"3": `^0{"sid":"[0-9a-f]{24}","upgrades":\["websocket"\],"pingInterval":25000,"pingTimeout":60000}$`,
		"4": `^0{"sid":"[0-9a-f]{24}","upgrades":\[\],"pingInterval":25000,"pingTimeout":60000,"maxPayload":1000}$`,
	} {
		inBubble(t, func(t *testing.T, r *rig) {
			s := r.handshake("EIO="+version+"&transport=websocket", clientFrame(wire.OpText, "2")...)
			if !strings.Contains(s.head, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n") {
				t.Error(s.head)
			}
			frames := s.read()
			if !regexp.MustCompile(want).MatchString(frames[0]) {
				t.Errorf("%q", frames)
			}
			next := []string{"40", "3"}
			if version == "4" {
				next = next[1:]
			}
			if !slices.Equal(frames[1:], next) {
				t.Errorf("%q, want %q", frames[1:], next)
			}
			if n := r.e.Sessions(); n != 0 {
				t.Errorf("%d sessions", n)
			}
			s.send("41")
			if !s.gone() {
				t.Error("it is open")
			}
		})
	}
}

func TestRefusedHandshakes(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		q, _ := r.open("3")
		for query, want := range map[string]string{
			"EIO=3&transport=websocket&sid=xyz": sidUnknown, "EIO=3&transport=polling": badRequest, "EIO=5&transport=websocket": `{"code":5,"message":"Unsupported protocol version"}`,
			"transport=foo": `{"code":0,"message":"Transport unknown"}`, q: badRequest, strings.Replace(upgradeOf(q), "EIO=3", "EIO=4", 1): badRequest, "/other": "Not Found\n",
		} {
			s := r.handshake(query)
			s.want(want)
			if !s.gone() || strings.Contains(s.head, " 101 ") {
				t.Errorf("%s: %q", query, s.head)
			}
		}
		r.b.full = true
		if s := r.handshake("EIO=3&transport=websocket"); !s.gone() || !strings.Contains(s.head, " 503 ") {
			t.Errorf("%q", s.head)
		}
	})
}

// A held poll is released when the WebSocket is probed. What waited meanwhile comes over the
// WebSocket, once and in order.
func TestUpgrade(t *testing.T) {
	for _, version := range []string{"3", "4"} {
		inBubble(t, func(t *testing.T, r *rig) {
			q, c := r.open(version)
			if version == "3" {
				r.do("GET", q, "")
			}
			poll := r.send("GET", q, "")
			s := r.handshake(upgradeOf(q))
			if s.want(); poll.answered() {
				t.Fatal("the poll was released by a handshake")
			}
			s.send("2probe")
			s.want("3probe")
			noop := map[string]string{"3": "1:6", "4": "6"}[version]
			if !poll.answered() || poll.Body.String() != noop {
				t.Fatalf("poll %q", poll.Body)
			}
			// One that comes now is not held for long.
			poll = r.send("GET", q, "")
			time.Sleep(probeHold + time.Millisecond)
			if !poll.answered() || poll.Body.String() != noop {
				t.Fatalf("poll %q", poll.Body)
			}
			c.push(`42["a"]`)
			c.push(`42["b"]`)
			s.send("5", `42["login","u1"]`)
			s.want(`42["a"]`, `42["b"]`)
			c.push(`42["c"]`)
			s.want(`42["c"]`)
			if version == "3" && !slices.Equal(c.events(), []string{`login "u1"`}) {
				t.Errorf("%q", c.events())
			}
			r.want(r.do("GET", q, ""), 400, sidUnknown)
			r.want(r.do("POST", q, "1:1"), 400, sidUnknown)
			r.handshake(upgradeOf(q)).want(sidUnknown)
			time.Sleep(upgradeTime)
			if s.gone() {
				t.Error("the engine has closed it")
			}
			_ = s.nc.Close()
		})
	}
}

// A poll that is held while the WebSocket takes over ends with a packet Noop.
func TestUpgradeWithHeldPoll(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		q, c := r.open("3")
		r.do("GET", q, "")
		s := r.handshake(upgradeOf(q))
		s.send("2probe")
		poll := r.send("GET", q, "")
		poll.answered()
		s.send("5")
		poll.answered()
		r.want(poll.ResponseRecorder, 200, "1:6")
		c.push(`42["a"]`)
		s.want("3probe", `42["a"]`)
		_ = s.nc.Close()
	})
}

// Whatever goes wrong closes the WebSocket only: the session polls on, and may try again.
func TestFailedUpgrades(t *testing.T) {
	for name, fail := range map[string]func(s *socketClient){
		"drop after the handshake": func(s *socketClient) { _ = s.nc.Close() },
		"drop after the probe":     func(s *socketClient) { s.send("2probe"); _ = s.nc.Close() },
		"drop in a frame":          func(s *socketClient) { _, _ = s.nc.Write(clientFrame(wire.OpText, "2probe")[:3]); _ = s.nc.Close() },
		"silence":                  func(*socketClient) { time.Sleep(upgradeTime + time.Second) },
		"silence after the probe":  func(s *socketClient) { s.send("2probe"); time.Sleep(upgradeTime + time.Second) },
		"pings only": func(s *socketClient) {
			for range 100 {
				_, _ = s.nc.Write(clientFrame(wire.OpPing, "x"))
			}
		},
		"5 first":      func(s *socketClient) { s.send("5") },
		"two probes":   func(s *socketClient) { s.send("2probe", "2probe") },
		"another text": func(s *socketClient) { s.send(`42["login","u1"]`) },
		"binary":       func(s *socketClient) { _, _ = s.nc.Write(clientFrame(wire.OpBinary, "2probe")) },
		"close":        func(s *socketClient) { _, _ = s.nc.Write(clientFrame(wire.OpClose, "")) },
		"unmasked":     func(s *socketClient) { _, _ = s.nc.Write([]byte("\x81\x062probe")) },
		"fragment":     func(s *socketClient) { _, _ = s.nc.Write([]byte("\x01\x86\x00\x00\x00\x002probe")) },
		"reserved bit": func(s *socketClient) { _, _ = s.nc.Write([]byte("\xc1\x86\x00\x00\x00\x002probe")) },
		"huge":         func(s *socketClient) { _, _ = s.nc.Write([]byte("\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff")) },
	} {
		inBubble(t, func(t *testing.T, r *rig) {
			q, c := r.open("3")
			r.do("GET", q, "")
			s := r.handshake(upgradeOf(q))
			fail(s)
			if !s.gone() {
				t.Fatalf("%s: it is open", name)
			}
			if got := c.events(); len(got) > 0 || c.closed() != 0 {
				t.Errorf("%s: events %q, closed with %d", name, got, c.closed())
			}
			poll := r.send("GET", q, "")
			time.Sleep(2 * probeHold)
			if poll.answered() {
				t.Errorf("%s: polls are not held any more", name)
			}
			c.push(`42["a"]`)
			poll.answered()
			r.want(poll.ResponseRecorder, 200, `7:42["a"]`)
			s = r.handshake(upgradeOf(q))
			s.send("2probe", "5")
			s.want("3probe")
			c.push(`42["b"]`)
			s.want(`42["b"]`)
			_ = s.nc.Close()
		})
	}
}

// A second WebSocket is refused, and the first goes on.
func TestTwoUpgrades(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		q, c := r.open("3")
		r.do("GET", q, "")
		first := r.handshake(upgradeOf(q))
		first.send("2probe")
		r.handshake(upgradeOf(q)).want(badRequest)
		first.send("5")
		c.push(`42["a"]`)
		first.want("3probe", `42["a"]`)
		_ = first.nc.Close()
	})
}

// A connection that ends meanwhile takes the WebSocket with it, and so does a stop.
func TestEndDuringUpgrade(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		q, c := r.open("3")
		s := r.handshake(upgradeOf(q))
		c.Close(wire.CloseRestart, "")
		r.do("GET", q, "")
		if !s.gone() {
			t.Error("it is open")
		}
		q, _ = r.open("3")
		s = r.handshake(upgradeOf(q))
		s.send("2probe")
		r.e.Close()
		if !s.gone() {
			t.Error("it is open after a stop")
		}
		if w := r.do("GET", "EIO=3&transport=polling", ""); w.Code != 503 {
			t.Error(w.Code)
		}
	})
}

// A WebSocket cannot take over while packets of a POST are being handled.
func TestUpgradeDuringPost(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		q, c := r.open("3")
		c.block = make(chan struct{})
		post := r.send("POST", q, `7:42["d"]`)
		post.answered()
		s := r.handshake(upgradeOf(q))
		s.send("2probe", "5")
		if !s.gone() {
			t.Error("it is open")
		}
		close(c.block)
		post.answered()
		r.want(post.ResponseRecorder, 200, "ok")
	})
}
