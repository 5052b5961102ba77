package history

import (
	"testing"
	"testing/synctest"
	"time"
)

// A budget is spent in calls and returns with time. A debt is paid back first.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b Budget
		remains := func(want bool) {
			t.Helper()
			if b.remains(10, 2) != want {
				t.Fatalf("%v", !want)
			}
		}
		if !b.unspent() {
			t.Fatal("it is unspent")
		}
		remains(true)
		b.spend(9)
		remains(true)
		b.spend(5)
		remains(false)
		time.Sleep(2 * time.Second)
		remains(false)
		time.Sleep(time.Second)
		remains(true)
		if b.unspent() {
			t.Fatal("most of it is spent")
		}
		time.Sleep(time.Minute)
		if !b.unspent() {
			t.Fatal("it is unspent again")
		}
	})
}

// The budgets of users who did nothing lately are forgotten.
func TestBudgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b budgets
		if one := b.of("busy"); !one.remains(userBurst, userRate) {
			t.Fatal("unspent")
		}
		b.of("busy").spend(userBurst)
		for i := range maxBudgets {
			b.of(string(rune('a'+i%26)) + time.Duration(i).String())
		}
		if len(b.list) > maxBudgets || b.of("busy").remains(userBurst, userRate) {
			t.Fatalf("%d budgets", len(b.list))
		}
	})
}
