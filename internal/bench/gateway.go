package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"wsframe/framework/gateway"
)

// Numbers of commands of GatewayWorker's inner port.
const (
	sendToOne     = 5
	joinGroup     = 20
	sendToGroup   = 22
	workerConnect = 200
)

// worker is a BusinessWorker that joins each client in a group, echoes its messages, and publishes
// to the group on the message of publishing. It ends with the connection.
type worker struct {
	conn net.Conn
	mu   sync.Mutex
	out  []byte // frames that are collected until everything that was read is handled
}

// workerRole connects to an inner port, and prints the address as a server does.
func workerRole(inner string) error {
	conn, err := net.Dial("tcp", inner)
	if err != nil {
		return err
	}
	w := &worker{conn: conn}
	w.send(gateway.Frame{Command: workerConnect, Body: []byte(`{"worker_key":"bench","secret_key":""}`)})
	w.flush()
	fmt.Println(inner)
	head := make([]byte, 28)
	buf := make([]byte, 64<<10)
	in := &counted{r: conn}
	for {
		if _, err := io.ReadFull(in, head); err != nil {
			return err
		}
		rest := buf[:binary.BigEndian.Uint32(head)-28]
		if _, err := io.ReadFull(in, rest); err != nil {
			return err
		}
		w.handle(gateway.Command(head[4]), binary.BigEndian.Uint32(head[17:]), rest[binary.BigEndian.Uint32(head[24:]):])
		if in.empty() {
			w.flush()
		}
	}
}

func (w *worker) handle(event gateway.Command, client uint32, body []byte) {
	switch event {
	case gateway.EventConnect:
		w.send(gateway.Frame{Command: joinGroup, Connection: client, Ext: []byte("hall")})
	case gateway.EventMessage:
		if word, n := command(string(body)); word == "PUBLISH" && len(n) == 3 {
			go publishing(n[0], n[1], time.Duration(n[2])*time.Microsecond, func() {
				w.send(gateway.Frame{Command: sendToGroup, Ext: []byte(`{"group":["hall"],"exclude":null}`), Body: payload})
				w.flush()
			})
			return
		}
		w.send(gateway.Frame{Command: sendToOne, Connection: client, Body: body})
	}
}

func (w *worker) send(f gateway.Frame) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f.Flag = gateway.FlagBytes
	w.out = gateway.AppendFrame(w.out, f)
}

func (w *worker) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, _ = w.conn.Write(w.out) // reading fails as well
	w.out = w.out[:0]
}

// counted reads through a buffer.
type counted struct {
	r   io.Reader
	buf bytes.Reader
	b   [64 << 10]byte
}

func (c *counted) empty() bool { return c.buf.Len() == 0 }

func (c *counted) Read(p []byte) (int, error) {
	if c.empty() {
		n, err := c.r.Read(c.b[:])
		if err != nil {
			return 0, err
		}
		c.buf.Reset(c.b[:n])
	}
	return c.buf.Read(p)
}

// estate is a server whose clients of one port are a BusinessWorker's, and whose others are those of
// Go controllers.
type estate struct {
	*stage
	worker *process
	php    process // the server with the address of the worker's clients
}

func (b *bench) estate(env ...string) (*estate, error) {
	var ports [3]int
	for i := range ports {
		var err error
		if ports[i], err = freePort(); err != nil {
			return nil, err
		}
	}
	s, err := b.stage(1, append(env, "WSFRAME_APP_GATEWAY_ENABLED=true", "WSFRAME_APP_GATEWAY_PORT="+strconv.Itoa(ports[0]),
		"WSFRAME_APP_GATEWAY_REGISTER_PORT="+strconv.Itoa(ports[1]), "WSFRAME_APP_GATEWAY_START_PORT="+strconv.Itoa(ports[2]))...)
	if err != nil {
		return nil, err
	}
	e := &estate{stage: s, php: *s.nodes[0]}
	e.php.addr = fmt.Sprint("127.0.0.1:", ports[0])
	e.php.path = func(int) (string, error) { return "/", nil }
	if e.worker, err = startServer(onCores(b.cores.clients, os.Args[0], "-role", "worker", fmt.Sprint("127.0.0.1:", ports[2]))); err != nil {
		e.stop()
		return nil, err
	}
	return e, nil
}

func (e *estate) stop() {
	if e.worker != nil {
		e.worker.stop()
	}
	for _, node := range e.nodes {
		node.stop()
	}
}

// workerEcho measures G1: a message that a BusinessWorker echoes, and a request to a Go controller.
func (b *bench) workerEcho() error {
	e, err := b.estate()
	if err != nil {
		return err
	}
	defer e.stop()
	php, err := gather(1000, "", &e.php)
	if err != nil {
		return err
	}
	defer php.leave()
	own, err := gather(1000, "", e.nodes[0])
	if err != nil {
		return err
	}
	defer own.leave()
	run := func(c *crowd) func() (load, error) {
		return func() (load, error) { return c.pace(5000, b.length, question, 0, "") }
	}
	return b.versus("G1 request and reply, 5,000/s, 1,000 connections", "worker", "controller", "µs CPU",
		func() (float64, error) { return e.php.each(run(php)) }, func() (float64, error) { return e.nodes[0].each(run(own)) })
}

// workerGroup measures G2: a message to a group by a BusinessWorker, and to a room by a Go controller.
func (b *bench) workerGroup() error {
	e, err := b.estate()
	if err != nil {
		return err
	}
	defer e.stop()
	const members = 1000
	count := int(b.length.Seconds() * 50)
	deliver := func(s *process, hello, text string) func() (float64, error) {
		return func() (float64, error) {
			c, err := gather(members, hello, s)
			if err != nil {
				return 0, err
			}
			defer c.leave()
			return s.each(func() (load, error) {
				_, err := c.run(count, text)
				return load{count: count * members}, err
			})
		}
	}
	return b.versus("G2 delivery, 1,000 members, 50 messages a second", "command 22", "SendToRoom", "µs CPU",
		deliver(&e.php, question, fmt.Sprintf("PUBLISH %d 1 20000", count)),
		deliver(e.nodes[0], `{"method":"stage.join","room":"hall"}`, fmt.Sprintf(`{"method":"stage.publish","room":"hall","count":%d,"burst":1,"every":20000,"push":%s}`, count, param)))
}
