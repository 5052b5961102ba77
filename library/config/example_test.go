package config_test

import (
	"fmt"
	"os"
	"path/filepath"

	"wsframe/library/config"
)

// A variable of the environment takes precedence over a file, and a file over the default.
func Example() {
	dir, err := os.MkdirTemp("", "config-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "app.yaml"), []byte("outside: {host: 127.0.0.1, port: 9000}\n"), 0o600); err != nil {
		panic(err)
	}

	cfg, err := config.Load(dir, []string{"WSFRAME_APP_OUTSIDE_PORT=9001"})
	if err != nil {
		panic(err)
	}
	fmt.Println(cfg.App.Outside.Host, cfg.App.Outside.Port, cfg.Cache.Master.Driver)

	_, err = config.Load(dir, []string{"WSFRAME_APP_OUTSIDE_PORT=many"})
	fmt.Println("refused:", err != nil)
	// Output:
	// 127.0.0.1 9001 embedded
	// refused: true
}
