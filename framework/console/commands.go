package console

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"wsframe/framework/internal/boot"
	"wsframe/framework/process"
	"wsframe/library/log"
)

// Run is Main without the process: it takes what a process is given and returns its exit code: 0, 1 where the command has failed, 2 where
// the command line was wrong.
func Run(ctx context.Context, p Program, args, env []string, stdout, stderr io.Writer) int {
	c := &console{program: p.withDefaults(), out: log.Escaped(stdout), err: log.Escaped(stderr), env: env}
	defer c.flush()
	if w, is, err := process.FromEnv(); is {
		c.guard()
		if err == nil {
			err = c.parse(args)
		}
		if err == nil {
			signal.Ignore(os.Interrupt, syscall.SIGHUP) // they are the master's
			err = boot.Run(ctx, c.program.boot(), w, c.configDir, env)
		}
		return c.report(err)
	}
	if err := c.parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		fmt.Fprintln(c.err, "console:", err)
		return 2
	}
	commands := map[string]func(context.Context) error{
		"start": c.start, "stop": c.stop, "restart": c.restart, "reload": c.reload, "status": c.status, "connections": c.connections, "nodes": c.nodes,
		"say": c.say, "token": c.token, "routes": c.routes, "checkconfig": c.checkConfig, "dev": c.dev, "version": c.version, "help": c.help,
	}
	f := commands[c.command]
	if f == nil {
		fmt.Fprintln(c.err, "console:", unknown(c.command, slices.Sorted(maps.Keys(commands))))
		return 2
	}
	return c.report(f(ctx))
}

func (c *console) version(context.Context) error {
	fmt.Fprintln(c.out, "wsframe", c.program.Version)
	return nil
}

// unknown says what a command that is none may have been meant to be.
func unknown(command string, known []string) string {
	text := fmt.Sprintf("unknown command %q", command)
	for _, k := range known {
		if near(command, k) {
			text += fmt.Sprintf("; did you mean console -s %s?", k)
			break
		}
	}
	return text + "; console help shows all"
}

// near tells whether two words differ by one letter, or one begins the other, or two letters changed places.
func near(a, b string) bool {
	a = strings.ToLower(a)
	if len(a) >= 2 && (strings.HasPrefix(b, a) || strings.HasPrefix(a, b)) {
		return true
	}
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	return len(a) <= 1 && len(b) <= 1 || len(a) == 2 && len(b) == 2 && a[0] == b[1] && a[1] == b[0]
}
