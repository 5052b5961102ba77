// Package testserver starts real servers for tests: Redis, MariaDB, nginx, each on a random loopback port with a
// directory of its own, and ends them with the test.
//
//	r := testserver.StartRedis(t)
//	client, err := cache.Open(ctx, cache.Options{Addrs: []string{r.Addr}, Password: r.Password})
//
// A test that needs one carries the build tag e2e; it fails, with the package to install, where the program is missing.
package testserver
