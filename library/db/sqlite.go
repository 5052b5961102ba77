package db

import (
	"database/sql"
	"fmt"
	"net/url"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/callbacks"
	"gorm.io/gorm/clause"
	"gorm.io/gorm/logger"
	"gorm.io/gorm/migrator"
	"gorm.io/gorm/schema"
	_ "modernc.org/sqlite" // the driver: pure Go
)

// sqlite is gorm's view of SQLite over modernc.org/sqlite. gorm's own driver needs cgo, and the pure-Go forks of it are
// behind; what is missing is this much.
type sqlite struct{ dsn string }

var _ gorm.SavePointerDialectorInterface = sqlite{}

// newSQLite opens with a write-ahead log, which survives a crash of the process, and waits up to 5 s for the writer of
// another process: two workers share the file during a reload.
func newSQLite(file string) gorm.Dialector {
	// Times are written as 2006-01-02 15:04:05.999999999+00:00, which sorts and which SQLite's own functions read.
	q := url.Values{"_txlock": {"immediate"}, "_time_format": {"sqlite"}, "_timezone": {"UTC"}, "_pragma": {"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(NORMAL)", "foreign_keys(ON)"}}
	return sqlite{"file:" + (&url.URL{Path: file}).EscapedPath() + "?" + q.Encode()}
}

func (sqlite) Name() string { return "sqlite" }

func (d sqlite) Initialize(g *gorm.DB) error {
	callbacks.RegisterDefaultCallbacks(g, &callbacks.Config{
		CreateClauses:        []string{"INSERT", "VALUES", "ON CONFLICT", "RETURNING"},
		UpdateClauses:        []string{"UPDATE", "SET", "FROM", "WHERE", "RETURNING"},
		DeleteClauses:        []string{"DELETE", "FROM", "WHERE", "RETURNING"},
		LastInsertIDReversed: true,
	})
	pool, err := sql.Open("sqlite", d.dsn)
	if err != nil {
		return err
	}
	g.ConnPool = pool
	g.ClauseBuilders["FOR"] = func(clause.Clause, clause.Builder) {} // FOR UPDATE: a transaction has the whole database here
	g.ClauseBuilders["LIMIT"] = limit
	return nil
}

// limit writes LIMIT -1, which means all, before an OFFSET that stands alone: SQLite wants both.
func limit(c clause.Clause, b clause.Builder) {
	l, ok := c.Expression.(clause.Limit)
	if !ok {
		return
	}
	if none := -1; l.Offset > 0 && (l.Limit == nil || *l.Limit < 0) {
		_, _ = b.WriteString("LIMIT ")
		b.AddVar(b, none)
		_, _ = b.WriteString(" ")
		l.Limit = nil
	}
	l.Build(b)
}

// SavePoint and RollbackTo make transactions within transactions.
func (sqlite) SavePoint(tx *gorm.DB, name string) error {
	return tx.Exec("SAVEPOINT " + name).Error // gorm's own names
}

func (sqlite) RollbackTo(tx *gorm.DB, name string) error {
	return tx.Exec("ROLLBACK TO SAVEPOINT " + name).Error
}

func (sqlite) Migrator(g *gorm.DB) gorm.Migrator {
	return sqliteMigrator{migrator.Migrator{Config: migrator.Config{DB: g, Dialector: g.Dialector, CreateIndexAfterCreateTable: true}}}
}

func (sqlite) DataTypeOf(f *schema.Field) string {
	switch f.DataType {
	case schema.Bool:
		return "numeric"
	case schema.Int, schema.Uint:
		if f.AutoIncrement {
			return "integer PRIMARY KEY AUTOINCREMENT" // never gives a deleted row's id again
		}
		return "integer"
	case schema.Float:
		return "real"
	case schema.String:
		return "text"
	case schema.Time:
		return "datetime"
	case schema.Bytes:
		return "blob"
	}
	return string(f.DataType)
}

