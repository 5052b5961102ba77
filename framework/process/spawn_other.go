//go:build !unix

package process

import (
	"errors"
	"net"
	"os"
	"os/exec"
)

var errPlatform = errors.New("the server runs on Linux, macOS and other Unix systems; on Windows use WSL")

func socketFile(*net.TCPListener) (*os.File, error) { return nil, errPlatform }
func inheritConn(int) (net.Conn, error)             { return nil, errPlatform }
func inheritListener(int) (net.Listener, error)     { return nil, errPlatform }
func (w *workers) spawn([]string) (*child, error)   { return nil, errPlatform }
func lock(string) (*os.File, error)                 { return nil, errPlatform }

// Running is false: no server runs here.
func Running(string) bool { return false }

// Detach does nothing here.
func Detach(*exec.Cmd) {}
