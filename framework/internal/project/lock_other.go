//go:build !unix

package project

import "os"

// acquire opens a file. Nothing keeps two upgrades apart on this system.
func acquire(name string) (*os.File, error) { return os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600) }
