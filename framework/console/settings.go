package console

import (
	"fmt"
	"io"
	"os"

	"wsframe/framework/internal/boot"
	"wsframe/library/config"
)

// settings are where a command finds the server's configuration.
type settings struct {
	dir string
	env []string
}

// load reads the configuration. Its error has one line.
func (s *settings) load() (*config.Config, error) {
	cfg, err := s.read()
	return cfg, boot.OneLine(err)
}

// read is load with an error of a line for each wrong setting.
func (s *settings) read() (*config.Config, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	return config.Load(s.dir, s.env)
}

// check refuses a directory that was named and does not exist. The default one may be missing.
func (s *settings) check() error {
	if _, err := os.Stat(s.dir); err != nil && s.dir != "config" {
		return fmt.Errorf("config directory: %w", err)
	}
	return nil
}

// show checks the configuration and prints it.
func (s *settings) show(w io.Writer) error {
	cfg, err := s.read()
	if err != nil {
		return err
	}
	fmt.Fprint(w, cfg)
	for _, warning := range cfg.Warnings() {
		fmt.Fprintln(w, "warning:", warning)
	}
	fmt.Fprintln(w, "the configuration is valid")
	return nil
}
