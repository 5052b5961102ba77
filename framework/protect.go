package framework

import (
	"errors"
	"runtime/debug"

	"go.uber.org/zap"
)

var errPanic = errors.New("it panicked")

// protect runs the application's code in a goroutine of its own and waits for it. A panic, or a
// runtime.Goexit, is logged and ends that goroutine only.
func protect(log *zap.Logger, what string, f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		returned := false
		defer func() {
			if v := recover(); v != nil {
				log.Error("panic in "+what, zap.Any("panic", v), zap.ByteString("stack", debug.Stack()))
			} else if !returned {
				log.Error(what+" has ended its goroutine", zap.ByteString("stack", debug.Stack()))
			}
		}()
		f()
		returned = true
	}()
	<-done
}
