// Package testserver starts real servers for tests: Redis, MariaDB, nginx and the console. Each has
// a random loopback port and a directory of its own, and ends with the test.
//
//	r := testserver.StartRedis(t)
//	client, err := cache.Open(ctx, cache.Options{Addrs: []string{r.Addr}, Password: r.Password})
//
// A test that needs one has the build tag e2e. Where the program is missing, it fails and names the
// package to install.
package testserver
