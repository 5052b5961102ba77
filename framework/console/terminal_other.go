//go:build !unix

package console

// terminal is not known here.
type terminal struct{ whole bool }

func openTerminal() *terminal { return nil }

func (t *terminal) gone() bool { return false }
