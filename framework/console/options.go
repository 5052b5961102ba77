package console

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
)

// options are the values of the command line.
type options struct {
	flags     *flag.FlagSet
	command   string
	args      []string // what stands beside the options
	daemon    bool
	graceful  bool
	check     bool
	json      bool
	asyncapi  bool
	legacy    bool // the original's form of a token
	host      string
	port      int
	configDir string
	text      string
	userType  string
	id        string
	code      string
	nickname  string
	module    string
	demo      bool
	hooks     string
	model     bool
}

// everywhere are the flags that each command accepts: they say which server is meant.
var everywhere = []string{"s", "c", "h", "p"}

// parse reads a command line: the command stands behind -s, or first. Its error is flag.ErrHelp
// where the help text is asked for.
func parse(args []string) (*options, error) {
	o := newOptions()
	if len(args) > 0 && slices.Contains([]string{"-version", "--version", "-v"}, args[0]) {
		args = append([]string{"version"}, args[1:]...)
	}
	// Without a value, -h is not the manager's host.
	if n := len(args); n > 0 && args[n-1] == "-h" {
		args = append(slices.Clone(args[:n-1]), "-help")
	}
	args, rest := cutArgs(args)
	var err error
	for {
		if err = o.flags.Parse(args); err != nil || o.flags.NArg() == 0 {
			break
		}
		o.args, args = append(o.args, o.flags.Arg(0)), o.flags.Args()[1:]
	}
	o.args = append(o.args, rest...)
	if o.command == "" && len(o.args) > 0 {
		o.command, o.args = o.args[0], o.args[1:]
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		return o, err
	case err != nil:
		return o, o.explain(err)
	case o.command == "":
		return o, errors.New("what to do? console start starts the server; console help shows all commands")
	}
	return o, nil
}

func newOptions() *options {
	f := flag.NewFlagSet("console", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	o := &options{flags: f}
	f.StringVar(&o.command, "s", "", "the `command`; it can also stand first, without -s")
	f.BoolVar(&o.daemon, "d", false, "in the background")
	f.BoolVar(&o.graceful, "g", false, "with the whole grace time for the clients")
	f.BoolVar(&o.check, "check", false, "only examine the new worker")
	f.BoolVar(&o.json, "json", false, "print JSON, for programs")
	f.BoolVar(&o.asyncapi, "asyncapi", false, "print an AsyncAPI document")
	f.BoolVar(&o.legacy, "3des", false, "the original's form of a token")
	f.StringVar(&o.host, "h", "", "the manager's `host`; default: from the configuration")
	f.IntVar(&o.port, "p", 0, "the `port`: of the manager (default: from the configuration), or of docs (default: a free one)")
	f.StringVar(&o.configDir, "c", "config", "the `directory` of the configuration")
	f.StringVar(&o.text, "i", "", "the `text` to say, or the name of what to make")
	f.StringVar(&o.userType, "type", "wechatUser", "the user's `type`: wechatUser, wall, …")
	f.StringVar(&o.id, "id", "", "the user's `id`")
	f.StringVar(&o.code, "code", "", "the `code` of the user's room")
	f.StringVar(&o.nickname, "nickname", "", "the `name` to show")
	f.StringVar(&o.module, "module", "", "the `path` of the project's module; default: example.com/ and the folder's name")
	f.BoolVar(&o.demo, "demo", false, "with the sample applications chat and live")
	f.StringVar(&o.hooks, "hook", "", "`names` of hooks: close, connect, guard, message, reload, shutdown, start, stop")
	f.BoolVar(&o.model, "model", false, "with a table in the database")
	return o
}

// cutArgs cuts a command line at its first "--". What follows are no options.
func cutArgs(args []string) (before, after []string) {
	if at := slices.Index(args, "--"); at >= 0 {
		return args[:at], args[at+1:]
	}
	return args, nil
}

// explain adds the flag that was probably meant to the flag package's error.
func (o *options) explain(err error) error {
	name, unknown := strings.CutPrefix(err.Error(), "flag provided but not defined: -")
	if !unknown {
		return err
	}
	var known []string
	o.flags.VisitAll(func(f *flag.Flag) { known = append(known, f.Name) })
	return errors.New("unknown option -" + name + suggest(name, known, "-") + o.where())
}

// where ends an error of the command line.
func (o *options) where() string {
	if o.command == "" {
		return "; console help shows all"
	}
	return "; see console help " + o.command
}

// accept refuses options and words that the command does not take.
func (o *options) accept(c *command) error {
	var wrong []string
	o.flags.Visit(func(f *flag.Flag) {
		if !slices.Contains(everywhere, f.Name) && !slices.Contains(c.flags, f.Name) {
			wrong = append(wrong, "-"+f.Name)
		}
	})
	switch {
	case len(wrong) > 0:
		return fmt.Errorf("%s does not take %s%s", c.name, strings.Join(wrong, ", "), o.where())
	case len(o.args) > c.words:
		return fmt.Errorf("unexpected %q%s", strings.Join(o.args[c.words:], " "), o.where())
	}
	return nil
}

// word returns the first word beside the options, or "".
func (o *options) word() string {
	if len(o.args) == 0 {
		return ""
	}
	return o.args[0]
}

// subject returns what the command is about: the value of -i, or the first word.
func (o *options) subject() string { return cmp.Or(o.text, o.word()) }
