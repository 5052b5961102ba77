package console

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
)

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

// words accepts the commands that users of other programs give without -s.
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

// options are the values of the command line.
type options struct {
	flags     *flag.FlagSet
	command   string
	daemon    bool
	graceful  bool
	check     bool
	json      bool
	legacy    bool // the original's form of a token
	host      string
	port      int
	configDir string
	text      string
	userType  string
	id        string
	code      string
	nickname  string
}

// parse reads a command line. Its error is flag.ErrHelp where the help text is asked for.
func parse(args []string) (*options, error) {
	f := flag.NewFlagSet("console", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	o := &options{flags: f}
	f.StringVar(&o.command, "s", "", "what to do")
	f.BoolVar(&o.daemon, "d", false, "in the background")
	f.BoolVar(&o.graceful, "g", false, "with the whole grace time")
	f.BoolVar(&o.check, "check", false, "only examine the new worker")
	f.BoolVar(&o.json, "json", false, "for programs")
	f.BoolVar(&o.legacy, "3des", false, "the original's token form")
	f.StringVar(&o.host, "h", "", "the manager's `host`; default: from the config")
	f.IntVar(&o.port, "p", 0, "the manager's `port`; default: from the config")
	f.StringVar(&o.configDir, "c", "config", "config `directory`")
	f.StringVar(&o.text, "i", "", "the `text` to say")
	f.StringVar(&o.userType, "type", "wechatUser", "user `type`: wechatUser, wall, …")
	f.StringVar(&o.id, "id", "", "user `id`")
	f.StringVar(&o.code, "code", "", "room `code`")
	f.StringVar(&o.nickname, "nickname", "", "`name` to show")
	err := f.Parse(words(args))
	switch {
	case err != nil:
		return o, err
	case f.NArg() > 0 && o.command == "":
		return o, fmt.Errorf("commands are given with -s: console -s %s", f.Arg(0))
	case f.NArg() > 0:
		return o, fmt.Errorf("unexpected %q", strings.Join(f.Args(), " "))
	case o.command == "":
		return o, errors.New("what to do? console -s start; console help shows all")
	}
	return o, nil
}

// help prints all commands and options.
func (o *options) help(w io.Writer) {
	fmt.Fprint(w, usage)
	o.flags.SetOutput(w)
	o.flags.PrintDefaults()
}
