package framework

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
)

// Int is an integer field of a request that PHP clients may send as a string: 1 and "1" are the
// same; null and "" are 0.
type Int int64

// Str is a string field that may come as a number: "7" and 7 are the same; null is "".
type Str string

// Bool is a flag that may come as true, 1, "1", "true" and their opposites; null and "" are false.
type Bool bool

// wrongType is an error to which the JSON decoder adds the field.
func wrongType[T any](value string) error {
	return &json.UnmarshalTypeError{Value: fmt.Sprintf("%.20q", value), Type: reflect.TypeFor[T]()}
}

func unquote(b []byte) (string, bool, error) {
	b = bytes.TrimSpace(b)
	if len(b) > 0 && b[0] == '"' {
		var s string
		err := json.Unmarshal(b, &s)
		return s, true, err
	}
	if string(b) == "null" {
		return "", false, nil
	}
	return string(b), false, nil
}

// UnmarshalJSON accepts a whole number or a string of one.
func (i *Int) UnmarshalJSON(b []byte) error {
	s, _, err := unquote(b)
	if err != nil {
		return err
	}
	if s == "" {
		*i = 0
		return nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return wrongType[int64](s)
	}
	*i = Int(n)
	return nil
}

// UnmarshalJSON accepts a string or a number.
func (s *Str) UnmarshalJSON(b []byte) error {
	v, quoted, err := unquote(b)
	if err != nil {
		return err
	}
	if !quoted && v != "" && v[0] != '-' && (v[0] < '0' || v[0] > '9') {
		return wrongType[string](v)
	}
	*s = Str(v)
	return nil
}

// UnmarshalJSON accepts true, false, 1, 0, and the same as strings.
func (t *Bool) UnmarshalJSON(b []byte) error {
	s, _, err := unquote(b)
	if err != nil {
		return err
	}
	switch s {
	case "", "0", "false":
		*t = false
	case "1", "true":
		*t = true
	default:
		return wrongType[bool](s)
	}
	return nil
}
