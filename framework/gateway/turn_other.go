//go:build !linux

package gateway

import (
	"net"
	"syscall"
)

func rawConn(net.Conn) syscall.RawConn { return nil }

func (t *turn) read(conn net.Conn, b []byte) (int, error) { return conn.Read(b) }

func (t *turn) pending() uint64 { return 0 }
