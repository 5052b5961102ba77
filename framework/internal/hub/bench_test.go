package hub

import (
	"bufio"
	"net"
	"net/http"
	"testing"

	"github.com/lxzan/gws"
)

// gwsEcho is the reference: a bare gws server that echoes, in the hub's process.
type gwsEcho struct{ gws.BuiltinEventHandler }

func (gwsEcho) OnMessage(c *gws.Conn, m *gws.Message) {
	defer m.Close()
	_ = c.WriteMessage(m.Opcode, m.Bytes())
}

func gwsServer(b *testing.B) net.Listener {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	up := gws.NewUpgrader(gwsEcho{}, &gws.ServerOption{CheckUtf8Enabled: true, Recovery: gws.Recovery})
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				br := bufio.NewReaderSize(nc, 4096)
				r, err := http.ReadRequest(br)
				if err != nil {
					return
				}
				if c, err := up.UpgradeFromConn(nc, br, r); err == nil {
					c.ReadLoop()
				}
			}()
		}
	}()
	b.Cleanup(func() { _ = ln.Close() })
	return ln
}

// BenchmarkEcho measures one request and reply at a time on one connection. The client's part is
// the same for both servers.
func BenchmarkEcho(b *testing.B) {
	payload := []byte(`{"method":"index.index.index"}`)
	run := func(b *testing.B, s *server) {
		c := s.dial()
		out := frameBytes(0x81, payload)
		in := make([]byte, 2+len(payload))
		b.ResetTimer()
		for b.Loop() {
			if _, err := c.nc.Write(out); err != nil {
				b.Fatal(err)
			}
			if _, err := c.nc.Read(in); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("gws", func(b *testing.B) {
		run(b, &server{t: b, ln: gwsServer(b)})
	})
	b.Run("hub", func(b *testing.B) {
		run(b, serve(b, Config{MessageRate: 1 << 30}))
	})
}
