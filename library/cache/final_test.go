package cache

import (
	"context"
	"fmt"
	"io"
	"testing"
)

// answer is an error as go-redis gives those that Redis has answered.
type answer string

func (a answer) Error() string { return string(a) }
func (answer) RedisError()     {}

func TestFinal(t *testing.T) {
	const wrapped = "ERR Error running script (call to f_1b0c): @user_script:1: @user_script: 1: -"
	for err, want := range map[error]bool{
		answer("WRONGTYPE Operation against a key holding the wrong kind of value"):         true,
		answer("NOPERM this user has no permissions to run the 'eval' command"):             true,
		answer("ERR unknown command 'XADD'"):                                                true,
		answer(wrapped + "WRONGTYPE Operation against a key"):                               true,
		answer("READONLY You can't write against a read only replica."):                     false,
		answer("OOM command not allowed when used memory > 'maxmemory'."):                   false,
		answer("ERR max number of clients reached"):                                         false,
		answer("LOADING Redis is loading the dataset in memory"):                            false,
		answer("NOREPLICAS Not enough good replicas to write."):                             false,
		answer(wrapped + "READONLY You can't write against a read only replica."):           false,
		answer(wrapped + "OOM command not allowed when used memory > 'maxmemory'."):         false,
		answer(wrapped + "MISCONF Redis is configured to save RDB snapshots, but it can't"): false,
		io.EOF:                   false,
		context.DeadlineExceeded: false,
	} {
		if got := Final(fmt.Errorf("write: %w", err)); got != want {
			t.Errorf("%v: %v", err, got)
		}
		if got := Final(err); got != want {
			t.Errorf("%v: %v", err, got)
		}
	}
}
