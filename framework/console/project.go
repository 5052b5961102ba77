package console

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"wsframe/framework/internal/project"
	"wsframe/library/log"
)

const (
	newHelp = `DIR does not exist yet, or is empty. The project has the framework's sources in DIR/wsframe, a first
controller with its test, a configuration and a Dockerfile. It builds and tests at once.`
	makeHelp = `SUBJECT is module.controller or module.controller.action, such as poll.vote: the controller Vote in
app/poll/vote.go with an action, its input and its test, mounted in app/app.go. Clients call it as
poll.vote.index. Works in the folder of go.mod.`
)

// projectCommands make and change the files of a project.
func projectCommands(p Program, o *options, env []string, out *output) []*command {
	settings := &settings{o.configDir, env}
	upgrader := &upgrader{p, settings, &operator{&remote{settings, out, o.host, o.port}, out}, out}
	return []*command{
		{name: "new", usage: "DIR [-module PATH] [-demo]", text: "make a project of your own", more: newHelp, flags: []string{"module", "demo"}, words: 1, alone: true,
			run: func(context.Context) error { return newProject(p, o, out) }},
		{name: "make", usage: "-i SUBJECT [-hook NAMES] [-model]", text: "write a controller with its test", more: makeHelp, flags: []string{"i", "hook", "model"},
			words: 1, alone: true, run: func(context.Context) error { return makeController(o, out) }},
		{name: "upgrade", text: "give the project here the framework of this program", more: upgradeHelp, run: upgrader.run},
	}
}

func newProject(p Program, o *options, out *output) error {
	made, err := project.New(project.NewOptions{Dir: o.word(), Module: o.module, Demo: o.demo, Sources: p.Sources})
	if err != nil {
		return err
	}
	dir := made.Dir
	if here, err := os.Getwd(); err == nil {
		if short, err := filepath.Rel(here, dir); err == nil && !strings.HasPrefix(short, "..") {
			dir = short
		}
	}
	fmt.Fprintf(out.out, "made the module %s with wsframe %s: %d files\n\n", made.Module, made.Framework, made.Files)
	if dir != "." {
		fmt.Fprintf(out.out, "  cd %s\n", shellWord(dir))
	}
	fmt.Fprint(out.out, "  go test ./...\n  go run ./public dev\n\nREADME.md and AGENTS.md in it say how to go on.\n")
	if made.Note != "" {
		fmt.Fprintln(out.out, "note:", log.EscapeLine(made.Note))
	}
	return nil
}

func makeController(o *options, out *output) error {
	if o.subject() == "" {
		return errors.New("what to make? console make -i poll.vote makes the controller vote of the module poll")
	}
	made, err := project.Make(project.MakeOptions{Dir: ".", Subject: o.subject(), Hooks: o.hooks, Model: o.model})
	if err != nil {
		return fmt.Errorf("%w; nothing was changed", err)
	}
	for _, name := range made.Files {
		fmt.Fprintln(out.out, "wrote", name)
	}
	if made.Note != "" {
		fmt.Fprintln(out.out, "note:", made.Note)
	}
	if len(made.Files) == 0 {
		fmt.Fprintf(out.out, "all of it is there already\n")
	}
	fmt.Fprintf(out.out, "clients call %s; test it: go test ./app/...\n", made.Route)
	return nil
}

// shellWord quotes a text for a shell where it has to be.
func shellWord(text string) string {
	if strings.ContainsFunc(text, func(r rune) bool { return strings.ContainsRune(" \t'\"$&;()[]{}!#~*?<>|\\`", r) }) || strings.HasPrefix(text, "-") {
		return quote(text)
	}
	return text
}
