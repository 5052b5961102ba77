package console

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// makePrivate makes the runtime directory, which only this user may read: it has the key of tokens,
// the store, and logs with clients' data. Files of the server that others may read are closed to
// them; files that are not the server's stay as they are.
func makePrivate(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("the runtime directory cannot be made: %w", err)
	}
	var err error
	// Sticky directories such as /tmp are shared.
	if info, e := os.Stat(dir); e == nil && info.Mode()&os.ModeSticky == 0 && !isHere(info) {
		err = os.Chmod(dir, 0o700)
	}
	for _, pattern := range []string{"wsframe.*", "auth.key", "logs", "logs/*", "store", "store/*"} {
		names, _ := filepath.Glob(filepath.Join(dir, pattern)) // fails for malformed patterns only
		for _, name := range names {
			err = errors.Join(err, closeToOthers(name))
		}
	}
	if err != nil && !errors.Is(err, fs.ErrPermission) { // only its owner can close a directory
		return fmt.Errorf("the runtime directory cannot be closed to other users: %w", err)
	}
	return nil
}

// isHere tells whether a directory is the current one, which has more than the server's files.
func isHere(info fs.FileInfo) bool {
	here, err := os.Stat(".")
	return err == nil && os.SameFile(info, here)
}

// closeToOthers takes the permissions of group and others from a file or directory.
func closeToOthers(name string) error {
	info, err := os.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // it was removed meanwhile
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
