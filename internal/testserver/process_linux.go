package testserver

import "syscall"

// attributes let a server die with the test, also where the test is killed before its clean-up.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
