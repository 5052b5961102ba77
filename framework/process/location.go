package process

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Location says how a server is reached. It is out of date after a server was killed.
type Location struct {
	PID     int      `json:"pid"`
	Manager string   `json:"manager"` // host:port
	Files   []string `json:"files"`   // of the configuration at the start, by name
}

func locationFile(runtimeDir string) string { return filepath.Join(runtimeDir, "wsframe.json") }

// ReadLocation finds the server that runs, or ran last, with that runtime directory.
func ReadLocation(runtimeDir string) (p Location, err error) {
	b, err := os.ReadFile(locationFile(runtimeDir))
	if err != nil {
		return p, err
	}
	if err := json.Unmarshal(b, &p); err != nil {
		return p, fmt.Errorf("%s: %w", locationFile(runtimeDir), err)
	}
	return p, nil
}

func writeLocation(runtimeDir string, l Location) error {
	b, err := json.Marshal(l)
	if err != nil {
		return err
	}
	path := locationFile(runtimeDir)
	err = os.WriteFile(path+".new", append(b, '\n'), 0o600)
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("the runtime directory cannot be written: %w", err)
	}
	return nil
}

// PIDFile returns the name of the file with a serving master's pid.
func PIDFile(runtimeDir string) string { return filepath.Join(runtimeDir, "wsframe.pid") }

// ReadPID reads the pid of the server that serves with that runtime directory.
func ReadPID(runtimeDir string) (int, error) {
	b, err := os.ReadFile(PIDFile(runtimeDir))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

func writePID(runtimeDir string) error {
	if err := os.WriteFile(PIDFile(runtimeDir), []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600); err != nil {
		return fmt.Errorf("write the pid file: %w", err)
	}
	return nil
}
