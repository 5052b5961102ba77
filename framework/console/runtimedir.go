package console

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// makePrivate makes the runtime directory, readable by this user only: it holds the key of tokens,
// clients' words and what is in the store. Files of the server that an earlier version left readable
// by others are closed to them; other files are left alone.
func makePrivate(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("the runtime directory cannot be made: %w", err)
	}
	var err error
	if info, e := os.Stat(dir); e == nil && info.Mode()&os.ModeSticky == 0 && !isHere(info) { // /tmp is everybody's
		err = os.Chmod(dir, 0o700)
	}
	for _, pattern := range []string{"wsframe.*", "auth.key", "logs", "logs/*", "store", "store/*"} {
		names, _ := filepath.Glob(filepath.Join(dir, pattern)) // the pattern is well-formed
		for _, name := range names {
			err = errors.Join(err, closeToOthers(name))
		}
	}
	if err != nil && !errors.Is(err, fs.ErrPermission) { // another user's directory is that user's to close
		return fmt.Errorf("the runtime directory cannot be closed to other users: %w", err)
	}
	return nil
}

// isHere tells whether a directory is the current one: that is a checkout rather than the server's own.
func isHere(info fs.FileInfo) bool {
	here, err := os.Stat(".")
	return err == nil && os.SameFile(info, here)
}

func closeToOthers(name string) error {
	info, err := os.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // it has just gone
	case err != nil:
		return err
	case info.Mode().Perm()&0o077 == 0:
		return nil
	case info.IsDir():
		return os.Chmod(name, 0o700)
	case info.Mode().IsRegular():
		return os.Chmod(name, 0o600)
	}
	return nil
}
