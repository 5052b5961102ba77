package frame

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"wsframe/framework/internal/ijson"
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
		{"duplicate, deeper: the last stays", `{"x":{"y":1,"z":0,"y":{"y":1,"\u0079":2}}}`, "", "", `{"x":{"z":0,"y":{"\u0079":2}}}`, nil},
		{"duplicate in a list", `{"x":[{"y":1,"y":2}, {"y":1}]}`, "", "", `{"x":[{"y":2},{"y":1}]}`, nil},
		{"method number", `{"method":1}`, "", "", "", ErrMethod},
		{"method null", `{"method":null}`, "", "", `{"method":null}`, nil},
		{"method null, twice", `{"method":null,"method":"a"}`, "", "", "", ErrDuplicateKey},
		{"reserved between", `{"a":1, "fd" : 2 ,"b":3,"CODE":[{}]}`, "", "", `{"a":1,"b":3}`, nil},
		{"reserved twice", `{"fd":1,"fd":2}`, "", "", "", ErrDuplicateKey},
		{"reserved, cut short", `{"fd":1`, "", "", "", ErrSyntax},
		{"alike but not reserved", `{"fd ":1,"codes":2,"autha":3}`, "", "", `{"fd ":1,"codes":2,"autha":3}`, nil},
		{"surrogates", `{"method":"\ud83d\ude00","x":"\ud800"}`, "😀", "", `{"method":"\ud83d\ude00","x":"\ufffd"}`, nil},
		{"a lone surrogate in a name", `{"x":[{"\uDE00a":1}]}`, "", "", `{"x":[{"\ufffda":1}]}`, nil},
		{"a lone surrogate in the id", `{"id":"7\ud83d"}`, "", `"7\ufffd"`, `{"id":"7\ufffd"}`, nil},
		{"pairs stay as they are", `{"x": "\uD83D\uDE00\u00e9"}`, "", "", `{"x": "\uD83D\uDE00\u00e9"}`, nil},
		{"an exponent", `{"x":1.5e3}`, "", "", `{"x":1.5e3}`, nil},
		{"byte order mark", "\xef\xbb\xbf{}", "", "", "", ErrSyntax},
		{"id null", `{"id":null}`, "", "", `{"id":null}`, nil},
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

// Numbers beyond the range of a double are refused by the name of their field, and the request can
// be answered.
func TestNumber(t *testing.T) {
	for in, want := range map[string]string{
		`{"id":7,"x":{"list":[0,1e400]}}`:                 `x.list[1] 7`,
		`{"id":"a\ud83d","fd":1,"x":-1E+999}`:             `x "a\ufffd"`,
		`{"id":1e999,"x":1}`:                              `id `,
		`{"x":` + strings.Repeat("1", 400) + `,"id":"b"}`: `x "b"`,
	} {
		r, err := Decode([]byte(in), Options{})
		var wrong *NumberError
		if !errors.As(err, &wrong) || wrong.Field+" "+string(r.ID) != want {
			t.Errorf("%.40s: %v %s", in, err, r.ID)
		}
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
		if e := ijson.Check(r.Body); e != nil {
			t.Fatalf("body %q of %q: %v", r.Body, data, e)
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

// topLevel decodes by encoding/json: the keys in order and, if all are different, the values.
func topLevel(data []byte) (fields map[string]any, unique bool) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, false
	}
	fields = map[string]any{}
	for d.More() {
		t, err := d.Token()
		key, ok := t.(string)
		if err != nil || !ok {
			return nil, false
		}
		if _, known := fields[key]; known {
			return nil, false
		}
		var v any
		if d.Decode(&v) != nil {
			return nil, false
		}
		fields[key] = v
	}
	return fields, true
}

// FuzzTopLevel compares what Decode finds and removes at the top level with encoding/json.
func FuzzTopLevel(f *testing.F) {
	for _, s := range []string{`{"method":"a","id":"x","fd":2, "y" : [1]}`, `{"meth\u006fd":"\u0061","Code":{"a":{}},"b":1}`, `{"a":1,"\u0061":2}`, `{"id":[],"AUTH":0,"fd":""}`} {
		f.Add([]byte(s))
	}
	f.Add(manyKeys(40))
	f.Fuzz(func(t *testing.T, data []byte) {
		if !utf8.Valid(data) || !json.Valid(data) || bytes.TrimLeft(data, " \t\r\n")[0] != '{' {
			return
		}
		want, unique := topLevel(data)
		method, isText := want["method"].(string)
		present := want["method"] != nil
		r, err := Decode(data, Options{MaxDepth: 20_000})
		switch {
		case errors.Is(err, ErrMethod):
			// The number may come before the duplicate.
			if unique && (!present || isText) {
				t.Fatalf("%q: %v", data, err)
			}
			return
		case errors.As(err, new(*NumberError)):
			return
		case errors.Is(err, ErrDuplicateKey) != !unique, err != nil && unique && (!present || isText):
			t.Fatalf("%q: %v", data, err)
		case err != nil:
			return
		}
		if string(r.Method) != method || (r.Method != nil) != present {
			t.Fatalf("%q: method %q, want %q", data, r.Method, method)
		}
		switch id := want["id"].(type) {
		case string, json.Number:
			var got any
			d := json.NewDecoder(bytes.NewReader(r.ID))
			d.UseNumber()
			if d.Decode(&got) != nil || got != id {
				t.Fatalf("%q: id %q, want %v", data, r.ID, id)
			}
		default:
			if r.ID != nil {
				t.Fatalf("%q: id %q, want none", data, r.ID)
			}
		}
		n := len(want)
		for k := range want {
			if low := strings.ToLower(k); low == "fd" || low == "auth" || low == "code" {
				delete(want, k)
			}
		}
		if got, _ := topLevel(r.Body); !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: body %q", data, r.Body)
		}
		if n == len(want) && ijson.Check(data) == nil && string(r.Body) != string(bytes.Trim(data, " \t\r\n")) {
			t.Fatalf("%q: body %q is changed", data, r.Body)
		}
	})
}

