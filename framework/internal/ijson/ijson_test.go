package ijson

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestClean(t *testing.T) {
	huge := strings.Repeat("9", 310)
	for _, tc := range []struct{ doc, clean, path, why string }{
		{`{"a": [1, -2.5e3, true, null, "x\n\u00e9"], "b": {}}`, `{"a": [1, -2.5e3, true, null, "x\n\u00e9"], "b": {}}`, "", ""},
		{` [ ] `, ` [ ] `, "", ""},
		{` { "a" : [ 1 , "\ud83d" ] , "b" : { } } `, `{"a":[1,"\ufffd"],"b":{}}`, "a[1]", Surrogate},
		{`"\ud83d\ude00"`, `"\ud83d\ude00"`, "", ""},
		{`"\ud83d"`, `"\ufffd"`, "", Surrogate},
		{`{"a":["\uDE00x"]}`, `{"a":["\ufffdx"]}`, "a[0]", Surrogate},
		{`"\ud83d\ud83d\ude00\\ud83d"`, `"\ufffd\ud83d\ude00\\ud83d"`, "", Surrogate},
		{`"\ud83dx\ude00"`, `"\ufffdx\ufffd"`, "", Surrogate},
		{`{"p":{"\ud83d":1}}`, `{"p":{"\ufffd":1}}`, "p", Surrogate},
		{`{"\ud83d":1,"\ude00":2}`, `{"\ufffd":2}`, "", Surrogate},
		{`{"a":1,"b":2,"a":3}`, `{"b":2,"a":3}`, "a", Doubled},
		{`{"a":1,"\u0061":{"c":1,"c":2},"b":0}`, `{"\u0061":{"c":2},"b":0}`, "a", Doubled},
		{`[{"x":[{"k":1,"k":{"k":1,"k":2}}]}]`, `[{"x":[{"k":{"k":2}}]}]`, "[0].x[0].k", Doubled},
		{`{"":1,"":2}`, `{"":2}`, "", Doubled},
		{`{"A":1,"a":2}`, `{"A":1,"a":2}`, "", ""},
		{`[1e308,-1E+308,1e-400,0e999]`, `[1e308,-1E+308,1e-400,0e999]`, "", ""},
		{`{"n":[0,1e400]}`, "", "n[1]", Range},
		{`-1e309`, "", "", Range},
		{huge, "", "", Range},
		{huge[:308], huge[:308], "", ""},
	} {
		got, err := Clean([]byte(tc.doc))
		var wrong *Error
		switch {
		case tc.why == Range:
			if !errors.As(err, &wrong) || *wrong != (Error{tc.path, Range}) {
				t.Errorf("%.60s: %v", tc.doc, err)
			}
		case err != nil || string(got) != tc.clean:
			t.Errorf("%s: got %s %v, want %s", tc.doc, got, err, tc.clean)
		case Check(got) != nil:
			t.Errorf("%s: not clean: %v", got, Check(got))
		}
		err = Check([]byte(tc.doc))
		if tc.why == "" && err != nil || tc.why != "" && (!errors.As(err, &wrong) || *wrong != (Error{tc.path, tc.why})) {
			t.Errorf("%.60s: %v, want %s at %q", tc.doc, err, tc.why, tc.path)
		}
	}
}

// What has been cleaned is I-JSON, and means what Go read before: the last of two members, U+FFFD
// for half a pair.
func FuzzClean(f *testing.F) {
	for _, doc := range []string{`{"a":1,"a":{"b":[1,"\ud83d"]}}`, `[1e400,"\ud83d\ude00"]`, `{"\ud83d":1,"\ude00":"\\u"}`, ` "x" `, `-0`} {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		if !json.Valid(doc) {
			return
		}
		clean, err := Clean(doc)
		if err != nil {
			return
		}
		if !json.Valid(clean) || Check(clean) != nil {
			t.Fatalf("%s became %s: %v", doc, clean, Check(clean))
		}
		var before, after any
		if json.Unmarshal(doc, &before) != nil {
			return // a number
		}
		if err := json.Unmarshal(clean, &after); err != nil || !reflect.DeepEqual(before, after) {
			t.Fatalf("%s became %s: %v", doc, clean, err)
		}
		if Check(doc) == nil && string(clean) != string(doc) {
			t.Fatalf("%s became %s", doc, clean)
		}
	})
}
