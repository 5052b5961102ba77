// Package log writes the server's events with zap as JSON lines, to files that are split by day and
// size.
//
//	l, err := log.New(log.Options{Dir: "runtime/logs", Level: "info", MaxSizeMB: 100, MaxDays: 14, MaxFiles: 60})
//	l.Info("worker is ready", zap.Int("pid", pid))
//	defer l.Close()
//
// A Logger is safe for concurrent use. Several processes may write to the same files, as two
// workers do during a reload.
package log

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Options of New. Zero means the default.
type Options struct {
	Dir       string    // created if missing
	Level     string    // debug, info, warn or error; default info
	MaxSizeMB int       // size at which a day's file is continued in another; default 100
	MaxDays   int       // age at which files are removed; default 14
	MaxFiles  int       // number of files to keep, including the current one; default 60
	Name      string    // name of the process: master, worker
	Console   io.Writer // for humans; default os.Stderr
}

func (o *Options) fill() {
	if o.Level == "" {
		o.Level = "info"
	}
	if o.MaxSizeMB <= 0 {
		o.MaxSizeMB = 100
	}
	if o.MaxDays <= 0 {
		o.MaxDays = 14
	}
	if o.MaxFiles <= 0 {
		o.MaxFiles = 60
	}
	if o.Console == nil {
		o.Console = os.Stderr
	}
}

// Logger is a zap.Logger whose level can be changed and whose file can be reopened.
type Logger struct {
	*zap.Logger
	Quiet *zap.Logger // writes only to the file, for events that humans see in another form

	level   zap.AtomicLevel
	console zap.AtomicLevel
	file    *file
}

// New opens today's file. Warnings and errors also go to Console, in a form for humans.
func New(o Options) (*Logger, error) {
	o.fill()
	level, err := zap.ParseAtomicLevel(o.Level)
	if err != nil {
		return nil, fmt.Errorf("log level: %w", err)
	}
	f, err := openFile(o)
	if err != nil {
		return nil, err
	}
	enc := zap.NewProductionEncoderConfig()
	enc.EncodeTime = zapcore.ISO8601TimeEncoder
	enc.TimeKey = "time"
	human := enc
	human.EncodeLevel = zapcore.CapitalLevelEncoder
	human.StacktraceKey = ""
	quiet := zapcore.NewCore(zapcore.NewJSONEncoder(enc), f, level)
	out := zapcore.Lock(zapcore.AddSync(Escaped(o.Console)))
	console := zap.NewAtomicLevelAt(zap.WarnLevel)
	core := zapcore.NewTee(quiet, zapcore.NewCore(zapcore.NewConsoleEncoder(human), out, console))
	by := func(c zapcore.Core) *zap.Logger {
		return zap.New(c, zap.ErrorOutput(out)).With(zap.String("by", o.Name), zap.Int("pid", os.Getpid()))
	}
	return &Logger{by(core), by(quiet), level, console, f}, nil
}

// Hush stops the output to Console. The file still receives everything.
func (l *Logger) Hush() { l.console.SetLevel(zapcore.FatalLevel + 1) }

// Printed returns a writer that logs each line to the file only, whatever the level.
func (l *Logger) Printed() io.Writer { return printed{l.Quiet} }

type printed struct{ log *zap.Logger }

// Write implements io.Writer.
func (p printed) Write(text []byte) (int, error) {
	for line := range bytes.Lines(text) {
		if line = bytes.TrimSpace(line); len(line) > 0 {
			p.log.Error("printed", zap.ByteString("line", line))
		}
	}
	return len(text), nil
}

// SetLevel changes the level of the file at once.
func (l *Logger) SetLevel(level string) error {
	if err := l.level.UnmarshalText([]byte(level)); err != nil {
		return fmt.Errorf("log level: %w", err)
	}
	return nil
}

// Reopen closes the file and opens it again by its name, after another program rotated it.
func (l *Logger) Reopen() error { return l.file.reopen() }

// Close flushes and closes the file.
func (l *Logger) Close() error { return l.file.close() }
