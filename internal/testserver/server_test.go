//go:build e2e && unix

package testserver

import (
	"io"
	"net/http"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRedis(t *testing.T) {
	s := StartRedis(t)
	pid := s.PID()
	s.Freeze()
	if err := s.ask(); err == nil {
		t.Error("a frozen one answers")
	}
	s.Thaw()
	if err := s.wait(); err != nil {
		t.Error(err)
	}
	s.Kill()
	if err := s.ask(); err == nil {
		t.Error("a killed one answers")
	}
	s.Restart()
	if s.PID() == pid {
		t.Error("the pid is the old one's")
	}
}

func TestNginx(t *testing.T) {
	s := StartNginx(t, func(addr string) string { return "server { listen " + addr + "; return 200 hello; }" })
	c := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := c.Get("http://" + s.Addr + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if b, err := io.ReadAll(r.Body); err != nil || string(b) != "hello" {
		t.Errorf("%q, %v", b, err)
	}
}
