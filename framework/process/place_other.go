//go:build !linux

package process

// Place is unknown here: a server that starts again asks whether its predecessor lives.
func Place(string) string { return "" }
