package flatjson_test

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"wsframe/framework/internal/flatjson"
)

type name string

// Types with a decoding of their own, of one member and of another kind of texts.
type (
	own  string
	word string
)

func (o *own) UnmarshalJSON(b []byte) error  { *o = own("<" + string(b) + ">"); return nil }
func (w *word) UnmarshalText(b []byte) error { *w = word("<" + string(b) + ">"); return nil }

type in struct {
	Room    string `json:"room"`
	Say     name   `json:"say,omitempty"`
	Plain   bool
	Count   int    `json:"count"`
	Small   int8   `json:"small"`
	Big     int64  `json:"big"`
	Byte    uint8  `json:"byte"`
	Huge    uint64 `json:"huge"`
	Quoted  int    `json:"quoted,string"`
	Hidden  string `json:"-"`
	private string
	Own     own         `json:"own"`
	Word    word        `json:"word"`
	Number  json.Number `json:"number"`
	Share   float64     `json:"share"`
	List    []string    `json:"list"`
	Link    *string     `json:"link"`
	Inner   struct{ A int }
	Any     any       `json:"any"`
	Time    time.Time `json:"time"`
	K       string    `json:"k"`
}

var objects = []string{
	`{}`, ` { } `, `{"room":"lobby","say":"hello"}`, "{ \"room\" :\t\"a\" ,\n\"count\" : 7 }", `{"room":"é世"}`, `{"room":"\u0041"}`, `{"room":null}`, `{"room":7}`, `{"room":""}`,
	`{"ROOM":"a"}`, `{"room":"a","Room":"b"}`, `{"room":"a","room":"b"}`, `{"K":"a"}`, `{"k":"a"}`, "{\"\u212a\":\"kelvin\"}", `{"r\u006fom":"a"}`, `{"say":"x","plain":true,"Plain":false}`,
	`{"count":-7}`, `{"count":-0}`, `{"count":1.0}`, `{"count":1e2}`, `{"count":"7"}`, `{"count":true}`, `{"count":9223372036854775807}`, `{"count":9223372036854775808}`, `{"count":[1]}`,
	`{"small":127}`, `{"small":128}`, `{"small":-128}`, `{"small":-129}`, `{"byte":255}`, `{"byte":256}`, `{"byte":-1}`, `{"byte":-0}`, `{"huge":18446744073709551615}`, `{"huge":123456789012345678}`,
	`{"Plain":true}`, `{"Plain":false}`, `{"Plain":1}`, `{"Plain":"true"}`, `{"Plain":null}`, `{"quoted":"7"}`, `{"quoted":7}`, `{"Hidden":"x","-":"y","private":"z"}`, `{"own":"x"}`, `{"word":"x"}`,
	`{"number":7}`, `{"number":"7"}`, `{"number":"x"}`, `{"share":0.5}`, `{"share":7}`, `{"list":["a"]}`, `{"link":"a"}`, `{"Inner":{"A":1}}`, `{"any":{"a":[1]}}`, `{"time":"2026-01-02T03:04:05Z"}`,
	`{"x":"}","y":{"a":[1,{"b":"]}\""}],"c":null},"z":[[],[{}]],"room":"end"}`, `{"x":"\\","room":"a"}`, `{"x":true,"room":"a"}`, `{"x":-1.5e3 ,"room":"a"}`, `{"x":{},"count":3}`, `{"x":[ ],"count":3}`,
	`{"room":"a<b>&\/"}`, `{"count":00}`, `{"unknown":1`, `{"room"`, `{"room":"a"`, `{"room":`, `{`, "{\"x\":[@@\x00l", ``, `[]`, `null`, `"x"`, `7`,
}

// compare checks that an object which Decode accepts is decoded as by encoding/json.
func compare(t *testing.T, d *flatjson.Decoder, object []byte) (decoded bool) {
	got := reflect.New(d.Type())
	decoded = d.Decode(object, got.Elem())
	if !decoded || !json.Valid(object) {
		return decoded
	}
	want := reflect.New(d.Type())
	if err := json.Unmarshal(object, want.Interface()); err != nil {
		t.Errorf("%q is accepted, encoding/json says %v", object, err)
	} else if !reflect.DeepEqual(got.Interface(), want.Interface()) {
		t.Errorf("%q: got %+v, want %+v", object, got.Elem(), want.Elem())
	}
	return decoded
}

func decoders(t testing.TB) []*flatjson.Decoder {
	list := []*flatjson.Decoder{flatjson.New(reflect.TypeFor[in]()), flatjson.New(reflect.TypeFor[looseIn](), looseTypes...)}
	for _, d := range list {
		if d == nil {
			t.Fatal("no decoder")
		}
	}
	return list
}

func TestLikeEncodingJSON(t *testing.T) {
	for _, d := range decoders(t) {
		for _, o := range objects {
			compare(t, d, []byte(o))
		}
	}
}

func FuzzLikeEncodingJSON(f *testing.F) {
	list := decoders(f)
	for _, o := range objects {
		f.Add([]byte(o))
	}
	f.Fuzz(func(t *testing.T, object []byte) {
		for _, d := range list {
			compare(t, d, object)
		}
	})
}

// Plain members are decoded here, with as many allocations as there are texts.
func TestPlainMembers(t *testing.T) {
	d := decoders(t)[0]
	for _, o := range []string{`{}`, `{"room":"lobby","say":"hello"}`, `{"method":"a.b.c","count":-7,"Plain":true,"byte":255}`, `{"x":{"a":["\n"]},"room":"世"}`} {
		if !compare(t, d, []byte(o)) {
			t.Errorf("%s is left to encoding/json", o)
		}
	}
	object, into := []byte(`{"method":"a.b.c","room":"lobby","say":"hello","count":1234567,"Plain":true}`), reflect.New(d.Type()).Elem()
	if n := testing.AllocsPerRun(100, func() { d.Decode(object, into) }); n > 2 {
		t.Errorf("%v allocations", n)
	}
}

// Types that accept more than encoding/json does, as those of the framework.
type (
	looseInt  int64
	looseText string
	looseBool bool
)

func bare(b []byte) string { return strings.Trim(string(b), `"`) }

func (i *looseInt) UnmarshalJSON(b []byte) error {
	n, err := strconv.ParseInt(bare(b), 10, 64)
	*i = looseInt(n)
	return err
}

func (t *looseText) UnmarshalJSON(b []byte) error {
	if b[0] == '"' {
		return json.Unmarshal(b, (*string)(t))
	}
	*t = looseText(b)
	return nil
}

func (f *looseBool) UnmarshalJSON(b []byte) error {
	*f = looseBool(bare(b) == "true" || bare(b) == "1")
	return nil
}

var looseTypes = []reflect.Type{reflect.TypeFor[looseInt](), reflect.TypeFor[looseText](), reflect.TypeFor[looseBool]()}

// looseIn has the names of in.
type looseIn struct {
	Room  looseText `json:"room"`
	Count looseInt  `json:"count"`
	Plain looseBool
}

func TestNoDecoder(t *testing.T) {
	type embedded struct{ in }
	type doubled struct {
		A string `json:"b"`
		B string `json:"B"`
	}
	type named struct {
		A string `json:"a.b"`
	}
	for _, typ := range []reflect.Type{reflect.TypeFor[embedded](), reflect.TypeFor[doubled](), reflect.TypeFor[named](), reflect.TypeFor[time.Time](), reflect.TypeFor[string]()} {
		if flatjson.New(typ) != nil {
			t.Errorf("%v has a decoder", typ)
		}
	}
}
