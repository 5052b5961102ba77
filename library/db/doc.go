// Package db opens the application's database through gorm: SQLite in a file, MySQL or MariaDB, PostgreSQL.
//
//	g, err := db.Open(ctx, db.Options{Driver: "sqlite", DSN: "runtime/wsframe.db", Log: log})
//	defer db.Close(g)
//
// A *gorm.DB is safe for concurrent use. SQLite has one connection, since it has one writer: within a transaction, and while
// Rows are read, use what gorm gave you there; asking the outer value would wait for yourself.
package db
