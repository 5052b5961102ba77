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

	"wsframe/framework/auth"
	"wsframe/framework/internal/boot"
	"wsframe/framework/process"
)

// Main does what the arguments of this process say, and ends the process.
func Main(p Program) {
	os.Exit(Run(context.Background(), p, os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// Run is Main for a given command line, environment and output. It returns the exit code: 0, 1
// where the command has failed, 2 where the command line is wrong.
func Run(ctx context.Context, p Program, args, env []string, stdout, stderr io.Writer) int {
	p = p.withDefaults()
	out := newOutput(stdout, stderr)
	defer out.flush()
	if w, is, err := process.FromEnv(); is {
		out.guard()
		if err == nil {
			err = runWorker(ctx, p, w, args, env)
		}
		return out.report(err)
	}
	o, err := parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		o.help(out.out)
		return 0
	case err != nil:
		fmt.Fprintln(out.err, "console:", err)
		return 2
	}
	commands := commandsOf(p, o, env, out)
	f := commands[o.command]
	if f == nil {
		fmt.Fprintln(out.err, "console:", unknown(o.command, slices.Sorted(maps.Keys(commands))))
		return 2
	}
	return out.report(f(ctx))
}

// runWorker is the process that the master has started.
func runWorker(ctx context.Context, p Program, w *process.Worker, args, env []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	signal.Ignore(os.Interrupt, syscall.SIGHUP) // the master handles them
	return boot.Run(ctx, p.boot(), w, o.configDir, env)
}

// commandsOf wires the parts of the command and returns the commands by name.
func commandsOf(p Program, o *options, env []string, out *output) map[string]func(context.Context) error {
	settings := &settings{o.configDir, env}
	remote := &remote{settings, out, o.host, o.port}
	lists := &lists{remote, out, o.json}
	operator := &operator{remote, out}
	starter := &starter{p, settings, out}
	daemon := &daemon{settings, out}
	restarter := &restarter{settings, operator, daemon, out}
	tokens := &tokenIssuer{settings, remote, out, o.legacy}
	developer := &developer{settings: settings, remote: remote, out: out}
	id := auth.Identity{ID: o.id, Type: o.userType, Code: o.code, Nickname: o.nickname}
	return map[string]func(context.Context) error{
		"start": func(ctx context.Context) error {
			if o.daemon {
				return daemon.start()
			}
			return starter.start(ctx)
		},
		"stop":        func(ctx context.Context) error { return operator.stop(ctx, o.graceful) },
		"restart":     restarter.restart,
		"reload":      func(ctx context.Context) error { return operator.reload(ctx, o.check) },
		"say":         func(ctx context.Context) error { return operator.say(ctx, o.text) },
		"status":      lists.status,
		"connections": lists.connections,
		"nodes":       lists.nodes,
		"token":       func(ctx context.Context) error { return tokens.issue(ctx, id) },
		"routes":      func(ctx context.Context) error { return showRoutes(ctx, p, out.out) },
		"checkconfig": func(context.Context) error { return settings.show(out.out) },
		"dev":         developer.run,
		"version":     func(context.Context) error { fmt.Fprintln(out.out, "wsframe", p.Version); return nil },
		"help":        func(context.Context) error { o.help(out.out); return nil },
	}
}

// unknown returns the error text of an unknown command, with the known command that is most like
// it.
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

// near tells whether two words differ by one letter or by two letters that changed places, or one
// begins with the other.
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
