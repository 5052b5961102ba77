package db_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"wsframe/library/db"
)

type note struct {
	ID   uint
	Text string
}

// A database in a file is opened, migrated and used by gorm.
func Example() {
	dir, err := os.MkdirTemp("", "db-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)

	g, err := db.Open(context.Background(), db.Options{Driver: "sqlite", DSN: filepath.Join(dir, "notes.db")})
	if err != nil {
		panic(err)
	}
	defer db.Close(g)
	if err := g.AutoMigrate(&note{}); err != nil {
		panic(err)
	}
	fmt.Println(g.Create(&note{Text: "hello"}).Error)
	var n note
	fmt.Println(g.First(&n).Error, n.ID, n.Text)
	// Output:
	// <nil>
	// <nil> 1 hello
}
