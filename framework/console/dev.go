package console

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"

	"wsframe/framework/manager"
	"wsframe/library/config"
	"wsframe/library/log"
)

// quietTime is how long nothing may change before a build starts: editors save in several steps.
const quietTime = 300 * time.Millisecond

// dev builds and starts the server, and rebuilds and reloads it whenever a Go file or the configuration changes. What does not
// compile or boot is shown, and the code before goes on.
func (c *console) dev(ctx context.Context) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	if _, err := os.Stat("go.mod"); err != nil {
		return errors.New("dev works in the folder of go.mod")
	}
	bin, err := filepath.Abs(filepath.Join(cfg.App.Runtime.Dir, "dev", "console"))
	if err != nil {
		return err
	}
	watch, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch for changes: %w", err)
	}
	defer watch.Close()
	if _, err := c.watchTree(watch, "."); err != nil {
		return err
	}
	c.guard()
	var server *exec.Cmd // nil until the code compiles for the first time
	ended := make(chan error, 1)
	stop := make(chan os.Signal, 2)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(stop)
	timer := time.NewTimer(0)
	for {
		select {
		case err := <-ended:
			return err
		case <-stop:
			if server == nil {
				return nil
			}
			_ = server.Process.Signal(syscall.SIGTERM) // Ctrl-C in a terminal has reached it already
		case <-ctx.Done():
			if server == nil {
				return nil
			}
			_ = server.Process.Signal(syscall.SIGTERM)
			return <-ended
		case e := <-watch.Events:
			if info, err := os.Stat(e.Name); err == nil && info.IsDir() && e.Has(fsnotify.Create) {
				matters, err := c.watchTree(watch, e.Name)
				if err != nil {
					fmt.Fprintln(c.err, "console:", err)
				}
				if matters { // a folder that was moved in with all it has
					timer.Reset(quietTime)
				}
			}
			if e.Op != fsnotify.Chmod && c.matters(e.Name) { // reading a file may touch it
				timer.Reset(quietTime)
			}
		case err := <-watch.Errors:
			fmt.Fprintln(c.err, "console: watch:", err)
		case <-timer.C:
			if server != nil {
				if err := c.rebuild(ctx, cfg, bin); err != nil {
					fmt.Fprintln(c.err, "console:", err, "— the code before goes on")
				}
				continue
			}
			if err := c.build(ctx, bin); err != nil {
				fmt.Fprintln(c.err, "console:", err, "— the server starts when it compiles")
				continue
			}
			if server, err = c.startDev(bin, ended); err != nil {
				return err
			}
		}
	}
}

// startDev starts the server that was built; its end is told to ended.
func (c *console) startDev(bin string, ended chan<- error) (*exec.Cmd, error) {
	server := exec.Command(bin, "-s", "start", "-c", c.configDir)
	server.Env, server.Stdout, server.Stderr = c.env, &log.Lines{W: c.out}, &log.Lines{W: c.err}
	if err := server.Start(); err != nil {
		return nil, err
	}
	go func() { ended <- server.Wait() }()
	return server, nil
}

// rebuild compiles and has the running server take over the result.
func (c *console) rebuild(ctx context.Context, cfg *config.Config, bin string) error {
	if err := c.build(ctx, bin); err != nil {
		return err
	}
	// By the configuration that the server was started with: the one on disk may be what it will refuse.
	return c.askWith(ctx, cfg, reloadTime, func(ctx context.Context, m *manager.Client) error {
		r, err := m.Reload(ctx, false)
		if err == nil {
			fmt.Fprintf(c.out, "reloaded: %d connections moved, %d drained, worker %d → %d\n", r.Moved, r.Drained, r.OldPID, r.NewPID)
		}
		return err
	})
}

// build compiles beside the target and then takes its name: the running binary cannot be written over.
func (c *console) build(ctx context.Context, bin string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", bin+".new", mainPackage())
	cmd.Env, cmd.Stdout, cmd.Stderr = c.env, c.err, c.err
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build: %w", err)
	}
	return os.Rename(bin+".new", bin)
}

// watchTree watches the folder and those below it, but for hidden ones and runtime. It tells whether a file there matters.
func (c *console) watchTree(w *fsnotify.Watcher, root string) (matters bool, err error) {
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil { // gone again
			return nil
		}
		if !d.IsDir() {
			matters = matters || c.matters(path)
			return nil
		}
		if name := d.Name(); path != "." && (strings.HasPrefix(name, ".") || name == "runtime" || name == "node_modules") {
			return filepath.SkipDir
		}
		if err := w.Add(path); err != nil {
			return fmt.Errorf("watch %s: %w", path, err)
		}
		return nil
	})
	return matters, err
}

func (c *console) matters(path string) bool {
	switch filepath.Ext(path) {
	case ".go", ".mod", ".yaml", ".html", ".js", ".css":
		return !strings.HasSuffix(path, "_test.go")
	}
	return false
}

// mainPackage is the import path of this program, as the linker noted it: what dev builds.
func mainPackage() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Path != "" && info.Path != "command-line-arguments" {
		return info.Path
	}
	return "./public"
}
