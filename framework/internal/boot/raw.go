//go:build !rawecho

package boot

// echo is false in every build except the one for protocol conformance tests (build tag rawecho).
const echo = false
