package ijson

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestLength(t *testing.T) {
	for doc, want := range map[string]string{
		`1,2`: `1`, `12`: `12`, `-1.5e3}`: `-1.5e3`, `true]`: `true`, `null `: `null`, `"a\"}",1`: `"a\"}"`, `"\\"x`: `"\\"`, `[1,{"a":"]"},[]],2`: `[1,{"a":"]"},[]]`,
		"{ \"a\" :\n[ ] }x": "{ \"a\" :\n[ ] }", `"用"`: `"用"`,
		``: ``, `,1`: ``, ` 1`: ``, `}`: ``, `]1`: ``, `"a`: ``, `"a\`: ``, `[1`: ``, `{"a":"b}`: ``, "\x01": ``, "[\x01]": "[\x01]",
	} {
		if got := doc[:Length([]byte(doc))]; got != want {
			t.Errorf("%q: %q, want %q", doc, got, want)
		}
	}
}

func TestDeeper(t *testing.T) {
	for doc, depth := range map[string]int{
		`1`: 0, `[]`: 1, `[[],[]]`: 2, `{"a":[{}]}`: 3, `"[[["`: 0, `["\"[[["]`: 1, `[`: 1, `["[`: 1, `]]][[`: 0, strings.Repeat("[", 100): 100,
	} {
		if depth > 0 && !Deeper([]byte(doc), depth-1) || Deeper([]byte(doc), depth) {
			t.Errorf("%q is not %d levels deep", doc, depth)
		}
	}
}

// The length of a valid document is all of it, and bytes that are not valid end somewhere.
func FuzzLength(f *testing.F) {
	for _, doc := range []string{`{"a":[1,"\"",null]}`, `"x"`, `[[[`, `1 `, "\x00", `"\`} {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		n := Length(doc)
		if n < 0 || n > len(doc) {
			t.Fatal(n)
		}
		Deeper(doc, 5)
		if json.Valid(doc) {
			trimmed := strings.Trim(string(doc), " \t\r\n")
			if got := Length([]byte(trimmed)); got != len(trimmed) {
				t.Fatalf("%q has a length of %d", trimmed, got)
			}
		}
	})
}
