package push

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"sync"
)

type object = map[string]any

// openAPI returns the document.
var openAPI = sync.OnceValue(func() []byte {
	schemas := object{"Error": object{
		"type": "object", "required": []string{"code", "message"},
		"properties": object{"code": object{"type": "string", "enum": codes()}, "message": object{"type": "string"}},
	}}
	paths := object{}
	describe := func(name, scope, about string, in, out reflect.Type) {
		result := object{"type": "object"}
		if out != nil {
			result = schemaOf(out, schemas)
		}
		paths["/api/v1/"+name] = object{"post": object{
			"operationId": name, "summary": about, "description": "Scope: " + scope,
			"parameters": []any{object{
				"name": "Idempotency-Key", "in": "header", "schema": object{"type": "string", "maxLength": 128},
				"description": "The same key: the same request, which is done once in ten minutes. Methods that only read ignore it.",
			}},
			"requestBody": object{"required": true, "content": content(schemaOf(in, schemas))},
			"responses": object{
				"200":     object{"description": "done", "content": content(object{"type": "object", "required": []string{"result"}, "properties": object{"result": result}})},
				"default": object{"description": "not done, or not wholly", "content": content(object{"type": "object", "required": []string{"error"}, "properties": object{"error": ref("Error"), "result": result}})},
			},
		}}
	}
	for _, m := range methods {
		describe(m.name, m.scope, m.about, m.in, m.out)
	}
	describe("batch", "that of each call", "Does several calls, one after the other; one that fails does not stop the others.", reflect.TypeFor[batchIn](), reflect.TypeFor[batchOut]())
	b, err := json.MarshalIndent(object{
		"openapi": "3.1.0",
		"info":    object{"title": "wsframe push API", "version": "1", "license": object{"name": "Apache-2.0", "identifier": "Apache-2.0"}},
		"paths":   paths, "security": []any{object{"bearer": []string{}}, object{}},
		"components": object{"schemas": schemas, "securitySchemes": object{"bearer": object{"type": "http", "scheme": "bearer"}}},
	}, "", " ")
	if err != nil {
		panic(err) // has texts and numbers only
	}
	return append(b, '\n')
})

func codes() []string {
	list := make([]string, 0, len(statuses))
	for c := range statuses {
		list = append(list, string(c))
	}
	slices.Sort(list)
	return list
}

func content(schema any) object { return object{"application/json": object{"schema": schema}} }

func ref(name string) object { return object{"$ref": "#/components/schemas/" + name} }

// schemaOf returns the schema of a type (JSON Schema 2020-12). An exported struct is added to
// schemas by its name, and referred to.
func schemaOf(t reflect.Type, schemas object) object {
	switch {
	case t == reflect.TypeFor[json.RawMessage]() || t.Kind() == reflect.Interface:
		return object{}
	case t.Kind() == reflect.Pointer:
		return schemaOf(t.Elem(), schemas)
	}
	switch t.Kind() {
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int, reflect.Int64:
		return object{"type": "integer"}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Slice:
		return object{"type": "array", "items": schemaOf(t.Elem(), schemas)}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": schemaOf(t.Elem(), schemas)}
	}
	name := t.Name()
	named := name != "" && strings.ToUpper(name[:1]) == name[:1]
	if named && schemas[name] != nil {
		return ref(name)
	}
	properties, required := object{}, []string{}
	for _, f := range fieldsOf(t) {
		p := schemaOf(f.typ, schemas)
		if k, ok := kinds[f.kind]; ok {
			k.describe(p)
		}
		if f.doc != "" {
			p["description"] = f.doc
		}
		properties[f.name] = p
		if f.required {
			required = append(required, f.name)
		}
	}
	schema := object{"type": "object", "properties": properties, "required": required}
	if !named {
		schema["additionalProperties"] = false
		return schema
	}
	schemas[name] = schema
	return ref(name)
}

// describe adds the limits of a kind to a schema.
func (k *kind) describe(schema object) {
	switch schema["type"] {
	case "integer":
		schema["minimum"], schema["maximum"] = k.min, k.max
	case "string":
		if k.words != nil {
			schema["enum"] = k.words
			return
		}
		schema["maxLength"] = k.max
		if k.pattern != nil {
			schema["pattern"] = k.pattern.String()
		}
	case "array":
		schema["minItems"], schema["maxItems"] = k.min, k.max
		if item, ok := kinds[k.of]; ok {
			item.describe(schema["items"].(object))
		}
	case "object":
		schema["maxProperties"] = k.max
	}
}
