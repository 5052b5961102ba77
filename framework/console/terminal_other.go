//go:build !unix

package console

// terminal does not exist on this platform.
type terminal struct{ whole bool }

func openTerminal() *terminal { return nil }

func (t *terminal) gone() bool { return false }
