package environ

import (
	"strings"

	"wsframe/library/phpserialize"
)

// Bounds of PHP's defaults.
const (
	maxVariables = 1000
	maxNesting   = 64
)

// appendQuery appends the array that PHP's parse_str makes of a query.
func appendQuery(b []byte, query string) []byte {
	query, _, _ = strings.Cut(query, "\x00")
	root := &array{}
	count := 0
	for part := range strings.SplitSeq(query, "&") {
		if part == "" {
			continue
		}
		if count++; count > maxVariables {
			break
		}
		name, text, _ := strings.Cut(part, "=")
		root.register(unescape(name), unescape(text))
	}
	return root.append(b)
}

// register assigns a variable by its name, such as "a[x][]". The rules are those of PHP's
// php_register_variable_ex.
func (a *array) register(name, text string) {
	name, _, _ = strings.Cut(name, "\x00")
	name = strings.TrimLeft(name, " ")
	first, rest, nested := strings.Cut(name, "[")
	plain := undotted.Replace(first)
	if plain == "" || forbidden(plain, name) {
		return
	}
	p := place{into: a, key: plain}
	for level := 1; nested; level++ {
		if level > maxNesting {
			a.unset(phpserialize.KeyOf(plain))
			return
		}
		index, after, ok := nextIndex(rest)
		if !ok {
			if level == 1 { // the bracket belongs to the name
				p.key = plain + "_" + undotted.Replace(rest)
			}
			break
		}
		if p = p.enter(index); forbidden(index, name) {
			return
		}
		rest, nested = strings.CutPrefix(after, "[")
	}
	p.assign(value{text: text})
}

// undotted replaces what the name of a PHP variable cannot have.
var undotted = strings.NewReplacer(" ", "_", ".", "_", "[", "_")

// forbidden reports whether a key has a protected prefix of cookies that the name itself does not
// have.
func forbidden(key, name string) bool {
	for _, prefix := range []string{"__Host-", "__Secure-"} {
		if strings.HasPrefix(key, prefix) && !strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// nextIndex splits what follows a bracket at the end of the index. An index of one white space
// counts as empty.
func nextIndex(text string) (index, after string, ok bool) {
	if index, after, ok = strings.Cut(text, "]"); len(index) == 1 && strings.Contains(" \t\n\v\f\r", index) {
		index = ""
	}
	return index, after, ok
}

// place is where a value goes: into an array, at a key.
type place struct {
	into *array
	key  string
	next bool // at the next key instead
}

// enter returns the place at an index of the array in this place, which becomes one.
func (p place) enter(index string) place {
	inner := &array{}
	if !p.next {
		if i := p.into.find(phpserialize.KeyOf(p.key)); i >= 0 && p.into.values[i].array != nil {
			inner = p.into.values[i].array
			return place{inner, index, index == ""}
		}
	}
	p.assign(value{array: inner})
	return place{inner, index, index == ""}
}

// assign puts a value into the place.
func (p place) assign(v value) {
	if p.next {
		p.into.push(v)
		return
	}
	p.into.set(phpserialize.KeyOf(p.key), v)
}

// unescape decodes a part of a query: plus signs and %XX. What is no escape stays.
func unescape(s string) string {
	if !strings.ContainsAny(s, "+%") {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '+':
			b = append(b, ' ')
		case s[i] == '%' && i+2 < len(s) && hex(s[i+1]) >= 0 && hex(s[i+2]) >= 0:
			b = append(b, byte(hex(s[i+1])<<4|hex(s[i+2])))
			i += 2
		default:
			b = append(b, s[i])
		}
	}
	return string(b)
}

// hex returns the value of a hexadecimal digit; -1 = it is none.
func hex(c byte) int {
	if c >= 'A' && c <= 'F' {
		c += 'a' - 'A'
	}
	return strings.IndexByte("0123456789abcdef", c)
}
