//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// again restarts the server with its runtime directory.
func (s *server) again() {
	s.t.Helper()
	until(s.t, "the last worker has ended", func() bool {
		c, err := net.DialTimeout("tcp", s.outside, time.Second)
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	s.out, s.ended = &lockedBuffer{}, make(chan struct{})
	s.serve(console)
}

func (s *server) stop() {
	s.t.Helper()
	s.ok("-s", "stop")
	<-s.ended
}

func (s *server) kill() {
	s.t.Helper()
	_ = s.cmd.Process.Kill()
	<-s.ended
}

// The embedded store survives stops, kill -9, and a move of the runtime directory.
func TestStoreOutlives(t *testing.T) {
	s := start(t, "WSFRAME_APP_LIMITS_STOP_GRACE=1s", "WSFRAME_APP_PRESENCE_ROOMS=LIVE_USER_ROOM_*")
	given := map[int64]bool{}
	enter := func(id string) *peer {
		t.Helper()
		c := s.client("")
		p := s.user(c, id)
		list, err := c.Connections(t.Context(), 0, 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range list {
			if l.Auth.ID != id {
				continue
			}
			if given[l.FD] {
				t.Errorf("connection number %d is given again, to %s", l.FD, id)
			}
			given[l.FD] = true
		}
		return p
	}
	order := func() {
		t.Helper()
		param := map[string]any{"room": "R", "event": "ordered", "keep": 100, "age_seconds": 3600}
		if err := s.client("").CallOnce(t.Context(), "order-1", "sendToRoom", param, nil); err != nil {
			t.Fatal(err)
		}
	}
	history := func() (epoch string, offset int64) {
		t.Helper()
		h, err := s.client("").History(t.Context(), "R", 0, 100)
		if err != nil {
			t.Fatal(err)
		}
		return h.Epoch, h.Offset
	}
	queued := func() {
		t.Helper()
		wall := dial(t, s.outside, s.token("wall", "w1"))
		wall.send(`{"method":"live.wall.history","type":"user"}`)
		wall.want("请审核")
		_ = wall.ws.CloseNow()
	}

	p := enter("1")
	p.send(`{"method":"live.user.say","say":"请审核"}`)
	p.want("userSaySuccess")
	_ = p.ws.CloseNow()
	order()
	epoch, offset := history()
	if epoch == "" || offset != 1 {
		t.Fatalf("the history is at %q %d", epoch, offset)
	}
	for i := range 3 {
		s.stop()
		s.again()
		if strings.Contains(s.out.String(), "in order") {
			t.Errorf("after a stop it says\n%s", s.out)
		}
		order()
		queued()
		if e, o := history(); e != epoch || o != 1 {
			t.Errorf("after stop %d the history is at %q %d, it was at %q %d", i, e, o, epoch, 1)
		}
		_ = enter(fmt.Sprint("after", i)).ws.CloseNow()
	}

	seven := enter("7")
	seven.send(`{"method":"live.user.join"}`)
	seven.want("userJoinSuccess")
	saved := func() bool { // the last entry of the journal
		b, err := os.ReadFile(filepath.Join(s.dir, "store", "store"))
		return err == nil && strings.Contains(string(b), "WSFRAME_PRESENT_LIVE_USER_ROOM_A")
	}
	until(t, "who is there is on the disk", saved)
	s.kill()
	moved := filepath.Join(t.TempDir(), "moved")
	until(t, "the worker has ended with its master", func() bool { return !dials(s.outside) && os.Rename(s.dir, moved) == nil })
	s.dir = moved
	s.env = append(s.env, "WSFRAME_APP_RUNTIME_DIR="+moved)
	s.again()
	if n := strings.Count(s.out.String(), "did not stop in order"); n != 1 {
		t.Errorf("a kill is told %d times\n%s", n, s.out)
	}
	order()
	queued()
	e, o := history()
	if e == epoch || o != 1 {
		t.Errorf("after a kill the history is at %q %d, it was at %q %d", e, o, epoch, 1)
	}
	eight := enter("8")
	eight.send(`{"method":"live.user.join"}`)
	eight.wantPush("roomLeave", `"7"`)
	seven = enter("7")
	seven.send(`{"method":"live.user.join"}`)
	eight.wantPush("roomJoin", `"7"`)
	wantPrivate(t, s.dir)
}

// wantPush reads until a push of an event contains part.
func (p *peer) wantPush(event, part string) {
	p.t.Helper()
	for {
		text, err := p.receive()
		if err != nil {
			p.t.Fatalf("no %s with %s comes: %v", event, part, err)
		}
		var push struct {
			Event string
			Param json.RawMessage
		}
		if err := json.Unmarshal([]byte(text), &push); err == nil && push.Event == event && strings.Contains(string(push.Param), part) {
			return
		}
	}
}

func dials(addr string) bool {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err == nil {
		_ = c.Close()
	}
	return err == nil
}

// wantPrivate checks that only the owner can access the runtime directory and the files in it.
func wantPrivate(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A second start does not touch the file of the running server. An unreadable file is set aside,
// and its name is reported.
func TestStoreFile(t *testing.T) {
	s := start(t)
	path := filepath.Join(s.dir, "store", "store")
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, errs, code := s.run("-s", "start"); code == 0 || !strings.Contains(errs, "already runs") {
		t.Errorf("a second start ends with %d: %s", code, errs)
	}
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
		t.Errorf("the file is another one: %v", err)
	}
	s.stop()
	if err := os.WriteFile(path, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.again()
	aside, _ := filepath.Glob(path + ".damaged-*")
	if len(aside) != 1 || strings.Count(s.out.String(), aside[0]) != 1 {
		t.Errorf("aside: %v\n%s", aside, s.out)
	}
	if b, err := os.ReadFile(aside[0]); err != nil || string(b) != "garbage" {
		t.Errorf("%q, %v", b, err)
	}
	wantPrivate(t, s.dir)
}
