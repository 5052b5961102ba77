package console

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"wsframe/framework/internal/project"
	"wsframe/framework/process"
)

const upgradeHelp = `Build the console of the new version in its checkout (go build -o CONSOLE ./public), and run
CONSOLE upgrade in the folder of the project. It replaces wsframe/, builds, vets and tests the
project, and asks a running server whether it could reload the new program. Where anything fails,
the previous framework is put back; after a kill, the next upgrade does that first. A changed file
in wsframe/ is refused.

Afterwards, console reload deploys it without closing a connection.`

// upgrader renews the framework of the project in the current folder.
type upgrader struct {
	program  Program
	settings *settings
	operator *operator
	out      *output
}

// run upgrades the project. Ctrl-C puts the previous framework back.
func (u *upgrader) run(ctx context.Context) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	binary := "console"
	if runtime.GOOS == "windows" {
		binary += ".exe"
	}
	path, err := filepath.Abs(binary)
	if err != nil {
		return err
	}
	serves, note := u.serves(path)
	o := project.UpgradeOptions{Dir: ".", Sources: u.program.Sources, Out: u.out.out, Go: u.goCommand, Check: u.check, Flags: buildFlags(path)}
	if serves {
		o.Live = func(ctx context.Context) error { return u.operator.reload(ctx, true) }
	}
	changed, err := project.Upgrade(ctx, o)
	if err != nil || !changed {
		return err
	}
	if serves {
		fmt.Fprintln(u.out.out, "The project is upgraded, and ./console is built. Deploy it: ./console reload")
		return nil
	}
	fmt.Fprintln(u.out.out, "The project is upgraded. "+note+"Build it: go build -o console ./public")
	return nil
}

// serves tells whether a server of this project runs the program at path, and otherwise what a
// server that runs is to be told.
func (u *upgrader) serves(path string) (bool, string) {
	cfg, err := u.settings.load()
	if err != nil || !process.Running(cfg.App.Runtime.Dir) {
		return false, ""
	}
	pid, err := process.ReadPID(cfg.App.Runtime.Dir)
	if err != nil {
		return false, ""
	}
	// On Linux, the kernel knows the program of a process. It was perhaps replaced since.
	running, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		_, err := os.Stat(path)
		return err == nil, ""
	}
	if strings.TrimSuffix(running, " (deleted)") == path {
		_, err := os.Stat(path)
		return err == nil, ""
	}
	if resolved, err := filepath.EvalSymlinks(path); err == nil && resolved == running {
		return true, ""
	}
	return false, "A server runs " + running + ", which was not examined. "
}

// goCommand runs the go command. Its error has what was printed.
func (u *upgrader) goCommand(ctx context.Context, args ...string) error {
	return u.command(ctx, "go", args...)
}

// check examines whether the new program takes the configuration, and makes its controllers.
func (u *upgrader) check(ctx context.Context, path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	for _, command := range []string{"checkconfig", "routes"} {
		if err := u.command(ctx, path, "-s", command, "-c", u.settings.dir); err != nil {
			return err
		}
	}
	return nil
}

func (u *upgrader) command(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	var out bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = u.settings.env, &out, &out
	if err := cmd.Run(); err != nil {
		text := strings.TrimSpace(out.String())
		const most = 60
		if lines := strings.Split(text, "\n"); len(lines) > most {
			text = fmt.Sprintf("(%d lines before)\n%s", len(lines)-most, strings.Join(lines[len(lines)-most:], "\n"))
		}
		return fmt.Errorf("%s %s: %w\n%s", filepath.Base(name), strings.Join(args, " "), err, text)
	}
	return nil
}

// buildFlags are those with which a program was built, as far as it tells them, so that another
// build has the same version and tags.
func buildFlags(path string) (flags []string) {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return nil
	}
	for _, s := range info.Settings {
		switch {
		case slices.Contains([]string{"-ldflags", "-tags", "-race", "-trimpath"}, s.Key):
			flags = append(flags, s.Key+"="+s.Value)
		}
	}
	return flags
}
