//go:build e2e && unix

package db

import (
	"context"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"gorm.io/gorm"

	"wsframe/internal/testserver"
)

func TestMariaDB(t *testing.T) {
	s := testserver.StartMariaDB(t)
	for _, dsn := range []string{s.DSN, s.DSN + "?charset=utf8mb4&parseTime=True"} {
		g, err := Open(t.Context(), Options{Driver: "mysql", DSN: dsn})
		if err != nil {
			t.Fatal(err)
		}
		runModels(t, g)
		if err := Close(g); err != nil {
			t.Fatal(err)
		}
	}
	wrong := strings.Replace(s.DSN, "wsframe:", "wsframe:x", 1)
	if _, err := Open(t.Context(), Options{Driver: "mysql", DSN: wrong}); err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("a wrong password: %v", err)
	}
}

// verse is a model for this test.
type verse struct {
	ID   int64
	Text string `gorm:"size:64;index"`
	Note string `gorm:"type:text"`
}

// Every character can be stored, whatever the default of the database and the character set of the
// DSN. A warning names an existing table that cannot store all characters.
func TestMariaDBCharsets(t *testing.T) {
	s := testserver.StartMariaDB(t)
	plain, err := openMySQL(s.DSN, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	const text = "现场😀𠮷é"
	for i, tc := range []struct{ charset, options string }{
		{"latin1", ""}, {"utf8mb3", "?charset=utf8"}, {"gbk", "?charset=latin1&collation=latin1_swedish_ci"}, {"utf8mb4", "?collation=utf8mb4_bin"}, {"ascii", "?charset=utf8mb4,utf8"},
	} {
		t.Run(tc.charset, func(t *testing.T) {
			name := "wsframe_" + tc.charset
			if _, err := plain.Exec("CREATE DATABASE " + name + " CHARACTER SET " + tc.charset); err != nil {
				t.Fatal(err)
			}
			core, seen := observer.New(zap.WarnLevel)
			g, err := Open(t.Context(), Options{Driver: "mysql", DSN: strings.Replace(s.DSN, "/wsframe", "/"+name, 1) + tc.options, Log: zap.New(core)})
			if err != nil {
				t.Fatal(err)
			}
			defer Close(g)
			for range 2 {
				if err := g.WithContext(t.Context()).AutoMigrate(&verse{}); err != nil {
					t.Fatal(err)
				}
			}
			if seen.Len() != 0 {
				t.Errorf("a table of our own is warned of: %v", seen.All())
			}
			stores(t, g, text, true)
			for _, change := range []string{"CONVERT TO CHARACTER SET latin1", "MODIFY text VARCHAR(64) CHARACTER SET utf8mb3"} {
				if err := g.Exec("DROP TABLE verses").Error; err != nil {
					t.Fatal(err)
				}
				if err := g.Set("gorm:table_options", "ENGINE=InnoDB COMMENT='mine'").AutoMigrate(&verse{}); err != nil {
					t.Fatal(err)
				}
				stores(t, g, text, true)
				if err := g.Exec("DELETE FROM verses").Error; err != nil {
					t.Fatal(err)
				}
				if err := g.Exec("ALTER TABLE verses " + change).Error; err != nil {
					t.Fatal(err)
				}
				stores(t, g, text, false)
				if err := g.AutoMigrate(&verse{}); err != nil {
					t.Fatal(err)
				}
				list := seen.TakeAll()
				if change == "MODIFY text VARCHAR(64) CHARACTER SET utf8mb3" && len(list) == 0 { // gorm saw a changed column, and restored the table's character set
					stores(t, g, text, true)
					continue
				}
				if len(list) != 1 || !strings.Contains(list[0].Message, "verses is not utf8mb4") {
					t.Errorf("%d, %s: %v", i, change, list)
				}
			}
		})
	}
}

// stores tells whether a text is read as it was written.
func stores(t *testing.T, g *gorm.DB, text string, want bool) {
	t.Helper()
	row, back := verse{Text: text, Note: text}, verse{}
	err := g.WithContext(context.Background()).Create(&row).Error
	if err == nil {
		err = g.First(&back, "id = ?", row.ID).Error
	}
	if ok := err == nil && back == row; ok != want {
		t.Errorf("%+v %v", back, err)
	}
}
