package config

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// variable is a value from the environment, where every value is a text. In a file, a text sets
// only texts.
type variable string

// assign sets a field. It refuses values for which a guess could be unsafe: an empty variable does
// not turn auth.check off, and a password that YAML reads as a number (0123 is 83) is refused.
func assign(field reflect.Value, value any) error {
	switch field.Addr().Interface().(type) {
	case *string:
		switch x := value.(type) {
		case string:
			field.SetString(x)
		case variable:
			field.SetString(string(x))
		default:
			return errors.New("is no text for YAML: put it in quotes")
		}
	case *bool:
		switch x := value.(type) {
		case bool:
			field.SetBool(x)
			return nil
		case variable:
			if b, err := strconv.ParseBool(string(x)); err == nil {
				field.SetBool(b)
				return nil
			}
		}
		return fmt.Errorf("%s is neither true nor false", show(value))
	case *int:
		switch x := value.(type) {
		case int:
			field.SetInt(int64(x))
			return nil
		case variable:
			if n, err := strconv.Atoi(string(x)); err == nil {
				field.SetInt(int64(n))
				return nil
			}
		}
		return fmt.Errorf("%s is no whole number", show(value))
	case *time.Duration:
		switch x := value.(type) {
		case string:
			value = variable(x)
		case int:
			value = variable(strconv.Itoa(x))
		}
		if x, ok := value.(variable); ok {
			text := string(x)
			if _, err := strconv.Atoi(text); err == nil {
				text += "s"
			}
			if d, err := time.ParseDuration(text); err == nil {
				field.SetInt(int64(d))
				return nil
			}
		}
		return fmt.Errorf("%s is no time: write 500ms, 25s, 24h, or a number of seconds", show(value))
	case *[]string:
		list, err := texts(value)
		if err != nil {
			return err
		}
		field.Set(reflect.ValueOf(list))
	default:
		return fmt.Errorf("settings of type %s cannot be read", field.Type())
	}
	return nil
}

// texts reads a YAML list, or one text with commas.
func texts(value any) ([]string, error) {
	list := []string{}
	switch x := value.(type) {
	case []any:
		for i, e := range x {
			s, ok := e.(string)
			if !ok { // the entry may be a secret, so the error does not show it
				return nil, fmt.Errorf("entry %d is no text for YAML: put it in quotes", i+1)
			}
			list = append(list, s)
		}
		return list, nil
	case string:
		value = variable(x)
	}
	x, ok := value.(variable)
	if !ok {
		return nil, errors.New("is neither a list nor a text")
	}
	for s := range strings.SplitSeq(string(x), ",") {
		if s = strings.TrimSpace(s); s != "" {
			list = append(list, s)
		}
	}
	return list, nil
}

// show quotes a refused value on one line, and shortens it.
func show(value any) string {
	switch x := value.(type) {
	case string:
		return fmt.Sprintf("%.40q", x)
	case variable:
		return fmt.Sprintf("%.40q", string(x))
	case map[string]any, []any:
		return "what stands there"
	}
	return fmt.Sprint(value) // a number, true or false
}
