package push

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
)

// The document and the handlers come from one table; this test compares what each makes of it.
func TestDocument(t *testing.T) {
	h := serve(t, Config{})
	status, text, _ := h.do("GET", "/openapi.json", "")
	var doc struct {
		OpenAPI string `json:"openapi"`
		Paths   map[string]map[string]struct {
			RequestBody struct {
				Content map[string]struct{ Schema schema } `json:"content"`
			} `json:"requestBody"`
			Responses map[string]json.RawMessage `json:"responses"`
		} `json:"paths"`
		Components struct{ Schemas map[string]json.RawMessage } `json:"components"`
	}
	if err := json.Unmarshal([]byte(text), &doc); err != nil || status != 200 || doc.OpenAPI != "3.1.0" {
		t.Fatal(status, doc.OpenAPI, err)
	}
	names := []string{"/api/v1/batch"}
	for _, m := range methods {
		names = append(names, "/api/v1/"+m.name)
	}
	slices.Sort(names)
	if got := slices.Sorted(maps.Keys(doc.Paths)); !slices.Equal(got, names) {
		t.Errorf("paths: %s", got)
	}
	for rest := text; ; { // every reference leads somewhere
		_, after, ok := strings.Cut(rest, `"#/components/schemas/`)
		if !ok {
			break
		}
		name, _, _ := strings.Cut(after, `"`)
		if doc.Components.Schemas[name] == nil {
			t.Errorf("there is no schema %s", name)
		}
		rest = after
	}
	for _, m := range methods {
		s := doc.Paths["/api/v1/"+m.name]["post"].RequestBody.Content["application/json"].Schema
		if s.AdditionalProperties == nil || *s.AdditionalProperties || len(s.Properties) != len(m.fields) {
			t.Errorf("%s: %+v", m.name, s)
		}
		whole := object{}
		for name, p := range s.Properties {
			whole[name] = p.example(name)
		}
		if m.name == "sendToAll" || whole["class"] != nil {
			whole["class"], whole["key"] = Latest, "k"
		}
		bare := object{}
		for _, name := range s.Required {
			bare[name] = whole[name]
		}
		try := func(body object, want int, what string) {
			t.Helper()
			b, _ := json.Marshal(body)
			if status, text := h.post(m.name, string(b)); status != want {
				t.Errorf("%s, %s: %s: %d %s", m.name, what, b, status, text)
			}
		}
		try(whole, 200, "all fields")
		try(bare, 200, "required fields")
		changed := func(name string, v any) object { c := maps.Clone(whole); c[name] = v; return c }
		try(changed("another", 1), 400, "an unknown field")
		for name, p := range s.Properties {
			if slices.Contains(s.Required, name) {
				c := maps.Clone(whole)
				delete(c, name)
				try(c, 400, "without "+name)
			}
			if p.Type != "" {
				try(changed(name, map[bool]any{true: 1.5, false: []any{[]any{}}}[p.Type == "array"]), 400, name+" of another type")
			}
			if p.Minimum != nil {
				try(changed(name, *p.Minimum-1), 400, name+" too small")
				try(changed(name, *p.Maximum+1), 400, name+" too large")
			}
			if p.MaxLength > 0 {
				try(changed(name, strings.Repeat("x", p.MaxLength+1)), 400, name+" too long")
			}
			if p.Enum != nil {
				try(changed(name, "other"), 400, name+" is no such word")
			}
			if p.MaxItems > 0 {
				try(changed(name, slices.Repeat([]int{1}, p.MaxItems+1)), 400, name+" too long")
			}
		}
	}
}

type schema struct {
	Type                 string            `json:"type"`
	Properties           map[string]schema `json:"properties"`
	Required             []string          `json:"required"`
	Minimum, Maximum     *int64
	MaxLength, MaxItems  int
	Items                *schema
	Enum                 []string
	AdditionalProperties *flag
}

// flag is a bool that a schema object makes true.
type flag bool

func (f *flag) UnmarshalJSON(b []byte) error { *f = string(b) != "false"; return nil }

func (s schema) example(name string) any {
	switch {
	case name == "code":
		return 4000
	case s.Type == "integer":
		return max(1, *s.Minimum)
	case s.Type == "boolean":
		return true
	case s.Enum != nil:
		return s.Enum[0]
	case s.Type == "string":
		return "x"
	case s.Type == "array" && s.Items.Type == "string":
		return []string{"x"}
	case s.Type == "array":
		return []int{1}
	}
	return object{"a": 1}
}
