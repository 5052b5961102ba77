package phpserialize

import (
	"math"
	"slices"
	"strconv"
)

// Kind is the type of a Value.
type Kind uint8

// Kinds of values.
const (
	Null Kind = iota
	Bool
	Int
	Float
	String
	Array
	Object // an object or an enumeration case: an opaque leaf
)

// Value is a value that Parse read. Scalars and objects keep their bytes, so that Append writes
// them exactly as they came. The zero Value is null.
type Value struct {
	kind    Kind
	raw     []byte // of all kinds but Array
	content []byte // of a String: a part of raw
	array   *elements
}

// Kind returns the type of the value.
func (v Value) Kind() Kind { return v.kind }

// Bool returns whether the value is true.
func (v Value) Bool() bool { return v.kind == Bool && v.raw[2] == '1' }

// Int returns an integer, and 0 for other kinds.
func (v Value) Int() int64 {
	if v.kind != Int {
		return 0
	}
	n, _ := number(v.digits()) // Parse has refused what is no number
	return n
}

// Float returns a float, and 0 for other kinds.
func (v Value) Float() float64 {
	if v.kind != Float {
		return 0
	}
	f, _ := parseFloat(v.digits())
	return f
}

// digits are the number of "i:…;" and "d:…;".
func (v Value) digits() []byte { return v.raw[2 : len(v.raw)-1] }

// Text returns the bytes of a string, and nil for other kinds. They are a part of the text that
// Parse read.
func (v Value) Text() []byte { return v.content }

// Len returns the number of an array's elements, and 0 for other kinds.
func (v Value) Len() int {
	if v.array == nil {
		return 0
	}
	return len(v.array.list)
}

// Each calls f for the elements of an array in their order, until f returns false.
func (v Value) Each(f func(Key, Value) bool) {
	if v.array == nil {
		return
	}
	for _, e := range v.array.list {
		if !f(e.key, e.value) {
			return
		}
	}
}

// IsList reports whether the value is an array with the keys 0, 1, 2 … in this order.
func (v Value) IsList() bool {
	if v.kind != Array {
		return false
	}
	for i, e := range v.array.list {
		if n, ok := e.key.Int(); !ok || n != int64(i) {
			return false
		}
	}
	return true
}

// Append appends the serialized value.
func (v Value) Append(b []byte) []byte {
	switch {
	case v.kind == Array:
		b = AppendArray(b, len(v.array.list))
		for _, e := range v.array.list {
			b = e.value.Append(e.key.append(b))
		}
		return EndArray(b)
	case v.raw == nil:
		return AppendNull(b)
	}
	return append(b, v.raw...)
}

type element struct {
	key   Key
	value Value
}

// elements are an array's, in the order of their first assignment.
type elements struct {
	list  []element
	index map[Key]int // nil while the list is short
}

// scanned is the length up to which looking through a list is as quick as a map.
const scanned = 8

// find returns the position of a key, and -1 if it is missing.
func (a *elements) find(key Key) int {
	if a.index == nil {
		return slices.IndexFunc(a.list, func(e element) bool { return e.key == key })
	}
	if i, ok := a.index[key]; ok {
		return i
	}
	return -1
}

// set replaces the value of a key in its place, or appends a new element.
func (a *elements) set(key Key, value Value) {
	if i := a.find(key); i >= 0 {
		a.list[i].value = value
		return
	}
	a.list = append(a.list, element{key, value})
	switch {
	case a.index != nil:
		a.index[key] = len(a.list) - 1
	case len(a.list) > scanned:
		a.index = make(map[Key]int, 2*len(a.list))
		for i, e := range a.list {
			a.index[e.key] = i
		}
	}
}

// Merge returns what array_replace_recursive(old, new) returns: values of new replace those of
// old with the same key, arrays on both sides are merged, and new keys go to the end. Both values
// must be arrays, otherwise new is returned. Merge changes old, and neither may be used
// afterwards.
func Merge(old, new Value) Value {
	if old.kind != Array || new.kind != Array {
		return new
	}
	for _, e := range new.array.list {
		value := e.value
		if i := old.array.find(e.key); i >= 0 {
			value = Merge(old.array.list[i].value, value)
		}
		old.array.set(e.key, value)
	}
	return old
}

// parseFloat reads the number of a "d:…;", which may be beyond a double's range.
func parseFloat(digits []byte) (f float64, ok bool) {
	switch string(digits) {
	case "NAN":
		return math.NaN(), true
	case "INF":
		return math.Inf(1), true
	case "-INF":
		return math.Inf(-1), true
	}
	if slices.ContainsFunc(digits, func(c byte) bool {
		return (c < '0' || c > '9') && c != '.' && c != 'e' && c != 'E' && c != '+' && c != '-'
	}) {
		return 0, false // Go reads "0x1p4", "1_000" and "Infinity", too
	}
	f, err := strconv.ParseFloat(string(digits), 64)
	return f, err == nil || math.IsInf(f, 0)
}
