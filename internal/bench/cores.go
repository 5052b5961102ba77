package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// cores says where servers and clients run: lists of cores such as "0" or "1,2", or "" for all.
type cores struct{ servers, clients string }

// apart gives the servers the first core of this process and the clients the last one. On a single
// core, both share it.
func apart() cores {
	list := allowed()
	if len(list) < 2 {
		return cores{}
	}
	return cores{fmt.Sprint(list[0]), fmt.Sprint(list[len(list)-1])}
}

// onCores is a command that runs on some cores only. Its children inherit them.
func onCores(list, name string, args ...string) *exec.Cmd {
	if list == "" {
		return exec.Command(name, args...)
	}
	return exec.Command(os.Args[0], append([]string{"-role", "pinned", list, name}, args...)...)
}

// pinned replaces this process with a command on some cores.
func pinned(args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("pinned: %q", args)
	}
	return execOn(strings.Split(args[0], ","), args[1:])
}
