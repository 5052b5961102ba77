package db

import (
	"context"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

type note struct {
	ID   int64  `gorm:"primaryKey;autoIncrement"`
	Code string `gorm:"size:64;index"`
	Say  string
	At   time.Time
}

type noteV2 struct {
	ID   int64 `gorm:"primaryKey;autoIncrement"`
	Code string
	Say  string
	At   time.Time
	More string
}

func (noteV2) TableName() string { return "notes" }

func TestSQLite(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a dir", "t?.db")
	ctx := context.Background()
	g, err := Open(ctx, Options{Driver: "sqlite", DSN: file})
	if err != nil {
		t.Fatal(err)
	}
	other, err := Open(ctx, Options{Driver: "sqlite", DSN: file}) // another process's, as during a reload
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := g.AutoMigrate(&note{}); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	for i := range 40 {
		db := g
		if i%2 == 0 {
			db = other
		}
		wg.Go(func() {
			if err := db.WithContext(ctx).Create(&note{Code: "A", Say: "小明😀`'", At: time.Now()}).Error; err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := g.AutoMigrate(&noteV2{}); err != nil {
		t.Fatal(err)
	}
	var rows []noteV2
	if err := other.Where("code = ?", "A").Order("id desc").Limit(10).Find(&rows).Error; err != nil || len(rows) != 10 || rows[0].ID != 40 || rows[0].Say != "小明😀`'" {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	res := g.Model(&noteV2{}).Where("id = ?", 7).Update("more", "x")
	if res.Error != nil || res.RowsAffected != 1 {
		t.Fatal(res.RowsAffected, res.Error)
	}
	if err := Close(g); err != nil {
		t.Fatal(err)
	}
	if err := Close(other); err != nil {
		t.Fatal(err)
	}
}

func TestUnreachable(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for _, o := range []Options{
		{Driver: "mysql", DSN: "u:p@tcp(127.0.0.1:1)/x"},
		{Driver: "postgres", DSN: "host=127.0.0.1 port=1 user=u dbname=x"},
		{Driver: "sqlite", DSN: "/dev/null/x.db"},
		{Driver: "oracle"},
	} {
		if _, err := Open(ctx, o); err == nil || strings.Contains(err.Error(), "\n") && o.Driver != "postgres" {
			t.Errorf("%s: %v", o.Driver, err)
		}
	}
}
