package snapshot

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"runtime"
	"strings"
)

// The file begins with magic, whose number changes with the format. Frames follow, each a head and
// a payload of records. The head contains the payload's length, its CRC-32C, the kind, and a
// CRC-32C of these three, which distinguishes a damaged length from a frame that a crash has cut.
const (
	magic    = "wsframe store 1\n"
	headSize = 13

	framePart   = 'P' // records, valid with the next commit
	frameCommit = 'C' // last records of a save: they and all before are valid
	frameEnd    = 'E' // a commit after which the server stopped in order
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func putHead(payload []byte, kind byte) []byte {
	var head [headSize]byte
	binary.LittleEndian.PutUint32(head[:], uint32(len(payload)))
	binary.LittleEndian.PutUint32(head[4:], crc32.Checksum(payload, castagnoli))
	head[8] = kind
	binary.LittleEndian.PutUint32(head[9:], crc32.Checksum(head[:9], castagnoli))
	return head[:]
}

// file is the used part of os.File.
type file interface {
	io.Writer
	io.Seeker
	io.Closer
	Sync() error
	Truncate(size int64) error
}

func createFile(path string) (file, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
}

// frameWriter writes frames. Its first error stays.
type frameWriter struct {
	w    *bufio.Writer
	size int64
	err  error
}

func newFrameWriter(w io.Writer) *frameWriter {
	return &frameWriter{w: bufio.NewWriterSize(w, 256<<10)}
}

func (w *frameWriter) bytes(b []byte) {
	if w.err == nil {
		_, w.err = w.w.Write(b)
		w.size += int64(len(b))
	}
}

func (w *frameWriter) frame(kind byte, payload []byte) {
	if len(payload) > math.MaxUint32 && w.err == nil {
		w.err = fmt.Errorf("a value of %d bytes is too large to be kept", len(payload))
	}
	w.bytes(putHead(payload, kind))
	w.bytes(payload)
}

// records encodes records and writes them in frames, except for the last ones, which it returns.
func (w *frameWriter) records(list []record) (rest []byte) {
	for i := range list {
		if rest = list[i].append(rest); len(rest) > batch {
			w.frame(framePart, rest)
			rest = rest[:0]
		}
	}
	return rest
}

// sync flushes the writer, and syncs the file.
func (w *frameWriter) sync(f file) error {
	if w.err == nil {
		w.err = w.w.Flush()
	}
	if w.err == nil {
		w.err = f.Sync()
	}
	return w.err
}

// syncDir makes a rename in dir durable.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" { // needs no sync of a directory, and has none
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// content is the content of a file.
type content struct {
	records map[id][]byte // the last record of each key
	saves   int           // complete ones
	clean   bool          // the server stopped in order
	cut     int           // bytes of an incomplete save at the end
	damage  error         // why the rest of the file cannot be read; nil = it can
}

// readFile reads a file up to its last complete save. A missing file is empty and clean.
func readFile(path string) content {
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return content{clean: true}
	case err != nil:
		return content{damage: err}
	}
	return parse(b)
}

func parse(b []byte) content {
	c := content{records: map[id][]byte{}}
	if !strings.HasPrefix(string(b), magic) {
		c.damage = fmt.Errorf("it does not begin with %q", strings.TrimSpace(magic))
		return c
	}
	c.read(b)
	if c.damage == nil && c.saves == 0 {
		c.damage = errors.New("it holds no complete save")
	}
	return c
}

func (c *content) read(b []byte) {
	good, open := len(magic), [][]byte(nil)
	for at := good; at < len(b); {
		kind, payload, next, err := readFrame(b, at)
		if errors.Is(err, errCut) {
			break
		}
		if err == nil {
			open = append(open, payload)
			if kind != framePart {
				err = c.apply(open)
				open = nil
			}
		}
		if err != nil {
			c.damage, c.clean = fmt.Errorf("damaged at byte %d: %w", at, err), false
			return
		}
		if at = next; kind != framePart {
			good, c.clean = at, kind == frameEnd
			c.saves++
		}
	}
	if c.cut = len(b) - good; c.cut > 0 {
		c.clean = false
	}
}

func (c *content) apply(payloads [][]byte) error {
	for _, p := range payloads {
		err := split(p, func(k id, kind int, body []byte) {
			if kind == gone {
				delete(c.records, k)
			} else {
				c.records[k] = body
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

var errCut = errors.New("the file ends within a frame")

func readFrame(b []byte, at int) (kind byte, payload []byte, next int, err error) {
	if len(b)-at < headSize {
		return 0, nil, 0, errCut
	}
	head := b[at : at+headSize]
	if crc32.Checksum(head[:9], castagnoli) != binary.LittleEndian.Uint32(head[9:]) {
		return 0, nil, 0, errors.New("this is no frame")
	}
	n := int64(binary.LittleEndian.Uint32(head))
	if n > int64(len(b)-at-headSize) {
		return 0, nil, 0, errCut
	}
	next = at + headSize + int(n)
	payload = b[at+headSize : next]
	if crc32.Checksum(payload, castagnoli) != binary.LittleEndian.Uint32(head[4:]) {
		return 0, nil, 0, errors.New("the checksum is another one")
	}
	switch kind = head[8]; kind {
	case framePart, frameCommit, frameEnd:
		return kind, payload, next, nil
	}
	return 0, nil, 0, fmt.Errorf("a frame of kind %d", kind)
}
