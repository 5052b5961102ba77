package contract

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

type base struct {
	ID    int64  `json:"id"`
	Title string `json:"title,omitempty"`
}

type tree struct {
	base
	Children []*tree          `json:"children"`
	Parent   *tree            `json:"parent"`
	At       time.Time        `json:"at"`
	Data     []byte           `json:"data,omitempty"`
	Extra    json.RawMessage  `json:"extra"`
	Counts   map[string]int   `json:"counts" validate:"required"`
	Level    string           `json:"level" validate:"required,oneof=low high"`
	Big      int64            `json:"big,string"`
	Pair     [2]float64       `json:"pair"`
	Hidden   string           `json:"-"`
	Inner    struct{ X bool } `json:"inner"`
	Any      any              `json:"any"`
	Odd      int              `json:"odd-name"`
	private  int
}

type say struct {
	Text string   `json:"text" validate:"required,max=500"`
	Tags []string `json:"tags" validate:"max=3,dive,oneof=a b"`
	Rank int      `json:"rank" validate:"omitempty,oneof=1 2"`
	On   *bool    `json:"on"`
}

type page[T any] struct {
	List []T `json:"list"`
}

func source() Source {
	return Source{
		Actions: []ActionSource{
			{Method: "chat.room.say", Event: "roomSaySuccess", In: reflect.TypeFor[say](), Out: reflect.TypeFor[*base](), Typed: true},
			{Method: "chat.room.list", Event: "roomListSuccess", Out: reflect.TypeFor[page[tree]](), Typed: true},
			{Method: "chat.room.out", Event: "roomOutSuccess", In: reflect.TypeFor[base](), Typed: true},
			{Method: "index.index.index"},
		},
		Events:    []EventSource{{"said", reflect.TypeFor[tree]()}, {"gone", nil}},
		Questions: []QuestionSource{{"sure", reflect.TypeFor[base](), reflect.TypeFor[say]()}},
		Errors:    []Failure{{403, "notInRoom", "未加入该房间"}, {404, "notInRoom", ""}},
	}
}

const declaration = `// Written by ` + "`console -s types`" + `. Do not edit.

export interface Contract {
  /** Requests by method: what they take, the param of the reply, and its event. */
  methods: {
    "chat.room.list": { params: Record<string, never>; result: PageTree; event: "roomListSuccess" };
    "chat.room.out": { params: BaseIn; result: undefined; event: "roomOutSuccess" };
    "chat.room.say": { params: Say; result: Base; event: "roomSaySuccess" };
    "index.index.index": { params: Record<string, never>; result: unknown; event: string };
  };
  /** Pushes by event, with their param. */
  events: {
    "gone": undefined;
    "said": Tree;
  };
  /** Questions of the server by event: their param, and the answer that it waits for. */
  questions: {
    "sure": { param: Base; answer: Say };
  };
  /** Replies that report a failure, by event. */
  errors: {
    "notInRoom": { status: 403 | 404 }; // 未加入该房间
  };
}

export interface Base {
  id: number;
  title?: string;
}

export interface BaseIn {
  id?: number;
  title?: string;
}

export interface PageTree {
  list: Tree[] | null;
}

export interface Say {
  text: string; // max=500
  tags?: ("a" | "b")[]; // max=3
  rank?: 1 | 2;
  on?: boolean;
}

export interface Tree {
  id: number;
  title?: string;
  children: (Tree | null)[] | null;
  parent: Tree | null;
  at: string; // RFC 3339
  data?: string; // base64
  extra: unknown;
  counts: { [name: string]: number };
  level: "low" | "high";
  big: string;
  pair: number[];
  inner: {
    X: boolean;
  };
  any: unknown;
  "odd-name": number;
}
`

func TestTypeScript(t *testing.T) {
	if got := Describe(source()).TypeScript(); got != declaration {
		t.Errorf("got\n%s", got)
	}
	_ = tree{private: 1}
}

