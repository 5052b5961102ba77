package console

import (
	"flag"
	"fmt"
	"io"
	"time"

	"wsframe/library/log"
)

// console is one call of the command.
type console struct {
	program  Program
	out, err io.Writer // escape what they are given
	env      []string
	stdio    *log.Stdio // of a server's processes; nil in other commands

	flags *flag.FlagSet

	// their values
	command   string
	daemon    bool
	graceful  bool
	check     bool
	json      bool
	legacy    bool
	host      string
	port      int
	configDir string
	text      string
	userType  string
	id        string
	code      string
	nickname  string
}

// guard makes this process independent of those who read what it prints.
func (c *console) guard() {
	c.stdio = log.Guard()
	c.out, c.err = c.stdio.Out, c.stdio.Err
}

// flush gives a reader a moment for the last lines.
func (c *console) flush() {
	if c.stdio != nil {
		c.stdio.Close(time.Second)
	}
}

func (c *console) report(err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(c.err, sayer+err.Error())
	return 1
}

// sayer begins the line that says why a command has failed.
const sayer = "console: "
