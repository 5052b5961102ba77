package console

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
)

// group is a part of the list of commands.
type group struct {
	title    string
	commands []*command
}

// commands are all commands.
type commands struct {
	groups []group
	out    io.Writer
}

// all returns them in the order of the help text.
func (l *commands) all() (list []*command) {
	for _, g := range l.groups {
		list = append(list, g.commands...)
	}
	return list
}

// find returns a command by its name, or nil.
func (l *commands) find(name string) *command {
	for _, c := range l.all() {
		if c.name == name {
			return c
		}
	}
	return nil
}

// names are those of all commands, sorted.
func (l *commands) names() (list []string) {
	for _, c := range l.all() {
		list = append(list, c.name)
	}
	slices.Sort(list)
	return list
}

// unknown returns the error text of an unknown command, with the known one that is most like it.
func (l *commands) unknown(name string) string {
	return fmt.Sprintf("unknown command %q", name) + suggest(name, l.names(), "console ") + "; console help shows all"
}

// help prints the help text of a command, or of all where name is "".
func (l *commands) help(o *options, name string) error {
	if name == "" {
		l.overview()
		return nil
	}
	c := l.find(name)
	if c == nil {
		return errors.New(l.unknown(name))
	}
	w := l.out
	fmt.Fprintf(w, "%s\n\n%s%s.\n", strings.TrimSpace("console "+c.name+" "+c.usage), strings.ToUpper(c.text[:1]), c.text[1:])
	if c.more != "" {
		fmt.Fprintf(w, "\n%s\n", strings.TrimSpace(c.more))
	}
	for i, name := range c.allFlags() {
		if i == 0 {
			fmt.Fprint(w, "\noptions:\n")
		}
		printFlag(w, o.flags.Lookup(name))
	}
	return nil
}

// allFlags are the names of the flags that the command's help shows.
func (c *command) allFlags() []string {
	if c.alone {
		return c.flags
	}
	return slices.Concat(c.flags, everywhere[1:])
}

// overview prints all commands.
func (l *commands) overview() {
	w := l.out
	fmt.Fprint(w, "console COMMAND [options]\n")
	for _, g := range l.groups {
		fmt.Fprintf(w, "\n%s:\n", g.title)
		for _, c := range g.commands {
			if use := strings.TrimSpace(c.name + " " + c.usage); len(use) > 20 {
				fmt.Fprintf(w, "  %s\n  %-20s %s\n", use, "", c.text)
			} else {
				fmt.Fprintf(w, "  %-20s %s\n", use, c.text)
			}
		}
	}
	fmt.Fprint(w, "\nconsole -s COMMAND is the same. Options are written -d, -c DIR or --c=DIR, before or behind the\ncommand. console help COMMAND shows those of a command.\n")
}

// printFlag prints a line on a flag.
func printFlag(w io.Writer, f *flag.Flag) {
	value, text := flag.UnquoteUsage(f)
	if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" {
		text += " (default " + f.DefValue + ")"
	}
	fmt.Fprintf(w, "  %-20s %s\n", strings.TrimSpace("-"+f.Name+" "+value), text)
}

// suggest returns a question for the known word that is most like a wrong one, or "".
func suggest(wrong string, known []string, before string) string {
	for _, k := range known {
		if near(wrong, k) {
			return "; did you mean " + before + k + "?"
		}
	}
	return ""
}

// near tells whether two words differ by one letter or by two letters that changed places, or one
// begins with the other.
func near(a, b string) bool {
	if len(a) < 2 {
		return false
	}
	a = strings.ToLower(a)
	if strings.HasPrefix(b, a) || len(b) >= 2 && strings.HasPrefix(a, b) {
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
