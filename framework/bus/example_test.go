package bus_test

import (
	"context"
	"fmt"
	"time"

	"wsframe/framework/bus"
	"wsframe/library/cache"
)

// Two nodes share a Redis: what one sends, both receive, and the history of its room keeps it.
func Example() {
	redis, err := cache.StartEmbedded()
	if err != nil {
		panic(err)
	}
	defer redis.Close()
	ctx := context.Background()
	client, err := cache.Open(ctx, cache.Options{Addrs: []string{redis.Addr()}, Password: redis.Password(), Timeout: time.Minute})
	if err != nil {
		panic(err)
	}
	defer client.Close()

	node := func(name string) (*bus.Bus, <-chan string) {
		received := make(chan string, 1)
		b, err := bus.Start(ctx, bus.Config{Client: client, Timeout: time.Minute, Receive: func(m *bus.Message) {
			received <- fmt.Sprintf("%s receives %s of %s, offset %d", name, m.Body, m.Key, m.Offset)
		}})
		if err != nil {
			panic(err)
		}
		b.Run()
		return b, received
	}
	a, fromA := node("a")
	b, fromB := node("b")
	if err := a.Send(&bus.Message{Kind: 1, Key: "room", Body: []byte("hi"), Keep: 100, Age: time.Hour}); err != nil {
		panic(err)
	}
	fmt.Println(<-fromA)
	fmt.Println(<-fromB)

	page, err := b.History(ctx, "room", 0, 50)
	fmt.Println(len(page.Items), err)
	fmt.Println(a.Stop(ctx), b.Stop(ctx))
	// Output:
	// a receives hi of room, offset 1
	// b receives hi of room, offset 1
	// 1 <nil>
	// <nil> <nil>
}
