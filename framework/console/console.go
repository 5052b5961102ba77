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
	"time"

	"wsframe/framework/process"
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

const usage = `console -s COMMAND [options]

  start [-d]           start the server; -d: in the background
  stop [-g]            stop it; -g: with the whole grace time for the clients
  restart              stop -g, then start -d
  reload [-check]      replace the worker by the binary and config now on disk; -check: only examine
  status [-json]       what it is doing
  connections [-json]  who is connected
  nodes [-json]        the servers that share its Redis
  say -i TEXT          send a text to every client
  token -type T -id ID -code C -nickname N [-3des]
                       issue a token; it is the last line
  routes               what clients can call
  checkconfig          check the configuration and show it
  dev                  start, and rebuild and reload when files change
  version              the version of this program
  help                 this text

options:
`

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
			err = runWorker(ctx, c.program, w, c.configDir, env)
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

// oneLine puts an error of several lines on one.
func oneLine(err error) error {
	if err == nil || !strings.Contains(err.Error(), "\n") {
		return err
	}
	return errors.New(strings.ReplaceAll(err.Error(), "\n", "; "))
}

func (c *console) version(context.Context) error {
	fmt.Fprintln(c.out, "wsframe", c.program.Version)
	return nil
}

func (c *console) help(context.Context) error {
	fmt.Fprint(c.out, usage)
	c.flags.SetOutput(c.out)
	c.flags.PrintDefaults()
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

// words are the commands that are given without -s too, as users of other programs do.
func words(args []string) []string {
	if len(args) == 0 {
		return args
	}
	switch args[0] {
	case "help", "version":
		return append([]string{"-s"}, args...)
	case "-version", "--version", "-v":
		return []string{"-s", "version"}
	}
	return args
}

func (c *console) parse(args []string) error {
	f := flag.NewFlagSet("console", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	c.flags = f
	f.StringVar(&c.command, "s", "", "what to do")
	f.BoolVar(&c.daemon, "d", false, "in the background")
	f.BoolVar(&c.graceful, "g", false, "with the whole grace time")
	f.BoolVar(&c.check, "check", false, "only examine the new worker")
	f.BoolVar(&c.json, "json", false, "for programs")
	f.BoolVar(&c.legacy, "3des", false, "the original's token form")
	f.StringVar(&c.host, "h", "", "the manager's `host`; default: from the config")
	f.IntVar(&c.port, "p", 0, "the manager's `port`; default: from the config")
	f.StringVar(&c.configDir, "c", "config", "config `directory`")
	f.StringVar(&c.text, "i", "", "the `text` to say")
	f.StringVar(&c.userType, "type", "wechatUser", "user `type`: wechatUser, wall, …")
	f.StringVar(&c.id, "id", "", "user `id`")
	f.StringVar(&c.code, "code", "", "room `code`")
	f.StringVar(&c.nickname, "nickname", "", "`name` to show")
	err := f.Parse(words(args))
	switch {
	case errors.Is(err, flag.ErrHelp):
		_ = c.help(context.Background()) // it has no error
		return err
	case err != nil:
		return err
	case f.NArg() > 0 && c.command == "":
		return fmt.Errorf("commands are given with -s: console -s %s", f.Arg(0))
	case f.NArg() > 0:
		return fmt.Errorf("unexpected %q", strings.Join(f.Args(), " "))
	case c.command == "":
		return errors.New("what to do? console -s start; console help shows all")
	}
	return nil
}
