package nodetest

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
)

// Calls records what a package under test asks of a fake. Safe for concurrent use.
type Calls struct {
	mu   sync.Mutex
	list []string
}

// Note records a call.
func (c *Calls) Note(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, fmt.Sprintf(format, args...))
}

// Take returns the calls since the last Take or Want.
func (c *Calls) Take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := c.list
	c.list = nil
	return list
}

// Want checks the calls since the last Take or Want, when all goroutines of the synctest bubble
// wait.
func (c *Calls) Want(t testing.TB, calls ...string) {
	t.Helper()
	synctest.Wait()
	if list := c.Take(); !slices.Equal(list, calls) {
		t.Errorf("calls %q, want %q", list, calls)
	}
}
