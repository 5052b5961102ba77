package history

import (
	"testing"
	"testing/synctest"
	"time"
)

// A budget is spent in calls and comes back with time; what one call costs beyond it is paid back first.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b Budget
		left := func(want bool) {
			t.Helper()
			if b.left(10, 2) != want {
				t.Fatalf("%v", !want)
			}
		}
		if !b.whole() {
			t.Fatal("it is unspent")
		}
		left(true)
		b.spend(9)
		left(true)
		b.spend(5)
		left(false)
		time.Sleep(2 * time.Second)
		left(false)
		time.Sleep(time.Second)
		left(true)
		if b.whole() {
			t.Fatal("most of it is spent")
		}
		time.Sleep(time.Minute)
		if !b.whole() {
			t.Fatal("it is unspent again")
		}
	})
}

// The budgets of users who did nothing lately are forgotten.
func TestBudgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b budgets
		if one := b.of("busy"); !one.left(userBurst, userRate) {
			t.Fatal("unspent")
		}
		b.of("busy").spend(userBurst)
		for i := range maxBudgets {
			b.of(string(rune('a'+i%26)) + time.Duration(i).String())
		}
		if len(b.list) > maxBudgets || b.of("busy").left(userBurst, userRate) {
			t.Fatalf("%d budgets", len(b.list))
		}
	})
}
