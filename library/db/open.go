package db

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

// Options of Open.
type Options struct {
	Driver  string // sqlite, mysql, postgres
	DSN     string // sqlite: a file
	MaxOpen int    // connections, 0 = 32; SQLite has one writer and uses one
	Log     *zap.Logger
}

// Open connects to the database before ctx ends. An error has one line.
func Open(ctx context.Context, o Options) (*gorm.DB, error) {
	log := o.Log
	if log == nil {
		log = zap.NewNop()
	}
	if err := Check(o.Driver, o.DSN); err != nil {
		return nil, err
	}
	var d gorm.Dialector
	switch o.Driver {
	case "sqlite":
		if err := os.MkdirAll(filepath.Dir(o.DSN), 0o700); err != nil {
			return nil, fmt.Errorf("make the directory of the sqlite database: %w", err)
		}
		if err := closeToOthers(o.DSN); err != nil {
			return nil, fmt.Errorf("make the sqlite database: %w", err)
		}
		d, o.MaxOpen = newSQLite(o.DSN), 1
	case "mysql":
		pool, err := openMySQL(o.DSN, log)
		if err != nil {
			return nil, fmt.Errorf("open the mysql database: %w", err)
		}
		d = newMySQL(pool, log)
	case "postgres":
		d = postgres.Open(o.DSN)
	}
	g, err := gorm.Open(d, &gorm.Config{
		DisableAutomaticPing: true,
		Logger: logger.New(printer{log}, logger.Config{
			SlowThreshold: time.Second, LogLevel: logger.Warn,
			ParameterizedQueries: true, IgnoreRecordNotFoundError: true, // the log contains no texts of users
		}),
	})
	if err != nil {
		return nil, fmt.Errorf("open the %s database: %w", o.Driver, err)
	}
	pool, err := g.DB()
	if err != nil {
		return nil, fmt.Errorf("open the %s database: %w", o.Driver, err)
	}
	if o.MaxOpen == 0 {
		o.MaxOpen = 32
	}
	pool.SetMaxOpenConns(o.MaxOpen)
	pool.SetMaxIdleConns(min(o.MaxOpen, 8))
	if o.Driver != "sqlite" { // a file needs no new connections
		pool.SetConnMaxIdleTime(5 * time.Minute)
	}
	if err := pool.PingContext(ctx); err != nil {
		_ = pool.Close()
		return nil, fmt.Errorf("the %s database cannot be reached: %w", o.Driver, oneLine{err})
	}
	return g, nil
}

// oneLine puts an error on one line. pgx repeats a message for each attempt; the result has it
// once.
type oneLine struct{ error }

func (e oneLine) Error() string {
	var lines []string
	for line := range strings.Lines(e.error.Error()) {
		if line = strings.Join(strings.Fields(line), " "); line != "" && !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, " ")
}

func (e oneLine) Unwrap() error { return e.error }

// Close closes all connections.
func Close(g *gorm.DB) error {
	pool, err := g.DB()
	if err != nil {
		return err
	}
	return pool.Close()
}

// printer passes gorm's warnings (slow statements) to zap.
type printer struct{ log *zap.Logger }

// Print is called by the mysql driver for broken connections.
func (p printer) Print(args ...any) {
	p.log.Warn("database", zap.String("says", strings.TrimSpace(fmt.Sprint(args...))))
}

func (p printer) Printf(format string, args ...any) {
	if len(args) > 2 {
		if _, failed := args[1].(error); failed {
			return // the caller received this error of its statement, and logs it
		}
	}
	p.log.Warn("database", zap.String("says", strings.Join(strings.Fields(fmt.Sprintf(format, args...)), " ")))
}

// closeToOthers creates the database file with mode 0600, which SQLite also uses for its -wal and
// -shm files, and restricts existing ones.
func closeToOthers(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		info, err := os.Stat(name)
		if err != nil || info.Mode().Perm()&0o077 == 0 || !info.Mode().IsRegular() {
			continue
		}
		if err := os.Chmod(name, 0o600); err != nil {
			return err
		}
	}
	return nil
}
