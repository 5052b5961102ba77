// Package cache reaches the store: a Redis of one's own, or the embedded one that a server starts with.
//
//	store, err := cache.StartEmbedded()                       // in the master
//	client, err := cache.Open(ctx, cache.Options{Addrs: []string{store.Addr()}, Password: store.Password()})
//
// Both are spoken to by go-redis, so there is one code path. Clients are safe for concurrent use.
package cache
