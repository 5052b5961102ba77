package frame

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestDecode(t *testing.T) {
	cases := []struct {
		name, in         string
		method, id, body string
		err              error
	}{
		{"plain", `{"method":"a.b.c"}`, "a.b.c", "", `{"method":"a.b.c"}`, nil},
		{"no method", `{}`, "", "", `{}`, nil},
		{"spaces", " \n{ \"method\" : \"a\" , \"id\" : 7 } ", "a", "7", `{ "method" : "a" , "id" : 7 }`, nil},
		{"string id", `{"id":"x\n","method":""}`, "", `"x\n"`, `{"id":"x\n","method":""}`, nil},
		{"escaped method", `{"method":"liv\u0065.x"}`, "live.x", "", `{"method":"liv\u0065.x"}`, nil},
		{"escaped key", `{"meth\u006fd":"a"}`, "a", "", `{"meth\u006fd":"a"}`, nil},
		{"reserved", `{"fd":1,"method":"a","auth":{"id":1},"code":"x"}`, "a", "", `{"method":"a"}`, nil},
		{"reserved, other case", `{"FD":1,"x":2 , "Auth":[1,{}],"cOdE":null}`, "", "", `{"x":2 }`, nil},
		{"reserved, escaped", `{"\u0066d":1,"\u0046\u0044":2,"y":3}`, "", "", `{"y":3}`, nil},
		{"only reserved", `{"fd":1}`, "", "", `{}`, nil},
		{"reserved, deeper, stays", `{"x":{"fd":1}}`, "", "", `{"x":{"fd":1}}`, nil},
		{"Method is data", `{"Method":"a"}`, "", "", `{"Method":"a"}`, nil},
		{"duplicate", `{"method":"a","method":"b"}`, "", "", "", ErrDuplicateKey},
		{"duplicate, escaped", `{"x":1,"\u0078":2}`, "", "", "", ErrDuplicateKey},
		{"duplicate, deeper, is data", `{"x":{"y":1,"y":2}}`, "", "", `{"x":{"y":1,"y":2}}`, nil},
		{"method number", `{"method":1}`, "", "", "", ErrMethod},
		{"method null", `{"method":null}`, "", "", "", ErrMethod},
		{"id object", `{"id":{}}`, "", "", `{"id":{}}`, nil},
		{"list", `[1]`, "", "", "", ErrNotObject},
		{"number", `2`, "", "", "", ErrNotObject},
		{"string", `"x"`, "", "", "", ErrNotObject},
		{"empty", ``, "", "", "", ErrSyntax},
		{"cut", `{"a":1`, "", "", "", ErrSyntax},
		{"two", `{} {}`, "", "", "", ErrSyntax},
		{"trailing comma", `{"a":1,}`, "", "", "", ErrSyntax},
		{"leading zero", `{"a":01}`, "", "", "", ErrSyntax},
		{"control byte", "{\"a\":\"\x01\"}", "", "", "", ErrSyntax},
		{"deep", strings.Repeat(`{"a":`, 32) + "1" + strings.Repeat("}", 32), "", "", strings.Repeat(`{"a":`, 32) + "1" + strings.Repeat("}", 32), nil},
		{"too deep", strings.Repeat(`{"a":`, 33) + "1" + strings.Repeat("}", 33), "", "", "", ErrTooDeep},
		{"too deep lists", `{"a":` + strings.Repeat("[", 60_000), "", "", "", ErrTooDeep},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			r, err := Decode([]byte(tc.in), Options{})
			if !errors.Is(err, tc.err) || string(r.Method) != tc.method || string(r.ID) != tc.id || string(r.Body) != tc.body {
				t.Fatalf("got %q %q %q %v", r.Method, r.ID, r.Body, err)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{`{"method":"a.b.c","id":1,"fd":2}`, `{"\u0046d":1,"x":[1,2.5e-3,null,true]}`, `[{}]`, "{\"a\":\"\xff\"}", `{"a":1, "code" : 2 ,"b":3}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Decode(data, Options{MaxDepth: 5000})
		valid := json.Valid(data)
		if errors.Is(err, ErrSyntax) && valid {
			t.Fatalf("refused valid JSON %q", data)
		}
		if err == nil && !valid {
			t.Fatalf("accepted invalid JSON %q", data)
		}
		if err != nil {
			return
		}
		var fields map[string]json.RawMessage
		if e := json.Unmarshal(r.Body, &fields); e != nil {
			t.Fatalf("body %q of %q: %v", r.Body, data, e)
		}
		for k := range fields {
			for _, name := range []string{"fd", "auth", "code"} {
				if strings.EqualFold(k, name) {
					t.Fatalf("reserved key %q left in %q", k, r.Body)
				}
			}
		}
		var trusted struct{ FD, Auth, Code any }
		if e := json.Unmarshal(r.Body, &trusted); e != nil || trusted.FD != nil || trusted.Auth != nil || trusted.Code != nil {
			t.Fatalf("a decoder finds %v in %q", trusted, r.Body)
		}
	})
}

func escapeValue(v any) any {
	switch v := v.(type) {
	case string:
		return html.Replace(v)
	case []any:
		for i := range v {
			v[i] = escapeValue(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = escapeValue(v[k])
		}
	}
	return v
}

func TestEscapeHTML(t *testing.T) {
	in := `{"<k>":"<b>'x'</b> & \"y\" \u003c","n":[1,{"a":"&amp;"}],"plain":"x"}`
	want := `{"<k>":"&lt;b&gt;&#039;x&#039;&lt;/b&gt; &amp; &quot;y&quot; &lt;","n":[1,{"a":"&amp;amp;"}],"plain":"x"}`
	if got := EscapeHTML([]byte(in)); string(got) != want {
		t.Fatalf("got %s", got)
	}
}

func FuzzEscapeHTML(f *testing.F) {
	f.Add([]byte(`{"a":"<b>","c":["\u0026",{"d":"\"'"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var v any
		if json.Unmarshal(data, &v) != nil {
			return
		}
		var got any
		if err := json.Unmarshal(EscapeHTML(data), &got); err != nil {
			t.Fatalf("%q: %v", data, err)
		}
		if want := escapeValue(v); !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: got %v, want %v", data, got, want)
		}
	})
}

func TestAppendReply(t *testing.T) {
	type row struct {
		ID int `json:"id"`
	}
	cases := []struct {
		r    Reply
		id   string
		want string
	}{
		{Reply{Status: 200, Event: "success", Info: "执行完成"}, "", `{"status":200,"event":"success","info":"执行完成"}`},
		{Reply{Status: 200, Event: "e", Info: "a\"\\\n\x01\u2028\xff", Param: 0}, `"x"`, `{"status":200,"event":"e","info":"a\"\\\n\u0001\u2028\ufffd","param":0,"id":"x"}`},
		{Reply{Param: ""}, "", `{"status":0,"event":"","info":""}`},
		{Reply{Param: []int{}}, "", `{"status":0,"event":"","info":""}`},
		{Reply{Param: (*row)(nil)}, "", `{"status":0,"event":"","info":""}`},
		{Reply{Param: false}, "", `{"status":0,"event":"","info":"","param":false}`},
		{Reply{Param: &row{7}}, "9", `{"status":0,"event":"","info":"","param":{"id":7},"id":9}`},
		{Reply{Param: "<b>"}, "", `{"status":0,"event":"","info":"","param":"<b>"}`},
	}
	for _, tc := range cases {
		var id []byte
		if tc.id != "" {
			id = []byte(tc.id)
		}
		got, err := AppendReply(nil, &tc.r, id)
		if err != nil || string(got) != tc.want {
			t.Errorf("got %s %v, want %s", got, err, tc.want)
		}
	}
	if _, err := AppendReply(nil, &Reply{Param: func() {}}, nil); err == nil {
		t.Error("a func was encoded")
	}
}

func FuzzAppendString(f *testing.F) {
	f.Add("a\u2029\"\x00")
	f.Fuzz(func(t *testing.T, s string) {
		var got string
		if err := json.Unmarshal(appendString(nil, s), &got); err != nil || got != strings.ToValidUTF8(s, "\ufffd") && strings.ToValidUTF8(s, "") == s {
			t.Fatalf("%q became %q: %v", s, got, err)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	data := []byte(`{"method":"index.index.index"}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(data, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendReply(b *testing.B) {
	r := &Reply{Status: 200, Event: "success", Info: "执行完成"}
	buf := make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		buf, _ = AppendReply(buf[:0], r, nil)
	}
}
