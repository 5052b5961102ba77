package bus

import "sync/atomic"

// sender is this process as a sender on the bus: the identity that its messages carry. Its shards
// share it. Methods are safe for concurrent use; become and close are called under all shards'
// locks, so that a message is numbered for the token that it carries.
type sender struct {
	alone    bool // the store is this server's own
	token    atomic.Pointer[string]
	detached atomic.Bool // another process continues as the sender that this one was
	closed   atomic.Bool // nothing is sent any more
}

func newSender(token string, alone bool) *sender {
	s := &sender{alone: alone}
	s.token.Store(&token)
	return s
}

// Token is the sender's name, as in Message.From.
func (s *sender) Token() string { return *s.token.Load() }

// direct reports whether messages are delivered here without the stream: no other node reads it.
func (s *sender) direct() bool { return s.alone && !s.detached.Load() }

// detach gives the sender another token, since another process continues with the one it had.
func (s *sender) detach(token string) {
	s.token.Store(&token)
	s.detached.Store(true)
}
