// Package cache connects to the store: a Redis server, or the embedded store inside the master.
//
//	store, err := cache.StartEmbedded()                       // in the master
//	client, err := cache.Open(ctx, cache.Options{
//		Addrs: []string{store.Addr()}, Password: store.Password(),
//	})
//
// go-redis is the client of both, so there is one code path. Clients are safe for concurrent use.
package cache
