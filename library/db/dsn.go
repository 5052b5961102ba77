package db

import (
	"errors"
	"fmt"
	"strings"

	mysqldriver "github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
)

// Check parses a DSN for a driver, without a connection. The error contains no part of the DSN,
// because an unreadable one may have a password anywhere.
func Check(driver, dsn string) error {
	switch driver {
	case "sqlite":
		return nil
	case "mysql":
		_, err := mysqldriver.ParseDSN(dsn)
		if err == nil {
			return nil
		}
		why, ok := strings.CutPrefix(err.Error(), "invalid DSN: ") // these errors are constants
		if !ok {
			why = "a part of it cannot be read"
		}
		return fmt.Errorf("the mysql DSN is not USER:PASSWORD@tcp(HOST:PORT)/DATABASE?OPTIONS: %s", why)
	case "postgres":
		if _, err := pgx.ParseConfig(dsn); err != nil {
			return errors.New("the postgres DSN cannot be read: write host=HOST user=USER password='PASSWORD' dbname=DATABASE, or postgres://USER:PASSWORD@HOST:PORT/DATABASE " +
				"with special characters of the password as %40, and only files and options that exist")
		}
		return nil
	}
	return fmt.Errorf("database driver %.40q: sqlite, mysql or postgres", driver)
}
