//go:build purego

package framework

var bindTyped = bindReflect
