// Package phpserialize reads and writes the format of PHP's serialize().
//
// Append functions write scalars and arrays in the order of the calls. Parse reads a text into a
// tree of Values, and Merge combines two trees as PHP's array_replace_recursive does.
//
//	b = phpserialize.AppendArray(nil, 1)                     // a:1:{
//	b = phpserialize.AppendKey(b, "7")                       // i:7;
//	b = phpserialize.AppendString(b, "seven")                // s:5:"seven";
//	b = phpserialize.EndArray(b)                             // }
//
//	v, err := phpserialize.Parse(b)
//	b = v.Append(nil)                                        // the same bytes
//
// Texts come from other programs: a length or a count that a text claims costs no memory, and
// nesting and the number of elements are bounded. Objects are never made. Parse keeps a whole
// object as an opaque leaf, so that it can be written again. References and objects with an
// encoding of their own are refused, because they count slots or bytes that a merge moves.
//
// All functions are pure and safe for concurrent use. A Value belongs to one goroutine.
package phpserialize

import (
	"math"
	"strconv"
	"strings"
)

// AppendNull appends PHP's null.
func AppendNull(b []byte) []byte { return append(b, "N;"...) }

// AppendBool appends true or false.
func AppendBool(b []byte, value bool) []byte {
	if value {
		return append(b, "b:1;"...)
	}
	return append(b, "b:0;"...)
}

// AppendInt appends an integer.
func AppendInt(b []byte, n int64) []byte {
	b = append(b, "i:"...)
	return append(strconv.AppendInt(b, n, 10), ';')
}

// AppendFloat appends a float with the digits that PHP writes at its default serialize_precision,
// -1.
func AppendFloat(b []byte, f float64) []byte {
	b = append(b, "d:"...)
	return append(appendDigits(b, f, shortest), ';')
}

// AppendFloatText appends the text that PHP makes of a float where it needs one, at its default
// precision of 14 digits.
func AppendFloatText(b []byte, f float64) []byte { return appendDigits(b, f, 14) }

// shortest is the precision with just the digits that identify a float, which are 17 at most.
const shortest = 0

// appendDigits appends a float in PHP's form: so many digits without zeros at their end, and an
// exponent below 1e-4 and where the digits do not reach the decimal point.
func appendDigits(b []byte, f float64, precision int) []byte {
	switch {
	case math.IsNaN(f):
		return append(b, "NAN"...)
	case math.IsInf(f, 1):
		return append(b, "INF"...)
	case math.IsInf(f, -1):
		return append(b, "-INF"...)
	}
	mantissa, power, _ := strings.Cut(strconv.FormatFloat(f, 'e', precision-1, 64), "e")
	exponent, err := strconv.Atoi(power)
	limit, decimals := 17, -1
	if precision != shortest {
		limit, decimals = precision, precision-1-exponent
	}
	if err != nil || exponent >= -4 && exponent < limit {
		return append(b, trimZeros(strconv.FormatFloat(f, 'f', decimals, 64))...)
	}
	mantissa = trimZeros(mantissa)
	b = append(b, mantissa...)
	if !strings.Contains(mantissa, ".") {
		b = append(b, ".0"...)
	}
	b = append(b, 'E')
	if exponent > 0 {
		b = append(b, '+')
	}
	return strconv.AppendInt(b, int64(exponent), 10)
}

// trimZeros removes zeros at the end of decimals.
func trimZeros(digits string) string {
	if !strings.Contains(digits, ".") {
		return digits
	}
	return strings.TrimSuffix(strings.TrimRight(digits, "0"), ".")
}

// AppendString appends a string of any bytes.
func AppendString[T ~string | ~[]byte](b []byte, text T) []byte {
	b = append(b, "s:"...)
	b = strconv.AppendInt(b, int64(len(text)), 10)
	b = append(b, ":\""...)
	b = append(b, text...)
	return append(b, "\";"...)
}

// AppendArray appends the beginning of an array of n elements. Each element is a key (AppendKey
// or AppendInt) and a value, and EndArray follows the last one.
func AppendArray(b []byte, n int) []byte {
	b = append(b, "a:"...)
	b = strconv.AppendInt(b, int64(n), 10)
	return append(b, ":{"...)
}

// EndArray appends the end of an array.
func EndArray(b []byte) []byte { return append(b, '}') }

// AppendKey appends the key of an array's element as PHP normalises it. See Key.
func AppendKey(b []byte, name string) []byte { return KeyOf(name).append(b) }

// Key is the key of an array's element: an integer or a string. Its zero value is the integer 0.
type Key struct {
	text   string
	number int64
	isText bool
}

// KeyOf returns the key that PHP uses for a string: an integer if the string is a canonical
// decimal number within int64, such as "7" or "-7", otherwise the string itself.
func KeyOf(name string) Key {
	if n, ok := canonical(name); ok {
		return Key{number: n}
	}
	return Key{text: name, isText: true}
}

// KeyOfInt returns an integer key.
func KeyOfInt(n int64) Key { return Key{number: n} }

// canonical reports whether a text is a decimal number exactly as PHP prints it.
func canonical(text string) (n int64, ok bool) {
	if text == "" || len(text) > 20 || text[0] != '-' && (text[0] < '0' || text[0] > '9') {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil && strconv.FormatInt(n, 10) == text
}

// Int returns an integer key; ok is false if the key is a string.
func (k Key) Int() (n int64, ok bool) { return k.number, !k.isText }

// String returns the key as PHP converts it to a string.
func (k Key) String() string {
	if k.isText {
		return k.text
	}
	return strconv.FormatInt(k.number, 10)
}

func (k Key) append(b []byte) []byte {
	if k.isText {
		return AppendString(b, k.text)
	}
	return AppendInt(b, k.number)
}