func TestDecodeManyKeys(t *testing.T) {
	for _, n := range []int{15, 16, 17, 18, 300} {
		data := manyKeys(n)
		if r, err := Decode(data, Options{}); err != nil || len(r.Body) != len(data) {
			t.Errorf("%d keys: %v", n, err)
		}
		for _, again := range []int{0, n / 2, n - 1} {
			doubled := fmt.Appendf(append([]byte(nil), data[:len(data)-1]...), `,"a%d":1}`, again)
			if _, err := Decode(doubled, Options{}); !errors.Is(err, ErrDuplicateKey) {
				t.Errorf("%d keys, number %d twice: %v", n, again, err)
			}
		}
	}
}

// Usual frames cost no allocation, and their body is the data itself.
func TestDecodeAllocatesNothing(t *testing.T) {
	data := []byte(`{"method":"live.user.say","id":7,"say":"<b>\"x\"</b>","a":[1,{"b":null}]}`)
	if n := testing.AllocsPerRun(100, func() {
		if r, err := Decode(data, Options{}); err != nil || &r.Body[0] != &data[0] {
			t.Fatal("body is a copy", err)
		}
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func escapeValue(v any) any {
	switch v := v.(type) {
	case string:
		return HTML.Replace(v)
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
		{Reply{Param: json.RawMessage(`{"a": "<b>"}`)}, "", `{"status":0,"event":"","info":"","param":{"a":"<b>"}}`},
		{Reply{Param: json.RawMessage(nil)}, "", `{"status":0,"event":"","info":""}`},
		{Reply{Param: map[string]int{}}, "", `{"status":0,"event":"","info":""}`},
		{Reply{Param: int64(-7)}, "", `{"status":0,"event":"","info":"","param":-7}`},
		{Reply{Param: struct{}{}}, "", `{"status":0,"event":"","info":"","param":{}}`},
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
	for _, bad := range []any{func() {}, []any{1, make(chan int)}, json.RawMessage("{"), math.NaN()} {
		if got, err := AppendReply([]byte("before"), &Reply{Param: bad}, nil); err == nil {
			t.Errorf("%T was encoded: %s", bad, got)
		}
		// A failure does not affect the next encoding.
		if got, err := AppendReply(nil, &Reply{Param: []int{1}}, nil); err != nil || string(got) != `{"status":0,"event":"","info":"","param":[1]}` {
			t.Errorf("after %T: %s %v", bad, got, err)
		}
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

func BenchmarkDecodeChat1K(b *testing.B) {
	data := []byte(`{"method":"live.user.say","id":"17","say":"` + strings.Repeat("hello 你好 ", 70) + `"}`)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(data, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeNested(b *testing.B) {
	data := []byte(`{"method":"chat.room.say","id":7,"param":{"room":"tech","text":"hello 你好","user":{"id":7,"name":"小明","avatar":"https://img.example.com/u/7.png","vip":true},"tags":["a","b"],"at":[1.5,2.25]}}`)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(data, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

// manyKeys returns the worst case of the search for duplicates: as many escaped keys as fit into 64
// KiB.
func manyKeys(n int) []byte {
	b := []byte{'{'}
	for i := range n {
		b = fmt.Appendf(b, `"\u0061%d":1,`, i)
	}
	return append(b[:len(b)-1], '}')
}

func BenchmarkDecodeKeys(b *testing.B) {
	for _, n := range []int{16, 250, 4500} {
		data := manyKeys(n)
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Decode(data, Options{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendReplyStruct(b *testing.B) {
	type row struct {
		ID       int64  `json:"id"`
		Nickname string `json:"nickname"`
		Say      string `json:"say"`
	}
	r := &Reply{Status: 200, Event: "userSayNeedCheck", Info: "收到用户广播内容", Param: &row{7, "小明", "hello <b>"}}
	buf := make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		buf, _ = AppendReply(buf[:0], r, []byte("7"))
	}
}
