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

// quietTime passes without a change before a build starts, since editors save in several steps.
const quietTime = 300 * time.Millisecond

// developer builds and starts the server, and rebuilds and reloads it whenever a Go file or the
// configuration changes. Code that does not compile or start is reported, and the server goes on
// with the code before it.
type developer struct {
	settings *settings
	remote   *remote
	out      *output

	cfg    *config.Config // of the running server
	bin    string         // path of the server's binary
	watch  *fsnotify.Watcher
	server *exec.Cmd // nil until the code compiles for the first time
	ended  chan error
}

// run returns when the server has ended, or was stopped before it was started.
func (d *developer) run(ctx context.Context) error {
	if err := d.begin(); err != nil {
		return err
	}
	defer d.watch.Close()
	if _, err := d.watchTree("."); err != nil {
		return err
	}
	d.out.guard()
	stop := make(chan os.Signal, 2)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(stop)
	timer := time.NewTimer(0)
	for {
		select {
		case err := <-d.ended:
			return err
		case <-stop:
			if d.server == nil {
				return nil
			}
			// After Ctrl-C in a terminal the server has the signal already.
			_ = d.server.Process.Signal(syscall.SIGTERM)
		case <-ctx.Done():
			if d.server == nil {
				return nil
			}
			_ = d.server.Process.Signal(syscall.SIGTERM)
			return <-d.ended
		case e := <-d.watch.Events:
			if d.changed(e) {
				timer.Reset(quietTime)
			}
		case err := <-d.watch.Errors:
			fmt.Fprintln(d.out.err, "console: watch:", err)
		case <-timer.C:
			if err := d.update(ctx); err != nil {
				return err
			}
		}
	}
}

// begin reads the configuration and makes the watcher.
func (d *developer) begin() (err error) {
	if d.cfg, err = d.settings.load(); err != nil {
		return err
	}
	if _, err := os.Stat("go.mod"); err != nil {
		return errors.New("dev works in the folder of go.mod")
	}
	if d.bin, err = filepath.Abs(filepath.Join(d.cfg.App.Runtime.Dir, "dev", "console")); err != nil {
		return err
	}
	if d.watch, err = fsnotify.NewWatcher(); err != nil {
		return fmt.Errorf("watch for changes: %w", err)
	}
	d.ended = make(chan error, 1)
	return nil
}

// changed tells whether an event calls for a build. It watches folders that are new.
func (d *developer) changed(e fsnotify.Event) (matters bool) {
	if info, err := os.Stat(e.Name); err == nil && info.IsDir() && e.Has(fsnotify.Create) {
		// A new folder may have been moved here together with its files.
		if matters, err = d.watchTree(e.Name); err != nil {
			fmt.Fprintln(d.out.err, "console:", err)
		}
	}
	return matters || e.Op != fsnotify.Chmod && isSource(e.Name) // reading a file may touch it
}

// update builds the server, and starts it or has the running one take over the result. Its error
// ends dev.
func (d *developer) update(ctx context.Context) error {
	if d.server != nil {
		if err := d.rebuild(ctx); err != nil {
			fmt.Fprintln(d.out.err, "console:", err, "— the code before goes on")
		}
		return nil
	}
	if err := d.build(ctx); err != nil {
		fmt.Fprintln(d.out.err, "console:", err, "— the server starts when it compiles")
		return nil
	}
	return d.start()
}

// start starts the server that was built; ended receives its end.
func (d *developer) start() error {
	server := exec.Command(d.bin, "-s", "start", "-c", d.settings.dir)
	server.Env, server.Stdout, server.Stderr = d.settings.env, &log.Lines{W: d.out.out}, &log.Lines{W: d.out.err}
	if err := server.Start(); err != nil {
		return err
	}
	go func() { d.ended <- server.Wait() }()
	d.server = server
	return nil
}

// rebuild compiles, and has the running server reload.
func (d *developer) rebuild(ctx context.Context) error {
	if err := d.build(ctx); err != nil {
		return err
	}
	// The configuration on disk may be one that the server refuses.
	return d.remote.askBy(ctx, d.cfg, reloadTime, func(ctx context.Context, m *manager.Client) error {
		r, err := m.Reload(ctx, false)
		if err == nil {
			fmt.Fprintf(d.out.out, "reloaded: %d connections moved, %d drained, worker %d → %d\n", r.Moved, r.Drained, r.OldPID, r.NewPID)
		}
		return err
	})
}

// build compiles into a new file and renames that, since the binary of a running server cannot be
// overwritten.
func (d *developer) build(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", d.bin+".new", mainPackage())
	cmd.Env, cmd.Stdout, cmd.Stderr = d.settings.env, d.out.err, d.out.err
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build: %w", err)
	}
	return os.Rename(d.bin+".new", d.bin)
}

// watchTree watches a folder and those below it, except hidden ones, runtime and node_modules. It
// tells whether a file there is a source.
func (d *developer) watchTree(root string) (matters bool, err error) {
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil { // it was removed meanwhile
			return nil
		}
		if !entry.IsDir() {
			matters = matters || isSource(path)
			return nil
		}
		if name := entry.Name(); path != "." && (strings.HasPrefix(name, ".") || name == "runtime" || name == "node_modules") {
			return filepath.SkipDir
		}
		if err := d.watch.Add(path); err != nil {
			return fmt.Errorf("watch %s: %w", path, err)
		}
		return nil
	})
	return matters, err
}

// isSource tells whether a change of a file calls for a build.
func isSource(path string) bool {
	switch filepath.Ext(path) {
	case ".go", ".mod", ".yaml", ".html", ".js", ".css":
		return !strings.HasSuffix(path, "_test.go")
	}
	return false
}

// mainPackage returns the import path of this program, as the linker noted it.
func mainPackage() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Path != "" && info.Path != "command-line-arguments" {
		return info.Path
	}
	return "./public"
}
