package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Files returns the names, without .yaml, of the files that set something.
func (c *Config) Files() []string { return slices.Clone(c.files) }

// Keeps returns an error if the configuration lacks a file with which the running server was
// started: its settings, the key of tokens among them, would silently become the defaults. dir is
// the directory of the configuration, and before the result of Files at the start.
func (c *Config) Keeps(dir string, before []string) error {
	for _, name := range before {
		if slices.Contains(c.files, name) {
			continue
		}
		path := filepath.Join(dir, name+".yaml")
		why := "sets nothing"
		if _, err := os.Stat(path); err != nil {
			why = "is missing"
		}
		return fmt.Errorf("%s %s, but the running server was started with it: put it back, or start the server anew", path, why)
	}
	return nil
}
