package console

import (
	"context"
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

func (c *console) help(context.Context) error {
	fmt.Fprint(c.out, usage)
	c.flags.SetOutput(c.out)
	c.flags.PrintDefaults()
	return nil
}
