package push_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"wsframe/framework/push"
)

var errOffline = errors.New("no such connection")

// backend is an application with one connection, of the user 7. It lacks the other calls of a
// push.Backend.
type backend struct{ push.Backend }

func (backend) SendToUID(uid string, p *push.Push) error {
	if uid != "7" {
		return errOffline
	}
	fmt.Printf("the user %s gets %s %s\n", uid, p.Event, p.Param)
	return nil
}

func (backend) Settle(context.Context) {}

func (backend) ErrorCode(err error) (push.Code, string) {
	if errors.Is(err, errOffline) {
		return push.CodeNoConnection, ""
	}
	return push.CodeInternal, ""
}

// store is a push.Store of one process whose values do not expire.
type store struct{ sync.Map }

func (s *store) Claim(_ context.Context, key string, value []byte, _ time.Duration) (there []byte, err error) {
	if v, loaded := s.LoadOrStore(key, value); loaded {
		return v.([]byte), nil
	}
	return nil, nil
}

func (s *store) Put(_ context.Context, key string, value []byte, _ time.Duration) error {
	s.Store(key, value)
	return nil
}

func (s *store) Remove(_ context.Context, key string, _ []byte) error {
	s.Delete(key)
	return nil
}

func (s *store) Durable(context.Context) error { return nil }

// A Server serves a Backend, and a back end calls it by a Client.
func Example() {
	const secret = "a secret of at least 16 bytes"
	s := push.NewServer(push.Config{Backend: backend{}, Store: &store{}, Tokens: []push.Token{{Value: secret, Scopes: []string{push.ScopeSend}}}})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	served := make(chan error)
	go func() { served <- s.Serve(ln.(*net.TCPListener)) }()

	c, err := push.NewClient("http://"+ln.Addr().String(), secret)
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	fmt.Println(c.SendToUID(ctx, "7", &push.Push{Event: "orderPaid", Param: push.JSON(map[string]int{"order": 12})}))

	var e *push.Error
	err = c.SendToUID(ctx, "8", &push.Push{Event: "orderPaid"})
	fmt.Println(errors.As(err, &e) && e.Code == push.CodeNoConnection)
	_, err = c.Counts(ctx)
	fmt.Println(err)

	c.HTTP.CloseIdleConnections()
	fmt.Println(s.Shutdown(ctx), <-served)
	// Output:
	// the user 7 gets orderPaid {"order":12}
	// <nil>
	// true
	// forbidden: counts needs a token with the scope read
	// <nil> <nil>
}
