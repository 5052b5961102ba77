package log_test

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"go.uber.org/zap"

	"wsframe/library/log"
)

// A Logger writes lines of JSON into a file of the day.
func Example() {
	dir, err := os.MkdirTemp("", "log-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)

	l, err := log.New(log.Options{Dir: dir, Level: "info", Name: "worker", Console: io.Discard})
	if err != nil {
		panic(err)
	}
	l.Debug("a debug line is below the level")
	l.Info("worker is ready", zap.Int("port", 20003))
	if err := l.Close(); err != nil {
		panic(err)
	}

	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		panic(err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		panic(err)
	}
	var line struct {
		Level, Msg string
		Port       int
	}
	fmt.Println(json.Unmarshal(text, &line), len(files))
	fmt.Println(line.Level, line.Msg, line.Port)
	// Output:
	// <nil> 1
	// info worker is ready 20003
}
