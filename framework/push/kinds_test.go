package push

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func TestDecode(t *testing.T) {
	long := strings.Repeat("x", 129)
	for _, tc := range []struct{ name, method, body, want string }{
		{"plain", "sendToUID", `{"uid":"7","event":"paid","param":{"a":[1,"<b>"]}}`, ""},
		{"all fields", "sendToRoom", ` {"room":"A","event":"e","info":"i","status":404,"param":null,"except":[1,2],"class":"latest","key":"k","keep":10,"age_seconds":60}` + "\n", ""},
		{"other alphabets", "sendToRoom", `{"room":"直播间_Ω1","event":"新消息"}`, ""},
		{"null is absent", "sendToUID", `{"uid":"7","event":"e","class":null}`, ""},
		{"empty", "sendToUID", ``, "must be a JSON object"},
		{"list", "sendToUID", `[]`, "must be a JSON object"},
		{"form", "sendToUID", `uid=7&event=e`, "must be a JSON object"},
		{"byte order mark", "sendToUID", "\xef\xbb\xbf{}", "must be a JSON object"},
		{"cut", "sendToUID", `{"uid":"7","event":"e"`, "ends too soon"},
		{"cut in a name", "sendToUID", `{"uid":"7","ev`, "ends too soon"},
		{"no JSON", "sendToUID", `{"uid":7,,}`, "must be a text"},
		{"trailing comma", "sendToUID", `{"uid":"7","event":"e",}`, "malformed JSON"},
		{"more after it", "sendToUID", `{"uid":"7","event":"e"}}`, "something follows"},
		{"two", "sendToUID", `{"uid":"7","event":"e"}{}`, "something follows"},
		{"not UTF-8", "sendToUID", "{\"uid\":\"7\",\"event\":\"e\",\"param\":\"\xff\"}", "not UTF-8"},
		{"unknown field", "sendToUID", `{"uid":"7","event":"e","rooms":1}`, `"rooms" is no field`},
		{"another case", "sendToUID", `{"UID":"7","event":"e"}`, `"UID" is no field`},
		{"twice", "sendToUID", `{"uid":"7","event":"e","uid":"8"}`, "uid is there twice"},
		{"missing", "sendToUID", `{"event":"e"}`, "uid is missing"},
		{"null is missing", "sendToUID", `{"uid":null,"event":"e"}`, "uid is missing"},
		{"number for a text", "sendToUID", `{"uid":7,"event":"e"}`, "uid must be a text"},
		{"text for a number", "sendToFD", `{"fd":"7","event":"e"}`, "fd must be a whole number"},
		{"fraction", "sendToFD", `{"fd":1.5,"event":"e"}`, "fd must be a whole number"},
		{"too large for int64", "sendToFD", `{"fd":99999999999999999999,"event":"e"}`, "fd must be a whole number"},
		{"fd zero", "sendToFD", `{"fd":0,"event":"e"}`, "fd must be between 1 and"},
		{"fd that JavaScript cannot hold", "sendToFD", `{"fd":9007199254740992,"event":"e"}`, "fd must be between 1 and"},
		{"empty uid", "sendToUID", `{"uid":"","event":"e"}`, "uid must match"},
		{"uid with a space", "sendToUID", `{"uid":"a b","event":"e"}`, "uid must match"},
		{"long room", "sendToRoom", `{"room":"` + long + `","event":"e"}`, "room must have at most 128 characters"},
		{"emoji room", "sendToRoom", `{"room":"😀","event":"e"}`, "room must match"},
		{"reserved room", "join", `{"fd":1,"room":"WEBSOCKET_FDINFO"}`, `room "WEBSOCKET_FDINFO" is reserved: no room begins with WEBSOCKET_`},
		{"reserved room to read", "history", `{"room":"WSFRAME_LEAVING"}`, `room "WSFRAME_LEAVING" is reserved`},
		{"another case of it", "dismissRoom", `{"room":"wsframe_leaving"}`, ""},
		{"event with a newline", "sendToAll", `{"event":"a\nb"}`, "event must match"},
		{"long info", "sendToAll", `{"event":"e","info":"` + strings.Repeat("好", 1025) + `"}`, "info must have at most 1024 characters"},
		{"status", "sendToAll", `{"event":"e","status":0}`, "status must be between 100 and 999"},
		{"class", "sendToAll", `{"event":"e","class":"never"}`, "class must be one of never-drop, drop-oldest, latest"},
		{"latest without a key", "sendToAll", `{"event":"e","class":"latest"}`, "key is missing"},
		{"key without latest", "sendToAll", `{"event":"e","key":"k"}`, "key belongs to the class latest"},
		{"keep without an age", "sendToRoom", `{"room":"A","event":"e","keep":5}`, "keep and age_seconds belong together"},
		{"except", "sendToAll", `{"event":"e","except":[1,-1]}`, "except [1] must be between 1 and"},
		{"long list", "sendToAll", `{"event":"e","except":[1` + strings.Repeat(",1", 1000) + `]}`, "except must have 0 to 1000 entries"},
		{"limit", "uids", `{"limit":1001}`, "limit must be between 1 and 1000"},
		{"limit zero", "uids", `{"limit":0}`, "limit must be between 1 and 1000"},
		{"before the first", "connections", `{"after":-1}`, "after must be between 0 and"},
		{"newest", "history", `{"room":"A","after":-1}`, ""},
		{"close code", "kick", `{"fd":1,"code":1001}`, "code must be 1000 or 3000-4999"},
		{"reason", "kick", `{"fd":1,"reason":"` + strings.Repeat("好", 42) + `"}`, "reason must have at most 123 bytes"},
		{"values", "setSession", `{"fd":1}`, "values is missing"},
		{"values are a list", "setSession", `{"fd":1,"values":[]}`, "values must be an object"},
		{"nothing wanted", "counts", `{"fd":1}`, `"fd" is no field`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := findMethod(tc.method).call(t.Context(), &recorder{}, []byte(tc.body))
			got := ""
			if err != nil {
				got = err.Error()
			}
			if tc.want == "" && err != nil || !strings.Contains(got, tc.want) {
				t.Errorf("%s: got %q, want %q", tc.body, got, tc.want)
			}
		})
	}
}

