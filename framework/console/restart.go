package console

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"wsframe/framework/process"
	"wsframe/library/config"
)

// restarter replaces a server by a new one.
type restarter struct {
	settings *settings
	operator *operator
	daemon   *daemon
	out      *output
}

// restart stops the server of the runtime directory gracefully, where one runs, and starts one in
// the background.
func (r *restarter) restart(ctx context.Context) error {
	cfg, err := r.settings.load()
	if err != nil {
		return err
	}
	dir := cfg.App.Runtime.Dir
	running, err := r.runs(cfg)
	if err != nil {
		return err
	}
	if !running {
		fmt.Fprintln(r.out.out, "no server runs with the runtime directory "+dir+": it is started")
		return r.daemon.start()
	}
	if err := r.operator.stop(ctx, true); err != nil {
		return err
	}
	// The admin port is closed; the process ends, and its pid file with it, within moments.
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if _, err := process.ReadPID(dir); errors.Is(err, os.ErrNotExist) {
			break
		}
	}
	return r.daemon.start()
}

// runs tells whether a server runs with the runtime directory. Its error names a configuration file
// that the server was started with and that is missing now.
func (r *restarter) runs(cfg *config.Config) (bool, error) {
	if !process.Running(cfg.App.Runtime.Dir) {
		return false, nil
	}
	place, err := process.ReadLocation(cfg.App.Runtime.Dir)
	if err != nil {
		return true, nil // it is about to start
	}
	return true, cfg.Keeps(r.settings.dir, place.Files)
}
