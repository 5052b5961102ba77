package gateway

import (
	"bytes"
	"errors"
	"io"
	"slices"
)

// Sizes of lines in bytes.
const (
	maxLine  = 10 << 20 // without an end: the peer is closed
	keptLine = 64 << 10 // more of a line is not kept, since no line of the protocol is as long
)

// errLine is returned for a line that does not end.
var errLine = errors.New("line of the Register without an end")

// lineReader reads lines that arrive in any pieces.
type lineReader struct {
	r     io.Reader
	buf   []byte // received and not yet returned
	cut   int    // bytes of the line in front that were not kept
	taken int    // bytes in front of buf that were returned
}

// next returns a line without its end, until the next call. A line that is not kept is returned
// empty. A line of 10 MiB without an end is errLine.
func (l *lineReader) next() ([]byte, error) {
	for searched := l.taken; ; {
		if i := bytes.IndexByte(l.buf[searched:], '\n'); i >= 0 {
			line := bytes.TrimSuffix(l.buf[l.taken:searched+i], []byte{'\r'})
			l.taken = searched + i + 1
			if l.cut > 0 {
				line = nil
			}
			l.cut = 0
			return line, nil
		}
		l.buf = append(l.buf[:0], l.buf[l.taken:]...)
		l.taken = 0
		searched = len(l.buf)
		if searched >= keptLine {
			l.cut += searched
			l.buf, searched = l.buf[:0], 0
		}
		if l.cut+searched >= maxLine {
			return nil, errLine
		}
		l.buf = slices.Grow(l.buf, 512)
		n, err := l.r.Read(l.buf[len(l.buf):cap(l.buf)])
		l.buf = l.buf[:len(l.buf)+n]
		if n == 0 && err != nil {
			return nil, err
		}
	}
}
