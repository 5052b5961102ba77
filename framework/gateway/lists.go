package gateway

import (
	"bytes"
	"encoding/json"
	"iter"
	"math"
	"strconv"
	"unicode/utf8"

	"wsframe/framework/internal/ijson"
)

// Bounds of what PHP sends.
const (
	maxNesting = 16  // of JSON in ext_data
	maxName    = 128 // bytes of a uid or a group
)

// document checks JSON of ext_data once, so that elements and members can walk through it.
func document(doc []byte) bool {
	return utf8.Valid(doc) && json.Valid(doc) && !ijson.Deeper(doc, maxNesting)
}

// trim removes JSON's space and the separators of values from the front.
func trim(doc []byte) []byte { return bytes.TrimLeft(doc, " \t\r\n,:") }

// value returns the value in front of a valid document.
func value(doc []byte) []byte { return doc[:ijson.Length(doc)] }

// members walks through the elements of a valid JSON list or object, whose arrays in PHP are of
// one type. The key of a list's element is nil, and that of an object's member is a JSON string.
func members(doc []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		doc = trim(doc)
		if len(doc) == 0 || doc[0] != '[' && doc[0] != '{' {
			return
		}
		named := doc[0] == '{'
		for doc = trim(doc[1:]); len(doc) > 0 && doc[0] != ']' && doc[0] != '}'; doc = trim(doc) {
			var key []byte
			if named {
				key = value(doc)
				doc = trim(doc[len(key):])
			}
			v := value(doc)
			doc = doc[len(v):]
			if !yield(key, v) {
				return
			}
		}
	}
}

// isArray reports whether a valid JSON value is an array in PHP.
func isArray(doc []byte) bool {
	doc = trim(doc)
	return len(doc) > 0 && (doc[0] == '[' || doc[0] == '{')
}

// isNull reports whether a member is missing or null.
func isNull(doc []byte) bool { return len(doc) == 0 || string(doc) == "null" }

// member returns the last member of a valid JSON object with a name, and nil if it is missing.
func member(doc []byte, name string) (found []byte) {
	for key, v := range members(doc) {
		if key != nil && unquote(key) == name {
			found = v
		}
	}
	return found
}

// unquote decodes a valid JSON string.
func unquote(quoted []byte) (text string) {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1 : len(quoted)-1])
	}
	if err := json.Unmarshal(quoted, &text); err != nil {
		return ""
	}
	return text
}

// nameOf converts a scalar of JSON to the name that PHP uses as an array's key. Lists, objects
// and numbers beyond int64 have none.
func nameOf(v []byte) (name string, ok bool) {
	switch v[0] {
	case '"':
		return unquote(v), true
	case '[', '{':
		return "", false
	case 't':
		return "1", true
	case 'f':
		return "0", true
	case 'n':
		return "", true
	}
	if n, err := strconv.ParseInt(string(v), 10, 64); err == nil {
		return strconv.FormatInt(n, 10), true
	}
	f, err := strconv.ParseFloat(string(v), 64)
	if err != nil || f < math.MinInt64 || f >= math.MaxInt64 {
		return "", false
	}
	return strconv.FormatInt(int64(f), 10), true
}

// valid reports whether PHP takes a name as a uid or a group.
func valid[T ~string | ~[]byte](name T) bool {
	return len(name) > 0 && len(name) <= maxName && string(name) != "0"
}

// names walks through the uids or groups of a valid JSON array. Whatever is no name is passed
// over.
func names(doc []byte) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, v := range members(doc) {
			if name, ok := nameOf(v); ok && valid(name) && !yield(name) {
				return
			}
		}
	}
}

// once calls f for each name, and not again for one that is repeated.
func once(list iter.Seq[string], f func(name string)) {
	seen := map[string]bool{}
	for name := range list {
		if !seen[name] {
			seen[name] = true
			f(name)
		}
	}
}

// connections returns the connection_ids of {"1":1,"3":3} or [1,3].
func connections(doc []byte) (ids []uint32) {
	for key, v := range members(doc) {
		if key == nil {
			key = v
		}
		name, ok := nameOf(key)
		if !ok {
			continue
		}
		if id, err := strconv.ParseUint(name, 10, 32); err == nil {
			ids = append(ids, uint32(id))
		}
	}
	return ids
}
