package gateway

import (
	"encoding/binary"
	"errors"
	"io"

	"wsframe/framework/internal/wire"
)

// Sizes of frames in bytes.
const (
	headerSize = 28
	maxFrame   = 10 << 20 // of a whole frame
)

// Flags of a frame.
const (
	FlagBytes = 0x01 // the body is bytes, otherwise PHP's serialize()
	flagFrame = 0x02 // the body is a complete WebSocket frame
)

// errStranger is returned for a frame that a peer without authority may not send.
var errStranger = errors.New("peer of the inner port has not shown the secret")

// ErrFrame is returned for a frame whose lengths are impossible or beyond 10 MiB.
var ErrFrame = errors.New("frame of the inner port with an impossible length")

// Frame is one frame of the inner port. Integers are big-endian on the wire.
type Frame struct {
	Command     Command
	LocalIP     uint32 // the gateway's announced address; 0 in frames from PHP
	LocalPort   uint16
	ClientIP    uint32 // 0 in frames from PHP, and for IPv6
	ClientPort  uint16
	Connection  uint32 // the client's connection_id; 0 = none
	Flag        byte
	GatewayPort uint16 // the port that the client connected to; 0 in frames from PHP
	Ext         []byte
	Body        []byte

	room []byte // Body after wire.Headroom bytes; nil = Body has no space before it
}

// AppendFrame appends the encoded frame. Ext and Body together must have less than 10 MiB.
func AppendFrame(b []byte, f Frame) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(headerSize+len(f.Ext)+len(f.Body)))
	b = append(b, byte(f.Command))
	b = binary.BigEndian.AppendUint32(b, f.LocalIP)
	b = binary.BigEndian.AppendUint16(b, f.LocalPort)
	b = binary.BigEndian.AppendUint32(b, f.ClientIP)
	b = binary.BigEndian.AppendUint16(b, f.ClientPort)
	b = binary.BigEndian.AppendUint32(b, f.Connection)
	b = append(b, f.Flag)
	b = binary.BigEndian.AppendUint16(b, f.GatewayPort)
	b = binary.BigEndian.AppendUint32(b, uint32(len(f.Ext)))
	b = append(b, f.Ext...)
	return append(b, f.Body...)
}

// parseFrame reads the frame in front of b. Its size is 0 if b has only a part of a frame. Ext
// and Body are parts of b.
func parseFrame(b []byte) (f Frame, size int, err error) {
	if len(b) < 4 {
		return f, 0, nil
	}
	size = int(binary.BigEndian.Uint32(b))
	if size < headerSize || size > maxFrame {
		return f, 0, ErrFrame
	}
	if len(b) < headerSize {
		return f, 0, nil
	}
	ext := binary.BigEndian.Uint32(b[24:])
	if int64(ext) > int64(size-headerSize) {
		return f, 0, ErrFrame
	}
	if len(b) < size {
		return f, 0, nil
	}
	body := headerSize + int(ext)
	return Frame{
		Command:     Command(b[4]),
		LocalIP:     binary.BigEndian.Uint32(b[5:]),
		LocalPort:   binary.BigEndian.Uint16(b[9:]),
		ClientIP:    binary.BigEndian.Uint32(b[11:]),
		ClientPort:  binary.BigEndian.Uint16(b[15:]),
		Connection:  binary.BigEndian.Uint32(b[17:]),
		Flag:        b[21],
		GatewayPort: binary.BigEndian.Uint16(b[22:]),
		Ext:         b[headerSize:body:body],
		Body:        b[body:size:size],
	}, size, nil
}

// Sizes of a frameReader's buffer in bytes.
const (
	firstBuffer = 4 << 10
	keptBuffer  = 64 << 10 // a larger one is released when it is empty
)

// frameReader reads frames that arrive in any pieces. Its buffer grows with the bytes that have
// arrived, whatever length a frame claims.
type frameReader struct {
	r    io.Reader
	buf  []byte // received and not yet returned: a part of base
	base []byte
	may  func(c Command, size uint32) bool // which frame may come; nil = any
}

// next returns the next frame. Its Ext and Body belong to the caller. An end of the stream within
// a frame is io.ErrUnexpectedEOF.
func (r *frameReader) next() (Frame, error) {
	for {
		if r.mayNot() {
			return Frame{}, errStranger
		}
		f, size, err := parseFrame(r.buf)
		if err != nil {
			return f, err
		}
		if size > 0 {
			f = f.clone()
			r.consume(size)
			return f, nil
		}
		if err := r.fill(); err != nil {
			return f, err
		}
	}
}

// clone copies Ext and Body, with the space that a message needs before it.
func (f Frame) clone() Frame {
	ext := len(f.Ext)
	own := make([]byte, ext+wire.Headroom+len(f.Body))
	copy(own, f.Ext)
	f.Ext, f.room = own[:ext:ext], own[ext:]
	copy(f.room[wire.Headroom:], f.Body)
	f.Body = f.room[wire.Headroom:]
	return f
}

// mayNot reports whether the frame in front may not come, as soon as its command has arrived.
func (r *frameReader) mayNot() bool {
	return r.may != nil && len(r.buf) > 4 && !r.may(Command(r.buf[4]), binary.BigEndian.Uint32(r.buf))
}

// consume removes the bytes of a frame from the front.
func (r *frameReader) consume(n int) {
	r.buf = r.buf[n:]
	if len(r.buf) > 0 {
		return
	}
	if cap(r.base) > keptBuffer {
		r.base = nil
	}
	r.buf = r.base[:0]
}

// fill reads once.
func (r *frameReader) fill() error {
	if cap(r.buf)-len(r.buf) < firstBuffer/2 {
		grown := make([]byte, len(r.buf), max(firstBuffer, 2*len(r.buf)))
		copy(grown, r.buf)
		r.buf, r.base = grown, grown
	}
	n, err := r.r.Read(r.buf[len(r.buf):cap(r.buf)])
	r.buf = r.buf[:len(r.buf)+n]
	switch {
	case n > 0:
		return nil // an error comes again at the next Read
	case err == io.EOF && len(r.buf) > 0:
		return io.ErrUnexpectedEOF
	}
	return err
}
