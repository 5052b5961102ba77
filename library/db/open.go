package db

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.uber.org/zap"
	"gorm.io/driver/mysql"
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
	var d gorm.Dialector
	switch o.Driver {
	case "sqlite":
		if err := os.MkdirAll(filepath.Dir(o.DSN), 0o755); err != nil {
			return nil, fmt.Errorf("make the directory of the sqlite database: %w", err)
		}
		d, o.MaxOpen = newSQLite(o.DSN), 1
	case "mysql":
		d = mysql.New(mysql.Config{DSN: o.DSN, SkipInitializeWithVersion: true, DefaultStringSize: 255})
	case "postgres":
		d = postgres.Open(o.DSN)
	default:
		return nil, fmt.Errorf("database driver %q: sqlite, mysql or postgres", o.Driver)
	}
	log := o.Log
	if log == nil {
		log = zap.NewNop()
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
	pool.SetConnMaxIdleTime(5 * time.Minute)
	if err := pool.PingContext(ctx); err != nil {
		_ = pool.Close()
		return nil, fmt.Errorf("the %s database cannot be reached: %w", o.Driver, err)
	}
	return g, nil
}

// Close ends all connections.
func Close(g *gorm.DB) error {
	pool, err := g.DB()
	if err != nil {
		return err
	}
	return pool.Close()
}

// printer gives gorm's warnings (slow and failed statements) to zap.
type printer struct{ log *zap.Logger }

func (p printer) Printf(format string, args ...any) {
	p.log.Warn("database", zap.String("says", strings.Join(strings.Fields(fmt.Sprintf(format, args...)), " ")))
}
