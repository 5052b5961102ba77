package framework

import (
	"encoding/json"
	"reflect"
	"testing"
)

type looseIn struct {
	Int  Int    `json:"int"`
	Str  Str    `json:"str"`
	Bool Bool   `json:"bool"`
	Text string `json:"text"`
}

// Numbers, texts and flags that may come in several forms are the same without encoding/json.
func TestLooseInputs(t *testing.T) {
	in := newInput(reflect.TypeFor[looseIn]())
	if in.flat == nil {
		t.Fatal("encoding/json decodes all of it")
	}
	for _, value := range []string{
		`7`, `-7`, `-0`, `"7"`, `"007"`, `"-7"`, `"+7"`, `" 7"`, `""`, `"x"`, `1.5`, `"1.5"`, `1e3`, `null`, `true`, `false`, `"true"`, `"false"`, `0`, `1`, `"0"`, `"1"`, `2`, `"\u0037"`, `"世"`,
		`123456789012345678`, `9223372036854775807`, `9223372036854775808`, `"9223372036854775808"`, `[]`, `{}`, `[7]`, `"null"`,
	} {
		for _, name := range []string{"int", "str", "bool", "text", "INT", "other"} {
			body := []byte(`{"method":"a","` + name + `":` + value + `}`)
			var want looseIn
			err := json.Unmarshal(body, &want)
			got, gotErr := in.read(&Ctx{}, body)
			if (err == nil) != (gotErr == nil) || err == nil && got.Elem().Interface() != want {
				t.Errorf("%s: got %+v, %v; want %+v, %v", body, got.Elem(), gotErr, want, err)
			}
		}
	}
}
