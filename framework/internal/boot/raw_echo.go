//go:build rawecho

package boot

// echo makes the worker answer every message with itself instead of routing it. No setting can do
// that: only a binary built for conformance tests has it.
const echo = true
