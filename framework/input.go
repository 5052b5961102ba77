package framework

import (
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/go-playground/validator/v10"

	"wsframe/framework/internal/flatjson"
)

// input decodes and validates what an action takes.
type input struct {
	typ      reflect.Type
	validate bool
	trusted  bool // fd, auth or code is among its fields: the trusted values are given under these names
	flat     *flatjson.Decoder
}

var loose = []reflect.Type{reflect.TypeFor[Int](), reflect.TypeFor[Str](), reflect.TypeFor[Bool]()}

func newInput(t reflect.Type) *input {
	return &input{typ: t, validate: hasRules(t, map[reflect.Type]bool{}), trusted: takesTrusted(t), flat: flatjson.New(t, loose...)}
}

// hasRules reports whether a struct, or one below it, has a validate tag.
func hasRules(t reflect.Type, seen map[reflect.Type]bool) bool {
	if t = pointee(t); t.Kind() != reflect.Struct || seen[t] {
		return false
	}
	seen[t] = true
	for i := range t.NumField() {
		f := t.Field(i)
		if _, ok := f.Tag.Lookup("validate"); ok || hasRules(f.Type, seen) {
			return true
		}
	}
	return false
}

// takesTrusted reports whether a struct, or one that is embedded in it, has a field fd, auth or
// code. A type with an UnmarshalJSON of its own may use any of them.
func takesTrusted(t reflect.Type) bool {
	if reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		return true
	}
	return slices.ContainsFunc(reflect.VisibleFields(t), func(f reflect.StructField) bool {
		return !promoted(f) && slices.Contains([]string{"fd", "auth", "code"}, strings.ToLower(wireName(f)))
	})
}

// promoted reports whether a field is an embedded struct whose fields are the outer one's in JSON.
func promoted(f reflect.StructField) bool {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return f.Anonymous && name == "" && pointee(f.Type).Kind() == reflect.Struct
}

// wireName is a field's name in JSON.
func wireName(f reflect.StructField) string {
	if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
		return name
	}
	return f.Name
}

// pointee follows pointer types to the type that they point to.
func pointee(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

// hidden replaces the name of an embedded struct, which the client does not know, in a validator's
// path.
const hidden = "\x00"

var validate = newValidate()

func newValidate() *validator.Validate {
	v := validator.New(validator.WithRequiredStructEnabled())
	v.RegisterTagNameFunc(func(f reflect.StructField) string {
		if promoted(f) {
			return hidden
		}
		return wireName(f)
	})
	return v
}

// FieldError is one entry of the param of a 400 paramError. Field is the path of names in JSON:
// rooms[3].room.
type FieldError struct {
	Field string `json:"field"`
	Rule  string `json:"rule"`
}

// decode makes and fills a pointer to the struct.
func (in *input) decode(c *Ctx) (v reflect.Value, err error) {
	if v, err = in.read(c, c.body); err != nil {
		return v, err
	}
	if in.validate {
		wrote := v
		if c.wrote != nil { // rules are for what the client wrote, before it was escaped
			if wrote, err = in.read(c, c.wrote); err != nil {
				return v, err
			}
		}
		err = in.check(wrote)
	}
	return v, err
}

// check applies the rules of the validate tags.
func (in *input) check(v reflect.Value) error {
	err := validate.Struct(v.Interface())
	if err == nil {
		return nil
	}
	var invalid validator.ValidationErrors
	if !errors.As(err, &invalid) {
		return errParam.Because(err)
	}
	list := make([]FieldError, len(invalid))
	for i, f := range invalid {
		path := strings.TrimPrefix(f.Namespace(), in.typ.Name()+".")
		list[i] = FieldError{strings.ReplaceAll(path, hidden+".", ""), strings.TrimSuffix(f.Tag()+"="+f.Param(), "=")}
	}
	return errParam.With(list)
}

func (in *input) read(c *Ctx, body []byte) (reflect.Value, error) {
	v := reflect.New(in.typ)
	if in.trusted {
		body = trusted(body, c.FD, c.Auth)
	}
	if in.flat != nil {
		if in.flat.Decode(body, v.Elem()) {
			return v, nil
		}
		v = reflect.New(in.typ)
	}
	err := json.Unmarshal(body, v.Interface())
	if err == nil {
		return v, nil
	}
	wrong := FieldError{in.culprit(body), "type"}
	if typeErr := (*json.UnmarshalTypeError)(nil); errors.As(err, &typeErr) {
		wrong = FieldError{in.path(typeErr.Field), "type " + typeName(typeErr.Type)}
	}
	return v, errParam.With([]FieldError{wrong}).Because(err)
}

// path removes embedded structs from a decoder's path. They appear there by their Go names.
func (in *input) path(field string) string {
	names := strings.Split(field, ".")
	var path []string
	t := in.typ
	for i, name := range names {
		f, ok := fieldOf(t, name, i == len(names)-1)
		if !ok { // below what decodes itself
			return strings.Join(append(path, names[i:]...), ".")
		}
		if !promoted(f) {
			path = append(path, name)
		}
		t = f.Type
	}
	return strings.Join(path, ".")
}

// fieldOf finds a field of a struct, or of a list of structs, by its name in JSON. An embedded
// struct is found by its Go name.
func fieldOf(t reflect.Type, name string, last bool) (reflect.StructField, bool) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Array || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return reflect.StructField{}, false
	}
	list := reflect.VisibleFields(t)
	i := slices.IndexFunc(list, func(f reflect.StructField) bool {
		if promoted(f) {
			return !last && f.Name == name
		}
		return wireName(f) == name
	})
	if i < 0 {
		return reflect.StructField{}, false
	}
	return list[i], true
}

// culprit is the top-level key that cannot be decoded, for errors without a field: those of types
// with an UnmarshalJSON of their own.
func (in *input) culprit(body []byte) string {
	var fields map[string]json.RawMessage
	if json.Unmarshal(body, &fields) != nil {
		return ""
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		one, err := json.Marshal(map[string]json.RawMessage{name: fields[name]})
		if err == nil && json.Unmarshal(one, reflect.New(in.typ).Interface()) != nil {
			return name
		}
	}
	return ""
}

// typeName is the name of a type for readers who do not know Go.
func typeName(t reflect.Type) string {
	switch t = pointee(t); t.Kind() {
	case reflect.Struct, reflect.Map:
		return "object"
	case reflect.Slice, reflect.Array:
		return "list"
	}
	return t.Kind().String()
}
