package main

import (
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// allowed lists the cores on which this process may run.
func allowed() (list []int) {
	var set unix.CPUSet
	if unix.SchedGetaffinity(0, &set) != nil {
		return nil
	}
	for i := range 1024 {
		if set.IsSet(i) {
			list = append(list, i)
		}
	}
	return list
}

// execOn becomes another program, whose threads all run on the given cores.
func execOn(list, args []string) error {
	runtime.LockOSThread() // the thread that calls exec is the only one that remains
	var set unix.CPUSet
	for _, core := range list {
		set.Set(number(core))
	}
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return err
	}
	path, err := exec.LookPath(args[0])
	if err != nil {
		return err
	}
	return syscall.Exec(path, args, os.Environ())
}
