package history

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"wsframe/framework/bus"
)

// The budgets of clients' reads, in calls to Redis: at most burst at once, and rate in a second.
const (
	// Recoveries of a connection. The burst is everything that a client can have missed.
	recoverBurst, recoverRate = MaxRooms * (maxRecover/bus.PageItems + 1), 10
	// Pages of a connection (sys.history).
	pageBurst, pageRate = 60, 5
	// Pages of all connections of a user on this node.
	userBurst, userRate = 120, 10
)

// Budget bounds what the reads of one client or user cost. The zero value is unspent, and takes no
// memory. A Budget is safe for concurrent use.
type Budget struct{ limiter atomic.Pointer[rate.Limiter] }

// remains tells whether something remains of a budget of burst, to which perSecond returns each
// second.
func (b *Budget) remains(burst int, perSecond rate.Limit) bool {
	l := b.limiter.Load()
	if l == nil {
		b.limiter.CompareAndSwap(nil, rate.NewLimiter(perSecond, burst))
		l = b.limiter.Load()
	}
	return l.Tokens() > 0
}

// spend takes the cost of calls, after remains. A cost beyond what remains is a debt, which is paid
// back first.
func (b *Budget) spend(calls int) {
	l := b.limiter.Load()
	l.ReserveN(time.Now(), min(calls, l.Burst()))
}

// unspent tells whether next to nothing is spent.
func (b *Budget) unspent() bool {
	l := b.limiter.Load()
	return l == nil || l.Tokens() > float64(l.Burst()-1)
}

// maxBudgets bounds the budgets of users that are remembered before unspent ones are forgotten.
const maxBudgets = 4096

// budgets are the budgets of users, by uid.
type budgets struct {
	mu   sync.Mutex
	list map[string]*Budget
}

// of is the budget of a user.
func (b *budgets) of(uid string) *Budget {
	b.mu.Lock()
	defer b.mu.Unlock()
	one := b.list[uid]
	if one != nil {
		return one
	}
	if len(b.list) >= maxBudgets {
		for name, old := range b.list {
			if old.unspent() {
				delete(b.list, name)
			}
		}
	}
	if b.list == nil {
		b.list = map[string]*Budget{}
	}
	one = &Budget{}
	b.list[uid] = one
	return one
}

// PayPage charges a page of sys.history to the budgets of the connection and of the user, "" =
// none. The cost is in calls to Redis. It reports whether both budgets had something left;
// otherwise it charges nothing.
func (h *History) PayPage(own *Budget, user string, calls int) bool {
	if !own.remains(pageBurst, pageRate) {
		return false
	}
	if user != "" {
		all := h.users.of(user)
		if !all.remains(userBurst, userRate) {
			return false
		}
		all.spend(calls)
	}
	own.spend(calls)
	return true
}
