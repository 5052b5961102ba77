package db

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"gorm.io/gorm/logger"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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
	other, err := Open(ctx, Options{Driver: "sqlite", DSN: file}) // like a second process during a reload
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

type team struct {
	ID        int64
	Name      string `gorm:"size:64;uniqueIndex"`
	Score     int    `gorm:"check:score_positive,score >= 0"`
	Active    bool   `gorm:"not null;default:true"`
	Rate      float64
	Raw       []byte
	Left      *time.Time
	Players   []player `gorm:"constraint:OnDelete:CASCADE"`
	CreatedAt time.Time
}

type player struct {
	ID     int64  `gorm:"primaryKey;autoIncrement"`
	TeamID int64  `gorm:"index"`
	Name   string `gorm:"size:64"`
}

// runModels tests what an application's models use. Every database must give the same results.
func runModels(t *testing.T, g *gorm.DB) {
	ctx := t.Context()
	g = g.WithContext(ctx)
	for range 3 { // every start migrates
		if err := g.AutoMigrate(&team{}, &player{}); err != nil {
			t.Fatal(err)
		}
	}
	at := time.Date(2024, 2, 29, 12, 30, 15, 0, time.FixedZone("CST", 8*3600))
	a := team{Name: "红队😀", Score: 3, Rate: 1.5, Raw: []byte{0, 255}, Left: &at, Active: true, Players: []player{{Name: "小明"}, {Name: "小红"}}}
	if err := g.Create(&a).Error; err != nil || a.ID == 0 || a.Players[1].ID == 0 {
		t.Fatal(a, err)
	}
	many := []team{{Name: "b", Active: true}, {Name: "c", Active: true}, {Name: "d", Active: true}}
	if err := g.Create(&many).Error; err != nil || many[2].ID != many[0].ID+2 {
		t.Fatal(many, err)
	}
	var got team
	if err := g.Preload("Players").First(&got, "name = ?", "红队😀").Error; err != nil || got.Rate != 1.5 || len(got.Raw) != 2 || !got.Active ||
		got.Left == nil || !got.Left.Equal(at) || len(got.Players) != 2 || time.Since(got.CreatedAt).Abs() > time.Minute {
		t.Errorf("%+v, %v", got, err)
	}
	if err := g.First(&team{}, "name = ?", "nobody").Error; !errors.Is(err, gorm.ErrRecordNotFound) {
		t.Errorf("no row: %v", err)
	}
	if g.Create(&team{Name: "b"}).Error == nil {
		t.Error("a second b is taken")
	}
	if g.Create(&team{Name: "e", Score: -1}).Error == nil {
		t.Error("the check is not made")
	}
	if g.Create(&player{TeamID: 999}).Error == nil {
		t.Error("a player of no team is taken")
	}
	for range 2 { // the second update changes no row, but still finds it
		if r := g.Model(&team{}).Where("name = ?", "b").UpdateColumn("score", 9); r.Error != nil || r.RowsAffected != 1 {
			t.Errorf("update: %d rows, %v", r.RowsAffected, r.Error)
		}
	}
	upsert := clause.OnConflict{Columns: []clause.Column{{Name: "name"}}, DoUpdates: clause.AssignmentColumns([]string{"score"})}
	if err := g.Clauses(upsert).Create(&team{Name: "c", Score: 5, Active: true}).Error; err != nil {
		t.Errorf("upsert: %v", err)
	}
	var names []string
	if err := g.Model(&team{}).Where("created_at < ?", time.Now().Add(time.Hour)).Order("score DESC, id").Limit(2).Offset(1).Pluck("name", &names).Error; err != nil || fmt.Sprint(names) != "[c 红队😀]" {
		t.Errorf("%v, %v", names, err)
	}
	err := g.Transaction(func(tx *gorm.DB) error {
		var row team
		if err := tx.Clauses(clause.Locking{Strength: "UPDATE"}).First(&row, "name = ?", "d").Error; err != nil {
			return err
		}
		inner := tx.Transaction(func(tx *gorm.DB) error {
			if err := tx.Model(&row).UpdateColumn("score", 100).Error; err != nil {
				return err
			}
			return errors.New("taken back")
		})
		if inner == nil || inner.Error() != "taken back" {
			return fmt.Errorf("the inner transaction: %w", inner)
		}
		return tx.Model(&team{}).Where("name = ?", "d").UpdateColumn("rate", 2).Error
	})
	d := team{}
	if e := g.First(&d, "name = ?", "d").Error; err != nil || e != nil || d.Score != 0 || d.Rate != 2 {
		t.Errorf("transactions: %+v, %v, %v", d, err, e)
	}
	if err := g.Unscoped().Delete(&team{}, a.ID).Error; err != nil {
		t.Error(err)
	}
	var left int64
	if err := g.Model(&player{}).Count(&left).Error; err != nil || left != 0 {
		t.Errorf("%d players are left, %v", left, err)
	}
	m := g.Migrator()
	tables, err := m.GetTables()
	if err != nil || !slices.Contains(tables, "teams") || !slices.Contains(tables, "players") {
		t.Errorf("tables: %v, %v", tables, err)
	}
	if !m.HasIndex(&team{}, "idx_teams_name") || !m.HasConstraint(&team{}, "score_positive") || m.HasConstraint(&team{}, "positive") || m.HasTable("nothing") {
		t.Error("the schema is not what it should be")
	}
	if err := m.DropIndex(&team{}, "idx_teams_name"); err != nil || m.HasIndex(&team{}, "idx_teams_name") {
		t.Errorf("drop the index: %v", err)
	}
	if err := m.DropTable(&player{}, &team{}); err != nil {
		t.Error(err)
	}
}

