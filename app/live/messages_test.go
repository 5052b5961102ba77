package live_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"wsframe/app/live"
	"wsframe/framework"
	"wsframe/library/db"
)

func TestMessagesOnSQLite(t *testing.T) {
	testMessages(t, db.Options{Driver: "sqlite", DSN: filepath.Join(t.TempDir(), "test.db")})
}

// testMessages is the suite for every database.
func testMessages(t *testing.T, o db.Options) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	g, err := db.Open(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(g)
	m := live.NewMessages(g)
	for range 2 { // the second time the table is there
		if err := m.Migrate(ctx); err != nil {
			t.Fatal(err)
		}
	}
	by := framework.Identity{ID: strings.Repeat("i", 64), Type: framework.TypeWall, Code: strings.Repeat("c", 64), Nickname: strings.Repeat("😀", 128)}
	longest := strings.Repeat("&quot;", 500) // 500 characters that were escaped
	before := time.Now().Unix()
	row, err := m.Create(ctx, by, longest)
	if err != nil {
		t.Fatal(err)
	}
	if row.ID == 0 || row.Status != 1 || row.CreateTime < before || row.UpdateTime != row.CreateTime {
		t.Fatalf("%+v", row)
	}
	list, err := m.Shown(ctx, by.Code, 0, 10)
	if err != nil || len(list) != 1 || list[0] != *row {
		t.Fatalf("%+v %v, want %+v", list, err, *row)
	}

	for _, c := range []struct {
		name, code string
		id         int64
	}{{"another room's", "other", row.ID}, {"unknown", by.Code, row.ID + 1}, {"of a code with signs", `' OR 1=1 -- `, row.ID}} {
		if err := m.Recall(ctx, c.code, c.id); err == nil {
			t.Errorf("recalled a message that is %s", c.name)
		}
	}
	var done atomic.Int32 // of many at once, one recalls
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if m.Recall(ctx, by.Code, row.ID) == nil {
				done.Add(1)
			}
		})
	}
	wg.Wait()
	if done.Load() != 1 {
		t.Fatalf("recalled %d times", done.Load())
	}
	if list, err := m.Shown(ctx, by.Code, 0, 10); err != nil || len(list) != 0 {
		t.Fatalf("recalled, but shown: %+v %v", list, err)
	}

	room := framework.Identity{ID: "w1", Type: framework.TypeWall, Code: "A", Nickname: "n"}
	for i := range 25 {
		if _, err := m.Create(ctx, room, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		offset, limit int
		want          string
	}{{0, 3, "24 23 22"}, {3, 3, "21 20 19"}, {24, 10, "0"}, {25, 10, ""}, {1_999_980, 20, ""}} {
		list, err := m.Shown(ctx, "A", c.offset, c.limit)
		if err != nil {
			t.Fatal(err)
		}
		var said []string
		for _, row := range list {
			said = append(said, row.Say)
		}
		if got := strings.Join(said, " "); got != c.want {
			t.Errorf("from %d, %d messages: %q, want %q", c.offset, c.limit, got, c.want)
		}
	}

	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := m.Create(ended, room, "too late"); err == nil {
		t.Error("a message of an ended connection is stored")
	}
}
