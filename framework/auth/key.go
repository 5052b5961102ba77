package auth

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// LoadOrCreateKey reads the key from a file, or creates the file with a random key and mode 0600.
// It returns whether it created the key. Processes that start at the same time get the same key.
func LoadOrCreateKey(path string) (key string, created bool, err error) {
	if key, _, err = LoadKey(path); !errors.Is(err, fs.ErrNotExist) {
		return key, false, err
	}
	err = createKey(path)
	if created = err == nil; !created && !errors.Is(err, fs.ErrExist) {
		return "", false, fmt.Errorf("make a token key: %w", err)
	}
	key, _, err = LoadKey(path)
	return key, created, err
}

// LoadKey reads the key from a file. A missing file is an error.
func LoadKey(path string) (key string, created bool, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", false, fmt.Errorf("read the token key: %w", err)
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
		if err := os.Chmod(path, 0o600); err != nil {
			return "", false, fmt.Errorf("the token key can be read by others: %w", err)
		}
	}
	key = strings.TrimSpace(string(b)) // a line feed at the end is not part of the key
	if len(key) < 32 {
		return "", false, fmt.Errorf("the token key in %s is too short: delete the file to get a new one", path)
	}
	return key, false, nil
}

// createKey writes a temporary file and then links it to its name, so that nobody reads half a key.
func createKey(path string) error {
	raw := make([]byte, 32)
	if _, err := rand.Read(raw); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".key-*") // mode 0600
	if err != nil {
		return err
	}
	temporary := f.Name()
	defer os.Remove(temporary)
	text := base64.RawURLEncoding.EncodeToString(raw) // without a line feed, which other programs would read as part of the key
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err = os.Link(temporary, path); err == nil || errors.Is(err, fs.ErrExist) { // fails if the name exists
		return err
	}
	// Without hard links, no key is overwritten either, but a second process could read half a key.
	f, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Sync(), f.Close())
}
