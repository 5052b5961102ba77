package console

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
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
	commands := commandsOf(p, o, env, out)
	if errors.Is(err, flag.ErrHelp) {
		return out.report(commands.help(o, o.command))
	}
	c := commands.find(o.command)
	if err == nil && c == nil {
		err = errors.New(commands.unknown(o.command))
	}
	if err == nil {
		err = o.accept(c)
	}
	if err != nil {
		fmt.Fprintln(out.err, failed+err.Error())
		return 2
	}
	return out.report(c.run(ctx))
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

// command is one command: what it does, and what help says of it.
type command struct {
	name  string
	usage string   // what stands behind the name, such as [-d]
	text  string   // one line for the list of all commands
	more  string   // further lines of its own help, or ""
	flags []string // the names of its flags, besides everywhere
	words int      // how many words it takes besides its flags
	alone bool     // it has nothing to do with a server: help leaves out the flags everywhere
	run   func(context.Context) error
}

// commandsOf wires the parts of the command, and lists the commands in the order of the help text.
func commandsOf(p Program, o *options, env []string, out *output) *commands {
	list := &commands{out: out.out}
	list.groups = []group{
		{"A server", serverCommands(p, o, env, out)},
		{"Development", developmentCommands(p, o, env, out)},
		{"A project of your own", projectCommands(p, o, env, out)},
		{"This program", []*command{
			{name: "version", text: "the versions of this program and of its framework", alone: true, run: func(context.Context) error { return showVersion(p, out.out) }},
			{name: "docs", usage: "[-p PORT]", text: "serve the framework's documents on this machine", more: "Without -p, a free port is taken.",
				flags: []string{"p"}, alone: true, run: func(ctx context.Context) error { return serveDocs(ctx, p, o.port, out) }},
			{name: "help", usage: "[COMMAND]", text: "what a command does; without COMMAND: this text", words: 1, alone: true,
				run: func(context.Context) error { return list.help(o, o.word()) }},
			{name: "completion", usage: "bash|zsh|fish", text: "a script with which the shell completes commands", more: completionHelp, words: 1, alone: true,
				run: func(context.Context) error { return list.complete(o) }},
		}},
	}
	return list
}

// serverCommands start, operate and observe a server.
func serverCommands(p Program, o *options, env []string, out *output) []*command {
	settings := &settings{o.configDir, env}
	remote := &remote{settings, out, o.host, o.port}
	lists := &lists{remote, out, o.json}
	operator := &operator{remote, out}
	starter := &starter{p, settings, out}
	daemon := &daemon{settings, out}
	restarter := &restarter{settings, operator, daemon, out}
	tokens := &tokenIssuer{settings, remote, out, o.legacy}
	start := func(ctx context.Context) error {
		if o.daemon {
			return daemon.start()
		}
		return starter.start(ctx)
	}
	say := func(ctx context.Context) error { return operator.say(ctx, o.subject()) }
	token := func(ctx context.Context) error {
		return tokens.issue(ctx, auth.Identity{ID: o.id, Type: o.userType, Code: o.code, Nickname: o.nickname})
	}
	return []*command{
		{name: "start", usage: "[-d]", text: "start the server; -d: in the background", flags: []string{"d"}, run: start},
		{name: "stop", usage: "[-g]", text: "stop it; -g: with the whole grace time for the clients", flags: []string{"g"},
			run: func(ctx context.Context) error { return operator.stop(ctx, o.graceful) }},
		{name: "restart", text: "stop -g, then start -d", run: restarter.restart},
		{name: "reload", usage: "[-check]", text: "replace the worker by the binary and the configuration now on disk", flags: []string{"check"},
			more: "Every connection moves to the new worker and stays open. With -check, the new worker is only\nexamined, and what would change is printed.",
			run:  func(ctx context.Context) error { return operator.reload(ctx, o.check) }},
		{name: "status", usage: "[-json]", text: "what it is doing", flags: []string{"json"}, run: lists.status},
		{name: "connections", usage: "[-json]", text: "who is connected", flags: []string{"json"}, run: lists.connections},
		{name: "nodes", usage: "[-json]", text: "the servers that share its Redis", flags: []string{"json"}, run: lists.nodes},
		{name: "say", usage: "-i TEXT", text: "send a text to every client", flags: []string{"i"}, words: 1, run: say},
		{name: "token", usage: "-type T -id ID -code C -nickname N [-3des]", text: "issue a token; it is the last line",
			flags: []string{"type", "id", "code", "nickname", "3des"}, run: token},
		{name: "checkconfig", text: "check the configuration and show it", run: func(context.Context) error { return settings.show(out.out) }},
	}
}

// developmentCommands are for the work at an application.
func developmentCommands(p Program, o *options, env []string, out *output) []*command {
	settings := &settings{o.configDir, env}
	developer := &developer{settings: settings, remote: &remote{settings, out, o.host, o.port}, out: out}
	return []*command{
		{name: "routes", text: "what clients can call", run: func(ctx context.Context) error { return showRoutes(ctx, p, out.out) }},
		{name: "types", usage: "[-asyncapi]", text: "the types of what clients send and get, in TypeScript", flags: []string{"asyncapi"},
			more: "The declaration is written to the output: console types > contract.d.ts. With -asyncapi, it is an\nAsyncAPI 3 document.",
			run:  func(ctx context.Context) error { return showTypes(ctx, p, o.asyncapi, out.out) }},
		{name: "dev", text: "start, and rebuild and reload when files change", run: developer.run},
	}
}