func TestSQLiteModels(t *testing.T) {
	g, err := Open(t.Context(), Options{Driver: "sqlite", DSN: filepath.Join(t.TempDir(), "models.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer Close(g)
	var mode, text string
	if err := g.Raw("PRAGMA journal_mode").Scan(&mode).Error; err != nil || mode != "wal" {
		t.Errorf("journal_mode %s, %v", mode, err)
	}
	if err := g.Raw("SELECT datetime(?)", time.Date(2024, 2, 29, 12, 30, 15, 5e8, time.FixedZone("CST", 8*3600))).Scan(&text).Error; err != nil || text != "2024-02-29 04:30:15" {
		t.Errorf("SQLite reads a time as %q, %v", text, err)
	}
	runModels(t, g)
	if err := g.AutoMigrate(&note{}); err != nil {
		t.Fatal(err)
	}
	if err := g.Create(&[]note{{Code: "a"}, {Code: "b"}}).Error; err != nil {
		t.Fatal(err)
	}
	var rest []note
	if err := g.Offset(1).Find(&rest).Error; err != nil || len(rest) != 1 {
		t.Errorf("OFFSET alone: %v, %v", rest, err)
	}
}

// The log contains no texts of users. The caller of a failed statement logs its error.
func TestLogHoldsNoParameters(t *testing.T) {
	core, seen := observer.New(zap.DebugLevel)
	g, err := Open(t.Context(), Options{Driver: "sqlite", DSN: filepath.Join(t.TempDir(), "l.db"), Log: zap.New(core)})
	if err != nil {
		t.Fatal(err)
	}
	defer Close(g)
	if g.Exec("INSERT INTO missing VALUES (?)", "my secret words").Error == nil {
		t.Fatal("there is such a table")
	}
	if seen.Len() != 0 {
		t.Fatalf("logged %v", seen.All())
	}
	if err := g.Session(&gorm.Session{Logger: g.Logger.LogMode(logger.Info)}).Exec("CREATE TABLE words AS SELECT ?", "my secret words").Error; err != nil {
		t.Fatal(err)
	}
	if seen.Len() != 1 {
		t.Fatalf("%d lines", seen.Len())
	}
	if said := fmt.Sprint(seen.All()[0].ContextMap()); strings.Contains(said, "secret") || !strings.Contains(said, "CREATE TABLE words") || strings.Contains(said, "\n") {
		t.Errorf("%s", said)
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
		if _, err := Open(ctx, o); err == nil || strings.Contains(err.Error(), "\n") || strings.Count(err.Error(), "refused") > 1 {
			t.Errorf("%s: %v", o.Driver, err)
		}
	}
}

// A DSN that cannot be parsed is refused without a connection, and the error shows no part of it.
func TestCheck(t *testing.T) {
	for driver, list := range map[string][]string{
		"mysql": {
			"s3cret", "u:s3cret@tcp(h:1)", "u:s3cret@tcp(h:1/db", "u:s3cret@s3cret/db", "u:s3cret@tcp(h)/db?parseTime=s3cret", "u:s3cret@tcp(h)/db?loc=Nowhere/s3cret",
			"u:s3cret@tcp(h)/db?tls=s3cret", "mysql://u:s3cret@h/db", "u:s3cret@tcp(h)/d%zz", "u:s3cret@tcp(h)/db?timeout=s3cret",
		},
		"postgres": {
			"s3cret", "postgres://u:s3cret@h:port/db", "postgres://u:s3 cret@h/db", "host=h password=s3cret sslmode=maybe", "host=h password='s3cret", "password s3cret",
			"postgres://u:s3cret@h/db?sslmode=s3cret", "postgres://u:s3cret@h/db%zz", "host=h port=99999 password=s3cret", "host=h sslmode=verify-full sslrootcert=/s3cret",
		},
		"s3cret": {"x"},
	} {
		for _, dsn := range list {
			err := Check(driver, dsn)
			if err == nil || driver != "s3cret" && strings.Contains(err.Error(), "s3") || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s %s: %v", driver, dsn, err)
			}
			if _, opened := Open(t.Context(), Options{Driver: driver, DSN: dsn}); err != nil && (opened == nil || opened.Error() != err.Error()) {
				t.Errorf("%s %s: opened: %v", driver, dsn, opened)
			}
		}
	}
	for driver, dsn := range map[string]string{
		"sqlite": "a file", "mysql": "u:p@ss:w/ord@tcp([::1]:3306)/db?charset=utf8mb4&loc=Asia%2FShanghai", "postgres": "postgres://u:p%40ss@h:5432/db?sslmode=disable",
	} {
		if err := Check(driver, dsn); err != nil {
			t.Error(err)
		}
	}
}
