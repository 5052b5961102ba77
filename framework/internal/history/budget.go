package history

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"wsframe/framework/bus"
)

// What clients' reads of histories may cost, in calls to Redis: so many at once, and so many a second.
const (
	recoverBurst, recoverRate = MaxRooms * (maxRecover/bus.PageItems + 1), 10 // of a connection: all that it can have missed, and then some
	pageBurst, pageRate       = 60, 5                                         // sys.history of a connection
	userBurst, userRate       = 120, 10                                       // and of all of a user's, on this node
)

// Budget bounds what somebody costs. It is safe for concurrent use; the zero value is unspent, and holds nothing.
type Budget struct{ limiter atomic.Pointer[rate.Limiter] }

// left tells whether something is left of a budget of burst, which gets perSecond back each second.
func (b *Budget) left(burst int, perSecond rate.Limit) bool {
	l := b.limiter.Load()
	if l == nil {
		b.limiter.CompareAndSwap(nil, rate.NewLimiter(perSecond, burst))
		l = b.limiter.Load()
	}
	return l.Tokens() > 0
}

// spend follows left. The last calls may cost more than was left: that is paid back before anything is left again.
func (b *Budget) spend(calls int) {
	l := b.limiter.Load()
	l.ReserveN(time.Now(), min(calls, l.Burst()))
}

// whole tells whether next to nothing is spent.
func (b *Budget) whole() bool {
	l := b.limiter.Load()
	return l == nil || l.Tokens() > float64(l.Burst()-1)
}

// maxBudgets is how many users' budgets are remembered before those that are unspent again are forgotten.
const maxBudgets = 4096

// budgets are those of users.
type budgets struct {
	mu   sync.Mutex
	list map[string]*Budget
}

// of is a user's.
func (b *budgets) of(uid string) *Budget {
	b.mu.Lock()
	defer b.mu.Unlock()
	one := b.list[uid]
	if one != nil {
		return one
	}
	if len(b.list) >= maxBudgets {
		for name, old := range b.list {
			if old.whole() {
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

// PayPage takes what a page of sys.history costs, in calls to Redis, from the connection's budget and the user's; user "" = nobody's. It
// tells whether both had it.
func (h *History) PayPage(own *Budget, user string, calls int) bool {
	if !own.left(pageBurst, pageRate) {
		return false
	}
	if user != "" {
		all := h.users.of(user)
		if !all.left(userBurst, userRate) {
			return false
		}
		all.spend(calls)
	}
	own.spend(calls)
	return true
}
