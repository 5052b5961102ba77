package cache_test

import (
	"context"
	"fmt"
	"time"

	"wsframe/library/cache"
)

// A process starts the embedded store and uses it as any Redis.
func Example() {
	store, err := cache.StartEmbedded()
	if err != nil {
		panic(err)
	}
	defer store.Close()

	ctx := context.Background()
	client, err := cache.Open(ctx, cache.Options{Addrs: []string{store.Addr()}, Password: store.Password(), Timeout: time.Minute})
	if err != nil {
		panic(err)
	}
	defer client.Close()
	fmt.Println(client.Set(ctx, "greeting", "hello", 0).Err())
	fmt.Println(client.Get(ctx, "greeting").Result())
	// Output:
	// <nil>
	// hello <nil>
}
