// Package log writes the server's events as JSON lines by zap, into files that are continued by day and size.
//
//	l, err := log.New(log.Options{Dir: "runtime/logs", Level: "info", MaxSizeMB: 100, MaxDays: 14, MaxFiles: 60})
//	l.Info("worker is ready", zap.Int("pid", pid))
//	defer l.Close()
//
// A Logger is safe for concurrent use, and several processes may write to the same files: during a reload two workers do.
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
	Dir       string    // made when missing
	Level     string    // debug, info, warn, error; info
	MaxSizeMB int       // a day's file is continued in another beyond it; 100
	MaxDays   int       // older files are removed; 14
	MaxFiles  int       // so many are kept at most, this one included; 60
	Name      string    // who writes: master, worker
	Console   io.Writer // for people; os.Stderr
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

// Logger is a zap.Logger whose level can be changed and whose file can be opened anew.
type Logger struct {
	*zap.Logger
	Quiet *zap.Logger // the file only: for what people are told in other words

	level   zap.AtomicLevel
	console zap.AtomicLevel
	file    *file
}

// New opens today's file. Warnings and errors also go to Console, in a form for people.
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

// Hush ends what goes to Console; the file has everything.
func (l *Logger) Hush() { l.console.SetLevel(zapcore.FatalLevel + 1) }

// Printed is a writer that logs each line which it is given, to the file only, whatever the level.
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

// Reopen closes the file and opens it by its name again, for log rotation by others.
func (l *Logger) Reopen() error { return l.file.reopen() }

// Close flushes and closes the file.
func (l *Logger) Close() error { return l.file.close() }