// What encoding/json writes has the fields of the description, and no others.
func TestFieldsAreThoseOfEncodingJSON(t *testing.T) {
	type low struct{ A, B, C int }
	type other struct {
		B int
		C int `json:"C"`
	}
	type high struct {
		low
		*other
		A string
		D int `json:",omitempty"`
		E int `json:"e,omitzero"`
	}
	c := Describe(Source{Events: []EventSource{{"x", reflect.TypeFor[high]()}}})
	b, err := json.Marshal(high{other: &other{}, D: 1, E: 1})
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]json.RawMessage
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	fields := c.Types["High"].Fields
	for _, f := range fields {
		if _, ok := got[f.Name]; !ok {
			t.Errorf("%s is not in %s", f.Name, b)
		}
	}
	if len(fields) != len(got) {
		t.Errorf("%v describe %s", fields, b)
	}
}

func TestDescriptionTravels(t *testing.T) {
	c := Describe(source())
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var got *Contract
	if err := json.Unmarshal(b, &got); err != nil || got.TypeScript() != declaration {
		t.Error(err, got.TypeScript())
	}
	if list := Breaks(c, got); len(list) > 0 {
		t.Error(list)
	}
}

func TestBreaks(t *testing.T) {
	type v1 struct {
		ID    int    `json:"id"`
		Name  string `json:"name"`
		Level string `json:"level" validate:"oneof=a b"`
		Sub   *v1    `json:"sub"`
	}
	type v2 struct {
		ID    string  `json:"id"`
		Title string  `json:"title" validate:"required"`
		Level string  `json:"level" validate:"oneof=a c"`
		Sub   *v2     `json:"sub"`
		More  float64 `json:"more"`
	}
	before := Describe(Source{
		Actions:   []ActionSource{{Method: "a.b.c", Event: "e", In: reflect.TypeFor[v1](), Typed: true}, {Method: "a.b.gone"}},
		Events:    []EventSource{{"said", reflect.TypeFor[v1]()}, {"old", nil}},
		Questions: []QuestionSource{{"sure", nil, reflect.TypeFor[v1]()}},
	})
	after := Describe(Source{
		Actions:   []ActionSource{{Method: "a.b.c", Event: "f", In: reflect.TypeFor[v2](), Typed: true}},
		Events:    []EventSource{{"said", reflect.TypeFor[v2]()}, {"new", nil}},
		Questions: []QuestionSource{{"sure", nil, reflect.TypeFor[v2]()}},
	})
	got := Breaks(before, after)
	for _, want := range []string{
		`a.b.c: replies with the event "f", no longer "e"`,
		"a.b.c.id: is a string now, before a number (int)",
		"a.b.c.name: is ignored now",
		"a.b.c.title: is required now",
		`a.b.c.level: may only be "a", "c" now`,
		"event old: is gone",
		"event said.name: is gone",
		"event said.id: is a string now, before a number (int)",
		`event said.level: may be "a", "c" now, before "a", "b"`,
		"answer to sure.title: is required now",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("%s is missing in\n%s", want, strings.Join(got, "\n"))
		}
	}
	if list := Breaks(before, before); len(list) > 0 {
		t.Error(list)
	}
	if list := Breaks(nil, before); list != nil {
		t.Error(list)
	}
}

func TestRegistry(t *testing.T) {
	var r Registry
	r.Event("a", reflect.TypeFor[int]())
	r.Event("a", reflect.TypeFor[int]())
	if _, wrong := r.Source(); wrong != nil {
		t.Error(wrong)
	}
	r.Event("a", reflect.TypeFor[string]())
	r.Question("q", nil, reflect.TypeFor[string]())
	r.Question("q", nil, nil)
	for range maxFailures + 10 {
		r.Failure(Failure{Status: len(r.failures)})
	}
	s, wrong := r.Source()
	if len(wrong) != 2 || len(s.Events) != 1 || len(s.Questions) != 1 || len(s.Errors) != maxFailures {
		t.Error(wrong, len(s.Errors))
	}
}
