package db

import (
	"errors"
	"fmt"
	"strings"

	mysqldriver "github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
)

// Check tells whether the driver can read the DSN, without reaching anything. No part of the DSN stands in the error: it may hold a password, and
// where it cannot be read nobody knows which part that is.
func Check(driver, dsn string) error {
	switch driver {
	case "sqlite":
		return nil
	case "mysql":
		_, err := mysqldriver.ParseDSN(dsn)
		if err == nil {
			return nil
		}
		why, ok := strings.CutPrefix(err.Error(), "invalid DSN: ") // those are constant
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
