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
	DSN     string // for sqlite a file
	MaxOpen int    // connections; SQLite uses one, which is what its one writer can do. 0 = 32
	Log     *zap.Logger
}

// Open reaches the database or says in one line why not, before ctx ends.
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
			ParameterizedQueries: true, IgnoreRecordNotFoundError: true, // users' words stay out of the log
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
	if o.Driver != "sqlite" { // a file needs no new connection
		pool.SetConnMaxIdleTime(5 * time.Minute)
	}
	if err := pool.PingContext(ctx); err != nil {
		_ = pool.Close()
		return nil, fmt.Errorf("the %s database cannot be reached: %w", o.Driver, oneLine{err})
	}
	return g, nil
}

// oneLine shows an error on one line, and once what pgx says for each of its tries.
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

// Close ends all connections.
func Close(g *gorm.DB) error {
	pool, err := g.DB()
	if err != nil {
		return err
	}
	return pool.Close()
}

// printer gives gorm's warnings (slow statements) to zap.
type printer struct{ log *zap.Logger }

// Print is what the mysql driver calls, about broken connections.
func (p printer) Print(args ...any) {
	p.log.Warn("database", zap.String("says", strings.TrimSpace(fmt.Sprint(args...))))
}

func (p printer) Printf(format string, args ...any) {
	if len(args) > 2 {
		if _, failed := args[1].(error); failed {
			return // a statement's error, which its caller has been given: logged there, once
		}
	}
	p.log.Warn("database", zap.String("says", strings.Join(strings.Fields(fmt.Sprintf(format, args...)), " ")))
}

// closeToOthers makes the database's file with mode 0600, which SQLite gives its -wal and -shm too, and
// takes their rights from others where an earlier version made them.
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
