package environ

import (
	"math"

	"wsframe/library/phpserialize"
)

// value is one value of an array: a string, a number, or an array.
type value struct {
	text     string
	number   int64
	isNumber bool
	array    *array
}

// array is PHP's array: keys in the order of their first assignment.
type array struct {
	keys   []phpserialize.Key
	values []value
	index  map[phpserialize.Key]int // of keys; nil while there are few
	next   int64                    // the key of the next value without one
	listed bool                     // an integer is a key, so next may be negative
	full   bool                     // the largest key is in use
}

// fewKeys is the number of keys up to which an array has no index.
const fewKeys = 8

// find returns the place of a key; -1 = it has none.
func (a *array) find(k phpserialize.Key) int {
	if a.index != nil {
		if i, ok := a.index[k]; ok {
			return i
		}
		return -1
	}
	for i, one := range a.keys {
		if one == k {
			return i
		}
	}
	return -1
}

// set assigns a value to a key.
func (a *array) set(k phpserialize.Key, v value) {
	if i := a.find(k); i >= 0 {
		a.values[i] = v
		return
	}
	if n, ok := k.Int(); ok && (n >= a.next || !a.listed) {
		a.listed = true
		a.full = n == math.MaxInt64
		a.next = n
		if !a.full {
			a.next++
		}
	}
	a.keys = append(a.keys, k)
	a.values = append(a.values, v)
	if a.index != nil {
		a.index[k] = len(a.keys) - 1
	} else if len(a.keys) > fewKeys {
		a.index = map[phpserialize.Key]int{}
		for i, one := range a.keys {
			a.index[one] = i
		}
	}
}

// push assigns a value to the next key, unless the largest one is in use.
func (a *array) push(v value) {
	if !a.full {
		a.set(phpserialize.KeyOfInt(a.next), v)
	}
}

// unset removes a key.
func (a *array) unset(k phpserialize.Key) {
	i := a.find(k)
	if i < 0 {
		return
	}
	a.keys = append(a.keys[:i], a.keys[i+1:]...)
	a.values = append(a.values[:i], a.values[i+1:]...)
	if a.index != nil {
		delete(a.index, k)
		for j, one := range a.keys[i:] {
			a.index[one] = i + j
		}
	}
}

// append appends the serialized array.
func (a *array) append(b []byte) []byte {
	b = phpserialize.AppendArray(b, len(a.keys))
	for i, k := range a.keys {
		if n, ok := k.Int(); ok {
			b = phpserialize.AppendInt(b, n)
		} else {
			b = phpserialize.AppendString(b, k.String())
		}
		switch v := a.values[i]; {
		case v.array != nil:
			b = v.array.append(b)
		case v.isNumber:
			b = phpserialize.AppendInt(b, v.number)
		default:
			b = phpserialize.AppendString(b, v.text)
		}
	}
	return phpserialize.EndArray(b)
}
