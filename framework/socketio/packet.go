package socketio

import (
	"encoding/json"
	"errors"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"wsframe/framework/internal/ijson"
	"wsframe/library/phpserialize"
)

// Types of Socket.IO packets.
const (
	Connect     = '0'
	Disconnect  = '1'
	Event       = '2'
	Acknowledge = '3'
	Error       = '4'
	BinaryEvent = '5'
	BinaryAck   = '6'
)

// Packet is a Socket.IO packet, the content of a packet of the type Message.
type Packet struct {
	Type      byte
	Namespace string // "/" = the only one that is served
	Data      []byte // what stands behind namespace and id, often JSON
}

// ErrPacket is the error of a packet that is no Socket.IO packet.
var ErrPacket = errors.New("not a socket.io packet")

// maxNamespace bounds a namespace in bytes.
const maxNamespace = 256

// ParsePacket parses the content of a packet of the type Message, whose memory the result shares.
// An acknowledgement id is skipped, since nothing is acknowledged.
func ParsePacket(content []byte) (Packet, error) {
	if len(content) == 0 || content[0] < Connect || content[0] > BinaryAck {
		return Packet{}, ErrPacket
	}
	p := Packet{Type: content[0], Namespace: "/", Data: content[1:]}
	if p.Type >= BinaryEvent {
		return p, nil
	}
	if len(p.Data) > 0 && p.Data[0] == '/' {
		end := 0
		for end < len(p.Data) && p.Data[end] != ',' {
			end++
		}
		if end > maxNamespace {
			return Packet{}, ErrPacket
		}
		p.Namespace = string(p.Data[:end])
		p.Data = p.Data[min(end+1, len(p.Data)):]
	}
	for len(p.Data) > 0 && p.Data[0] >= '0' && p.Data[0] <= '9' {
		p.Data = p.Data[1:]
	}
	return p, nil
}

// Event returns the name and the arguments of a packet of the type Event. Its data must be a JSON
// list that begins with a text, and not deeper than so many levels.
func (p Packet) Event(depth int) (name string, arguments []json.RawMessage, err error) {
	if ijson.Deeper(p.Data, depth) {
		return "", nil, ErrPacket
	}
	var list []json.RawMessage
	if json.Unmarshal(p.Data, &list) != nil || len(list) == 0 || list[0][0] != '"' || json.Unmarshal(list[0], &name) != nil {
		return "", nil, ErrPacket
	}
	return name, list[1:], nil
}

// AppendEvent appends a packet of the type Message that holds an event of the default namespace.
// arguments are JSON. With ascii every character beyond ASCII is escaped, which clients of version
// 3 need: those of 1.x decode UTF-8 twice.
func AppendEvent(dst []byte, ascii bool, name string, arguments ...[]byte) []byte {
	dst = append(dst, Message, Event, '[')
	dst = appendText(dst, name, ascii)
	for _, a := range arguments {
		dst = append(dst, ',')
		if ascii {
			dst = appendASCII(dst, a)
		} else {
			dst = append(dst, a...)
		}
	}
	return append(dst, ']')
}

// appendText appends a text as JSON.
func appendText(dst []byte, text string, ascii bool) []byte {
	b, err := json.Marshal(text)
	if err != nil {
		panic(err) // any string can be marshalled
	}
	if ascii {
		return appendASCII(dst, b)
	}
	return append(dst, b...)
}

// appendASCII appends a JSON text in which characters beyond ASCII are escaped. They stand in texts
// only, where an escape means the same (RFC 8259 §7).
func appendASCII(dst, doc []byte) []byte {
	for len(doc) > 0 {
		if doc[0] < utf8.RuneSelf {
			dst, doc = append(dst, doc[0]), doc[1:]
			continue
		}
		r, size := utf8.DecodeRune(doc)
		doc = doc[size:]
		if r > 0xffff {
			high, low := utf16.EncodeRune(r)
			dst = appendEscape(appendEscape(dst, high), low)
			continue
		}
		dst = appendEscape(dst, r)
	}
	return dst
}

func appendEscape(dst []byte, unit rune) []byte {
	const digits = "0123456789abcdef"
	return append(dst, '\\', 'u', digits[unit>>12&15], digits[unit>>8&15], digits[unit>>4&15], digits[unit&15])
}

// Refusal returns a packet of the type Message that refuses a namespace. version is that of
// Engine.IO.
func Refusal(version int, namespace string) []byte {
	b := append([]byte{Message, Error}, namespace...)
	if version < 4 {
		return append(b, `,"Invalid namespace"`...)
	}
	return append(b, `,{"message":"Invalid namespace"}`...)
}

// Login returns the text of a uid that a page sends as the argument of its event "login", as PHP
// makes a text of it: 123 is "123", true is "1", null and false are "", lists and objects are
// "Array".
func Login(argument json.RawMessage) string {
	if len(argument) == 0 {
		return ""
	}
	switch argument[0] {
	case '"':
		var text string
		if json.Unmarshal(argument, &text) != nil {
			return ""
		}
		return text
	case 't':
		return "1"
	case 'f', 'n':
		return ""
	case '[', '{':
		return "Array"
	}
	if n, err := strconv.ParseInt(string(argument), 10, 64); err == nil {
		return strconv.FormatInt(n, 10)
	}
	f, err := strconv.ParseFloat(string(argument), 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return ""
	}
	return string(phpserialize.AppendFloatText(nil, f))
}
