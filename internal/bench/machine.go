package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const tick = 10 * time.Millisecond // of the times in /proc

// machine is the state of the whole machine at a moment.
type machine struct {
	at        time.Time
	busy, own time.Duration
}

func watch() machine { return machine{time.Now(), busy(), descendants(os.Getpid())} }

// foreign is the share of a core that programs which this process has not started used since then.
// The work of the kernel that belongs to no process counts as foreign, too.
func (m machine) foreign() float64 {
	now := watch()
	return ((now.busy - m.busy) - (now.own - m.own)).Seconds() / now.at.Sub(m.at).Seconds()
}

// busy is the time that all cores together have worked since the system's start, without
// interrupts, which our own traffic causes.
func busy() (total time.Duration) {
	stat, _ := os.ReadFile("/proc/stat")
	first, _, _ := strings.Cut(string(stat), "\n")
	f := strings.Fields(first) // cpu user nice system idle …
	for _, s := range f[min(1, len(f)):min(4, len(f))] {
		total += time.Duration(number(s)) * tick
	}
	return total
}

// descendants is the time that a process and all that it started have used.
func descendants(root int) (total time.Duration) {
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	type process struct {
		parent int
		used   time.Duration
	}
	all := map[int]process{}
	for _, file := range files {
		f := fieldsOf(file)
		if len(f) < 16 {
			continue // it has ended
		}
		pid := number(strings.Split(file, "/")[2])
		used := 0 // with the children that have ended
		for _, s := range f[11:15] {
			used += number(s)
		}
		all[pid] = process{number(f[1]), time.Duration(used) * tick}
	}
	for pid, p := range all {
		for at := pid; at > 1; at = all[at].parent {
			if at == root {
				total += p.used
				break
			}
		}
	}
	return total
}

// fieldsOf reads the fields of a stat file behind the program's name: state, parent, …
func fieldsOf(file string) []string {
	stat, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	return strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
}

// cpu returns the user and system time of a process, in microseconds.
func (p *process) cpu() float64 {
	total := 0
	for _, pid := range p.pids {
		if f := fieldsOf(fmt.Sprintf("/proc/%d/stat", pid)); len(f) > 13 {
			total += number(f[11]) + number(f[12])
		}
	}
	return float64((time.Duration(total) * tick).Microseconds())
}

// settle waits until a server uses less than a tenth of a core.
func (p *process) settle() {
	const look = 300 * time.Millisecond
	for range 100 {
		before := p.cpu()
		time.Sleep(look)
		if p.cpu()-before < float64(look.Microseconds())/10 {
			return
		}
	}
}

// pss returns the proportional set size in KiB.
func (p *process) pss() float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p.pids[0]))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
			v, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return v
		}
	}
	return 0
}

// childOf returns a child of a process.
func childOf(pid int) int {
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range files {
		if f := fieldsOf(file); len(f) > 1 && number(f[1]) == pid {
			return number(strings.Split(file, "/")[2])
		}
	}
	return 0
}
