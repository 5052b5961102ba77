package db

import (
	"database/sql"
	"fmt"
	"strings"
	"time"

	mysqldriver "github.com/go-sql-driver/mysql"
	"go.uber.org/zap"
	"gorm.io/driver/mysql"
	"gorm.io/gorm"
)

// charset is MySQL's character set for all characters. Its utf8 has at most three bytes for each,
// and so no emoji.
const charset = "utf8mb4"

// openMySQL sets options that gorm's models and our applications rely on, whatever the DSN says:
// times are parsed, text is UTF-8, and an UPDATE counts all rows that it found, as in the other
// databases, not only changed ones.
func openMySQL(dsn string, log *zap.Logger) (*sql.DB, error) {
	c, err := mysqldriver.ParseDSN(dsn)
	if err != nil {
		return nil, err
	}
	c.ParseTime, c.ClientFoundRows = true, true
	collation := c.Collation
	if !strings.HasPrefix(collation, charset+"_") {
		collation = ""
	}
	if err := c.Apply(mysqldriver.Charset(charset, collation)); err != nil { // SET NAMES: a server may ignore the character set in the handshake
		return nil, err
	}
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Second // for dialing
	}
	c.Logger = printer{log} // by default, the driver writes to stderr
	connector, err := mysqldriver.NewConnector(c)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

// mysqlDialect is gorm's dialect, with tables for all characters whatever the database's default.
type mysqlDialect struct {
	*mysql.Dialector
	log *zap.Logger
}

func newMySQL(pool *sql.DB, log *zap.Logger) gorm.Dialector {
	return mysqlDialect{&mysql.Dialector{Config: &mysql.Config{Conn: pool, SkipInitializeWithVersion: true, DefaultStringSize: 255}}, log}
}

func (d mysqlDialect) Migrator(g *gorm.DB) gorm.Migrator {
	m, _ := d.Dialector.Migrator(g).(mysql.Migrator) // the dialect makes no other type
	return mysqlMigrator{m, d.log}
}

type mysqlMigrator struct {
	mysql.Migrator
	log *zap.Logger
}

// CreateTable adds the character set to the table's options, unless they already name one.
func (m mysqlMigrator) CreateTable(models ...any) error {
	const key = "gorm:table_options"
	set, _ := m.DB.Get(key)
	options, _ := set.(string)
	if upper := strings.ToUpper(options); !strings.Contains(upper, "CHARSET") && !strings.Contains(upper, "CHARACTER SET") {
		m.DB = m.DB.Set(key, strings.TrimSpace(options+" DEFAULT CHARSET="+charset))
	}
	return m.Migrator.CreateTable(models...)
}

// AutoMigrate warns of columns with another character set. It does not convert them, because the
// conversion of a large table takes long.
func (m mysqlMigrator) AutoMigrate(models ...any) error {
	if err := m.Migrator.AutoMigrate(models...); err != nil {
		return err
	}
	for _, model := range models {
		if err := m.RunWithValue(model, m.warn); err != nil {
			return err
		}
	}
	return nil
}

func (m mysqlMigrator) warn(s *gorm.Statement) error {
	var columns []string
	err := m.DB.Raw("SELECT CONCAT(column_name, ' ', character_set_name) FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = ? "+
		"AND character_set_name <> ? ORDER BY ordinal_position", s.Table, charset).Scan(&columns).Error
	if err != nil {
		return fmt.Errorf("read the character sets of %s: %w", s.Table, err)
	}
	if len(columns) > 0 {
		m.log.Warn("the table "+s.Table+" is not "+charset+": rows with Chinese or emoji may be refused; convert it by ALTER TABLE "+s.Table+" CONVERT TO CHARACTER SET "+charset,
			zap.Strings("columns", columns))
	}
	return nil
}
