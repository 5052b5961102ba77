package db

import (
	"net/url"

	"github.com/libtnb/sqlite"
	"gorm.io/gorm"
	"gorm.io/gorm/schema"
)

// sqliteDialect is the dialect of libtnb/sqlite, with an AutoMigrate that only adds what is
// missing.
type sqliteDialect struct{ *sqlite.Dialector }

// newSQLite opens the file with a write-ahead log, which survives a crash of the process. A write
// waits up to 5 s for another process, because two workers share the file during a reload.
func newSQLite(file string) gorm.Dialector {
	// Times are written as 2006-01-02 15:04:05.999999999+00:00, which sorts by time and is readable
	// for SQLite's functions. Other texts are never interpreted as times.
	q := url.Values{
		"_txlock": {"immediate"}, "_time_format": {"sqlite"}, "_timezone": {"UTC"}, "_texttotime": {"0"}, "_inttotime": {"0"},
		"_pragma": {"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(NORMAL)", "foreign_keys(ON)"},
	}
	return sqliteDialect{&sqlite.Dialector{DSN: "file:" + (&url.URL{Path: file}).EscapedPath() + "?" + q.Encode()}}
}

func (d sqliteDialect) Migrator(g *gorm.DB) gorm.Migrator {
	m, _ := d.Dialector.Migrator(g).(*sqlite.Migrator) // the dialect makes no other type
	return sqliteMigrator{m}
}

type sqliteMigrator struct{ *sqlite.Migrator }

// MigrateColumn changes no column. SQLite would have to copy the table, which would block the
// worker that serves.
func (sqliteMigrator) MigrateColumn(any, *schema.Field, gorm.ColumnType) error { return nil }
