package process

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// Location is where a server is reached, as its runtime directory has it. After a server that was killed it is out of date.
type Location struct {
	PID     int      `json:"pid"`
	Manager string   `json:"manager"` // host:port
	Files   []string `json:"files"`   // of the configuration, by name, that the server was started with
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

func (m *Master) writeLocation() error {
	m.mu.Lock()
	p := Location{os.Getpid(), m.addrs[m.cfg.Manager.Name], m.config}
	m.mu.Unlock()
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	path := locationFile(m.cfg.RuntimeDir)
	err = os.WriteFile(path+".new", append(b, '\n'), 0o600)
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("the runtime directory cannot be written: %w", err)
	}
	return nil
}
