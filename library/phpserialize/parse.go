package phpserialize

import (
	"bytes"
	"errors"
	"strconv"
)

// Bounds of what Parse reads.
const (
	MaxDepth    = 64      // arrays and objects within each other
	MaxElements = 1 << 17 // elements of all arrays and objects together
)

// ErrText is returned for a text that is no serialized value or exceeds the bounds. References
// ("R:", "r:") and objects of an own encoding ("C:") are refused as well.
var ErrText = errors.New("serialized value cannot be read")

// Parse reads one serialized value, which must be the whole text. The Value refers to the text,
// so the caller must not change it while the Value is in use.
func Parse(text []byte) (Value, error) {
	p := parser{rest: text}
	v, ok := p.value(0)
	if !ok || len(p.rest) > 0 {
		return Value{}, ErrText
	}
	return v, nil
}

// parser reads values from the front of rest.
type parser struct {
	rest  []byte
	count int // elements so far
}

// smallest is the length of the smallest element: "i:0;N;".
const smallest = 6

// value reads a value that is inside of depth arrays and objects.
func (p *parser) value(depth int) (v Value, ok bool) {
	whole := p.rest
	if len(whole) < 2 {
		return v, false
	}
	switch string(whole[:2]) {
	case "N;":
		p.rest = whole[2:]
		v.kind, ok = Null, true
	case "b:":
		digit, found := p.until(';')
		v.kind, ok = Bool, found && (string(digit) == "0" || string(digit) == "1")
	case "i:":
		digits, found := p.until(';')
		_, valid := number(digits)
		v.kind, ok = Int, found && valid
	case "d:":
		digits, found := p.until(';')
		v.kind, ok = Float, found && len(digits) <= 2048
		if ok {
			_, ok = parseFloat(digits)
		}
	case "s:":
		v.kind = String
		p.rest = whole[2:]
		v.content, ok = p.quoted()
		ok = ok && p.literal(";")
	case "a:":
		return p.array(depth)
	case "O:":
		v.kind, ok = Object, p.object(depth)
	case "E:":
		v.kind = Object
		p.rest = whole[2:]
		_, ok = p.quoted()
		ok = ok && p.literal(";")
	}
	v.raw = whole[:len(whole)-len(p.rest)]
	return v, ok
}

// until returns the bytes between the two-byte type in front and the next end.
func (p *parser) until(end byte) (content []byte, ok bool) {
	content, rest, ok := bytes.Cut(p.rest[2:], []byte{end})
	p.rest = rest
	return content, ok
}

// literal skips an expected text.
func (p *parser) literal(text string) (ok bool) {
	p.rest, ok = bytes.CutPrefix(p.rest, []byte(text))
	return ok
}

// size reads a length or a count and the colon after it. It returns false for more than is left.
func (p *parser) size() (n int, ok bool) {
	digits, rest, found := bytes.Cut(p.rest, []byte{':'})
	p.rest = rest
	if !found || len(digits) == 0 || digits[0] < '0' || digits[0] > '9' {
		return 0, false
	}
	length, ok := number(digits)
	return int(length), ok && length <= int64(len(rest))
}

// number reads a decimal number of at most 32 digits, so that a long one is not copied.
func number(digits []byte) (n int64, ok bool) {
	if len(digits) > 32 {
		return 0, false
	}
	n, err := strconv.ParseInt(string(digits), 10, 64)
	return n, err == nil
}

// quoted reads a length and a text in quotes: 5:"seven".
func (p *parser) quoted() (content []byte, ok bool) {
	n, ok := p.size()
	if !ok || !p.literal(`"`) || n > len(p.rest) {
		return nil, false
	}
	content, p.rest = p.rest[:n], p.rest[n:]
	return content, p.literal(`"`)
}

// elements reads the number of elements and the brace after it.
func (p *parser) elements() (n int, ok bool) {
	n, ok = p.size()
	if !ok || !p.literal("{") || n > len(p.rest)/smallest {
		return 0, false
	}
	p.count += n
	return n, p.count <= MaxElements
}

// key reads the key of an element.
func (p *parser) key() (k Key, ok bool) {
	v, ok := p.value(MaxDepth)
	switch {
	case ok && v.kind == Int:
		return KeyOfInt(v.Int()), true
	case ok && v.kind == String:
		return KeyOf(string(v.content)), true
	}
	return k, false
}

func (p *parser) array(depth int) (v Value, ok bool) {
	p.rest = p.rest[2:]
	n, ok := p.elements()
	if !ok || depth >= MaxDepth {
		return v, false
	}
	// Memory grows with the elements that are read, not with the count.
	v = Value{kind: Array, array: &elements{list: make([]element, 0, min(n, scanned))}}
	for range n {
		key, ok := p.key()
		if !ok {
			return v, false
		}
		value, ok := p.value(depth + 1)
		if !ok {
			return v, false
		}
		v.array.set(key, value)
	}
	return v, p.literal("}")
}

// object skips an object: O:8:"stdClass":1:{s:1:"a";i:1;}.
func (p *parser) object(depth int) (ok bool) {
	p.rest = p.rest[2:]
	if _, ok := p.quoted(); !ok || !p.literal(":") || depth >= MaxDepth {
		return false
	}
	n, ok := p.elements()
	if !ok {
		return false
	}
	for range n {
		if _, ok := p.key(); !ok {
			return false
		}
		if _, ok := p.value(depth + 1); !ok {
			return false
		}
	}
	return p.literal("}")
}
