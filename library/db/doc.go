// Package db opens the application's database through gorm: SQLite in a file, MySQL, MariaDB, or
// PostgreSQL.
//
//	g, err := db.Open(ctx, db.Options{Driver: "sqlite", DSN: "runtime/wsframe.db", Log: log})
//	defer db.Close(g)
//
// A *gorm.DB is safe for concurrent use. SQLite has one writer, and therefore one connection.
// Inside a transaction, and while you read Rows, use the value that gorm passed to you: the outer
// value would wait for that connection forever.
package db