// FuzzDecode: no input panics, and an accepted one has the values that a strict parser reads from
// the same bytes.
func FuzzDecode(f *testing.F) {
	for _, m := range methods {
		f.Add(m.name, []byte(`{"fd":1,"uid":"7","room":"A","event":"e","param":[1],"values":{"a":null},"limit":5}`))
		f.Add(m.name, []byte(`{"fd":1,"room":"A","event":"e","except":[1,2],"class":"latest","key":"k"}`))
	}
	f.Add("batch", []byte(`{"calls":[{"method":"counts","params":{}}]}`))
	f.Fuzz(func(t *testing.T, name string, body []byte) {
		fields, in := batchFields, any(new(batchIn))
		if m := findMethod(name); m != nil {
			fields, in = m.fields, reflect.New(m.in).Interface()
		}
		if decode(body, fields, in) != nil {
			return
		}
		var strict map[string]json.RawMessage
		if err := json.Unmarshal(body, &strict); err != nil {
			t.Fatalf("%s: %s was let through: %v", name, body, err)
		}
		v := reflect.ValueOf(in).Elem()
		for _, field := range fields {
			want := reflect.New(field.typ)
			if raw := strict[field.name]; raw != nil && string(raw) != "null" {
				if err := json.Unmarshal(raw, want.Interface()); err != nil {
					t.Fatalf("%s: %s of %s: %v", name, field.name, body, err)
				}
			}
			if got := v.FieldByIndex(field.index).Interface(); !reflect.DeepEqual(got, want.Elem().Interface()) {
				t.Fatalf("%s: %s of %s became %v", name, field.name, body, got)
			}
		}
	})
}
