package gateway

import (
	"context"
	"fmt"
	"net"
	"slices"
	"testing"
)

// Commands on connections of their own are executed in the order in which PHP sends them, and so is
// a question behind them.
func TestOneCommandEach(t *testing.T) {
	b := newFake(1)
	in := NewInner(InnerConfig{Commands: &Commands{Backend: b}, Secret: "s"})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- in.Run(ctx, l) }()
	dial := func(frames ...Frame) net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		bytes := AppendFrame(nil, Frame{Command: cmdGatewayClientConnect, Flag: FlagBytes, Body: []byte(`{"secret_key":"s"}`)})
		for _, f := range frames {
			bytes = AppendFrame(bytes, f)
		}
		if _, err := conn.Write(bytes); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	var want []string
	silent, err := net.Dial("tcp", l.Addr().String()) // keeps nobody waiting
	if err != nil {
		t.Fatal(err)
	}
	kept := dial() // nor does one that has only introduced itself
	for i := range 300 {
		text := fmt.Sprint(i)
		if i%3 == 0 {
			text += string(make([]byte, 100<<10))
		}
		want = append(want, text)
		_ = dial(Frame{Command: cmdSendToOne, Connection: 1, Flag: FlagBytes, Body: []byte(text)}).Close()
		if i%10 == 0 {
			uid := fmt.Sprint("u", i)
			_ = dial(Frame{Command: cmdBindUID, Connection: 1, Flag: FlagBytes, Ext: []byte(uid)}).Close()
			c := dial(Frame{Command: cmdClientsByUID, Flag: FlagBytes, Ext: []byte(uid)})
			const answer = "\x00\x00\x00\x0ea:1:{i:0;i:1;}"
			got := make([]byte, len(answer))
			if n, err := c.Read(got); string(got[:n]) != answer {
				t.Fatalf("%d: %q, %v", i, got[:n], err)
			}
			_ = c.Close()
		}
	}
	for _, c := range []net.Conn{silent, kept} {
		_ = c.Close()
	}
	last := dial(Frame{Command: cmdIsOnline, Connection: 1, Flag: FlagBytes})
	if _, err := last.Read(make([]byte, 1)); err != nil {
		t.Error(err)
	}
	_ = last.Close()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	var got []string
	for _, m := range b.clients[0].got {
		got = append(got, string(m.Payload))
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d messages of %d, or in another order", len(got), len(want))
	}
}
