package testserver

import "syscall"

// attributes end a server with the test, even if the test is killed before its clean-up.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
