package snapshot_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"wsframe/library/cache/snapshot"
)

// A key of one server is found by the next one that opens the same file.
func Example() {
	dir, err := os.MkdirTemp("", "snapshot-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "store")

	open := func() (*miniredis.Miniredis, *snapshot.Store, snapshot.Found) {
		m, err := miniredis.Run()
		if err != nil {
			panic(err)
		}
		store, found, err := snapshot.Open(m, snapshot.Config{Path: path})
		if err != nil {
			panic(err)
		}
		return m, store, found
	}
	m, store, found := open()
	fmt.Println("keys:", found.Keys)
	client := redis.NewClient(&redis.Options{Addr: m.Addr()})
	fmt.Println(client.Set(context.Background(), "greeting", "hello", 0).Err())
	_ = client.Close()
	fmt.Println(store.Close()) // saves; a server that runs for long has Run save each second
	m.Close()

	m, store, found = open()
	defer m.Close()
	fmt.Println("keys:", found.Keys, "clean:", found.Clean)
	fmt.Println(m.Get("greeting"))
	fmt.Println(store.Close())
	// Output:
	// keys: 0
	// <nil>
	// <nil>
	// keys: 1 clean: true
	// hello <nil>
	// <nil>
}
