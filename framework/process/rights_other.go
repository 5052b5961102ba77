//go:build !unix

package process

import (
	"net"
	"os"
)

// inbox reads the control channel.
type inbox struct{ net.Conn }

func newInbox(conn net.Conn) *inbox { return &inbox{conn} }

func (in *inbox) pop(int) ([]*os.File, error) { return nil, nil }
func (in *inbox) close()                      {}

func writeFiles(conn net.Conn, b []byte, files []*os.File) (int, error) {
	if len(files) > 0 {
		return 0, errPlatform
	}
	return conn.Write(b)
}

func socketPair(string) (a, b *os.File, err error) { return nil, nil, errPlatform }