func (sqlite) DefaultValueOf(f *schema.Field) clause.Expression {
	if f.AutoIncrement {
		return clause.Expr{SQL: "NULL"}
	}
	return clause.Expr{SQL: "DEFAULT"}
}

func (sqlite) BindVarTo(w clause.Writer, _ *gorm.Statement, _ any) { _ = w.WriteByte('?') }

func (sqlite) QuoteTo(w clause.Writer, s string) {
	for i, part := range strings.Split(s, ".") {
		if i > 0 {
			_ = w.WriteByte('.')
		}
		_, _ = w.WriteString("`" + strings.ReplaceAll(part, "`", "``") + "`")
	}
}

func (sqlite) Explain(query string, vars ...any) string {
	return logger.ExplainSQL(query, nil, `"`, vars...)
}

// sqliteMigrator makes what is missing: tables, columns and indexes. It never changes a column, which SQLite could only do by
// copying the table.
type sqliteMigrator struct{ migrator.Migrator }

func (m sqliteMigrator) exists(query string, args ...any) bool {
	var n int64
	return m.DB.Raw(query, args...).Row().Scan(&n) == nil && n > 0
}

func (m sqliteMigrator) HasTable(v any) (found bool) {
	_ = m.RunWithValue(v, func(s *gorm.Statement) error {
		found = m.exists("SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?", s.Table)
		return nil
	})
	return found
}

func (m sqliteMigrator) HasColumn(v any, name string) (found bool) {
	_ = m.RunWithValue(v, func(s *gorm.Statement) error {
		if s.Schema != nil {
			if f := s.Schema.LookUpField(name); f != nil {
				name = f.DBName
			}
		}
		found = m.exists("SELECT count(*) FROM pragma_table_info(?) WHERE name = ?", s.Table, name)
		return nil
	})
	return found
}

func (m sqliteMigrator) HasIndex(v any, name string) (found bool) {
	_ = m.RunWithValue(v, func(s *gorm.Statement) error {
		if s.Schema != nil {
			if idx := s.Schema.LookIndex(name); idx != nil {
				name = idx.Name
			}
		}
		found = m.exists("SELECT count(*) FROM sqlite_master WHERE type = 'index' AND tbl_name = ? AND name = ?", s.Table, name)
		return nil
	})
	return found
}

// HasConstraint looks into the table's text: SQLite keeps constraints nowhere else by name.
func (m sqliteMigrator) HasConstraint(v any, name string) (found bool) {
	_ = m.RunWithValue(v, func(s *gorm.Statement) error {
		constraint, table := m.GuessConstraintInterfaceAndTable(s, name)
		if constraint != nil {
			name = constraint.GetName()
		}
		found = m.exists("SELECT count(*) FROM sqlite_master WHERE type = 'table' AND tbl_name = ? AND instr(sql, ?) > 0", table, "CONSTRAINT `"+name+"` ")
		return nil
	})
	return found
}

func (m sqliteMigrator) CreateConstraint(v any, name string) error {
	return m.RunWithValue(v, func(s *gorm.Statement) error {
		return fmt.Errorf("sqlite cannot add the constraint %s to the existing table %s", name, s.Table)
	})
}

func (m sqliteMigrator) DropIndex(v any, name string) error {
	return m.RunWithValue(v, func(s *gorm.Statement) error {
		if s.Schema != nil {
			if idx := s.Schema.LookIndex(name); idx != nil {
				name = idx.Name
			}
		}
		return m.DB.Exec("DROP INDEX ?", clause.Column{Name: name}).Error
	})
}

func (m sqliteMigrator) GetTables() (names []string, err error) {
	err = m.DB.Raw("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name").Scan(&names).Error
	return names, err
}

func (m sqliteMigrator) MigrateColumn(any, *schema.Field, gorm.ColumnType) error { return nil }

func (m sqliteMigrator) CurrentDatabase() string { return "main" }
