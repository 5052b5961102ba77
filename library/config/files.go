package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Files are the names, without .yaml, of the files that set something.
func (c *Config) Files() []string { return slices.Clone(c.files) }

// Keeps refuses a configuration that lacks a file which the running server was started with: its settings would silently
// become the defaults, a new token key among them. Dir is where the configuration was read.
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
