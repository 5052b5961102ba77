// Package db opens the application's database through gorm: SQLite in a file, MySQL or MariaDB, PostgreSQL.
//
//	g, err := db.Open(ctx, db.Options{Driver: "sqlite", DSN: "runtime/wsframe.db", Log: log})
//	defer db.Close(g)
//
// A *gorm.DB is safe for concurrent use.
package db
