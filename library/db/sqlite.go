package db

import (
	"net/url"

	"github.com/libtnb/sqlite"
	"gorm.io/gorm"
	"gorm.io/gorm/schema"
)

// sqliteDialect is libtnb's, whose AutoMigrate only makes what is missing.
type sqliteDialect struct{ *sqlite.Dialector }

// newSQLite opens with a write-ahead log, which survives a crash of the process, and waits up to 5 s for the writer of
// another process: two workers share the file during a reload.
func newSQLite(file string) gorm.Dialector {
	// Times are written as 2006-01-02 15:04:05.999999999+00:00, which sorts and which SQLite's own functions read. A text is not
	// guessed to be one.
	q := url.Values{
		"_txlock": {"immediate"}, "_time_format": {"sqlite"}, "_timezone": {"UTC"}, "_texttotime": {"0"}, "_inttotime": {"0"},
		"_pragma": {"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(NORMAL)", "foreign_keys(ON)"},
	}
	return sqliteDialect{&sqlite.Dialector{DSN: "file:" + (&url.URL{Path: file}).EscapedPath() + "?" + q.Encode()}}
}

func (d sqliteDialect) Migrator(g *gorm.DB) gorm.Migrator {
	m, _ := d.Dialector.Migrator(g).(*sqlite.Migrator) // it makes no other
	return sqliteMigrator{m}
}

type sqliteMigrator struct{ *sqlite.Migrator }

// MigrateColumn leaves a column as it is. SQLite could change one only by copying the table, which would hold up the worker that serves.
func (sqliteMigrator) MigrateColumn(any, *schema.Field, gorm.ColumnType) error { return nil }
