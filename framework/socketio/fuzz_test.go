package socketio

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// FuzzRequest sends any request to an Engine that has one session. Only known answers are given,
// and no more sessions are made than connections.
func FuzzRequest(f *testing.F) {
	for _, r := range recordings(f) {
		if r.To == "server" && r.HTTP != "" {
			line, _, _ := strings.Cut(r.HTTP, "\r\n")
			parts := strings.Fields(line)
			body, form := r.body(f)
			f.Add(parts[0], parts[1], form == Binary, body)
		}
	}
	f.Add("GET", "/socket.io/?EIO=3&transport=polling&sid=SID", false, []byte{})
	f.Add("POST", "/socket.io/?EIO=4&transport=polling&sid=SID", false, []byte("40\x1e41\x1e1"))
	f.Add("POST", "/socket.io/?EIO=3&transport=polling&sid=SID", false, []byte(`2:411:1`))
	f.Add("OPTIONS", "/socket.io/?EIO=3&transport=polling&j=1", false, []byte{})
	f.Fuzz(func(t *testing.T, method, target string, binary bool, body []byte) {
		for _, version := range []string{"3", "4"} {
			b := &fakeBackend{}
			e := New(Config{Backend: b, MessageBytes: 1000})
			w := httptest.NewRecorder()
			e.ServeHTTP(w, httptest.NewRequest("GET", "/socket.io/?transport=polling&EIO="+version, nil))
			_, sid, _ := strings.Cut(w.Body.String(), `"sid":"`)
			query := strings.ReplaceAll(target, "SID", sid[:24])
			u, err := url.ParseRequestURI(query)
			if err != nil || method == "" {
				return
			}
			ctx, cancel := context.WithCancel(context.Background())
			cancel() // nothing is held
			r := (&http.Request{Method: method, URL: u, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(string(body))), ContentLength: -1}).WithContext(ctx)
			if binary {
				r.Header.Set("Content-Type", "application/octet-stream")
			}
			w = httptest.NewRecorder()
			e.ServeHTTP(w, r)
			if !slices.Contains([]int{200, 204, 400, 404, 413}, w.Code) {
				t.Errorf("%s %s: %d", method, query, w.Code)
			}
			near, far := net.Pipe()
			_ = far.SetDeadline(time.Now())
			go func() { _, _ = io.Copy(io.Discard, near); _ = near.Close() }()
			e.WebSocket(Handshake{Socket: far, Request: r, Early: body, Open: b.open})
			for _, c := range b.conns {
				c.mu.Lock()
				if c.socket != nil {
					_ = c.socket.Close()
				}
				c.mu.Unlock()
			}
			e.Close()
			if e.Sessions() > len(b.conns) {
				t.Errorf("%d sessions, %d connections", e.Sessions(), len(b.conns))
			}
		}
	})
}
