//go:build !purego

package framework

var bindTyped = bindUnsafe
