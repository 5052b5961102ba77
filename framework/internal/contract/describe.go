package contract

import (
	"cmp"
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Describe makes the description of a program.
func Describe(s Source) *Contract {
	d := &describer{known: s.Known, names: map[key]string{}, taken: map[string]bool{}, types: map[string]Type{}}
	c := &Contract{Actions: []Action{}, Events: []Event{}, Errors: []Failure{}, Types: d.types}
	// Types that the server sends are named first: of one that goes both ways, the form that
	// clients send may differ, and then has a longer name.
	slices.SortFunc(s.Actions, func(a, b ActionSource) int { return cmp.Compare(a.Method, b.Method) })
	slices.SortFunc(s.Events, func(a, b EventSource) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(s.Questions, func(a, b QuestionSource) int { return cmp.Compare(a.Name, b.Name) })
	for _, e := range s.Events {
		c.Events = append(c.Events, Event{e.Name, d.whole(e.Param, sent)})
	}
	for _, q := range s.Questions {
		c.Questions = append(c.Questions, Question{Name: q.Name, Param: d.whole(q.Param, sent)})
	}
	for _, a := range s.Actions {
		out := Type{Kind: KindUnknown}
		if a.Typed {
			out = d.whole(a.Out, sent)
		}
		c.Actions = append(c.Actions, Action{Method: a.Method, Event: a.Event, Out: out})
	}
	for i, q := range s.Questions {
		c.Questions[i].Answer = d.whole(q.Answer, received)
	}
	for i, a := range s.Actions {
		c.Actions[i].In = d.whole(a.In, received)
	}
	c.Errors = append(c.Errors, s.Errors...)
	slices.SortFunc(c.Errors, func(a, b Failure) int {
		return cmp.Or(cmp.Compare(a.Event, b.Event), cmp.Compare(a.Status, b.Status), cmp.Compare(a.Info, b.Info))
	})
	c.Errors = slices.CompactFunc(c.Errors, func(a, b Failure) bool { return a.Event == b.Event && a.Status == b.Status })
	return c
}

// direction says who writes a value: fields of what clients write may be absent unless a rule
// requires them, and what the server writes has them all but those with omitempty.
type direction bool

const (
	sent     direction = false // by the server
	received direction = true  // by the server, from clients
)

type key struct {
	typ reflect.Type
	dir direction
}

type describer struct {
	known map[reflect.Type]Type
	names map[key]string
	taken map[string]bool
	types map[string]Type
}

// whole describes a param or an In. A pointer to it is never null.
func (d *describer) whole(t reflect.Type, dir direction) Type {
	if t == nil {
		return Type{Kind: KindNone}
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	v := d.describe(t, dir)
	v.Null = false
	return v
}

var (
	timeType      = reflect.TypeFor[time.Time]()
	rawType       = reflect.TypeFor[json.RawMessage]()
	numberType    = reflect.TypeFor[json.Number]()
	marshaler     = reflect.TypeFor[json.Marshaler]()
	unmarshaler   = reflect.TypeFor[json.Unmarshaler]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
)

// describe describes a type as encoding/json treats it.
func (d *describer) describe(t reflect.Type, dir direction) Type {
	if known, ok := d.known[t]; ok {
		return known
	}
	switch t {
	case timeType:
		return Type{Kind: KindString, Format: "date-time"}
	case rawType:
		return Type{Kind: KindUnknown}
	case numberType:
		return Type{Kind: KindNumber}
	}
	if t.Kind() == reflect.Pointer {
		v := d.describe(t.Elem(), dir)
		v.Null = v.Kind != KindUnknown
		return v
	}
	pointer := reflect.PointerTo(t)
	switch {
	case dir == sent && pointer.Implements(marshaler), dir == received && pointer.Implements(unmarshaler):
		return Type{Kind: KindUnknown}
	case pointer.Implements(textMarshaler):
		return Type{Kind: KindString}
	}
	switch t.Kind() {
	case reflect.Bool:
		return Type{Kind: KindBool}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return Type{Kind: KindNumber, Format: "int"}
	case reflect.Float32, reflect.Float64:
		return Type{Kind: KindNumber}
	case reflect.String:
		return Type{Kind: KindString}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 && !reflect.PointerTo(t.Elem()).Implements(marshaler) {
			return Type{Kind: KindString, Format: "byte", Null: dir == sent}
		}
		elem := d.describe(t.Elem(), dir)
		return Type{Kind: KindList, Elem: &elem, Null: dir == sent}
	case reflect.Array:
		elem := d.describe(t.Elem(), dir)
		return Type{Kind: KindList, Elem: &elem}
	case reflect.Map:
		elem := d.describe(t.Elem(), dir)
		return Type{Kind: KindMap, Elem: &elem, Null: dir == sent}
	case reflect.Struct:
		return d.object(t, dir)
	}
	return Type{Kind: KindUnknown}
}

// object describes a struct: by its fields where it has no name, else by a reference, so that types
// may refer to themselves.
func (d *describer) object(t reflect.Type, dir direction) Type {
	if t.Name() == "" {
		return Type{Kind: KindObject, Fields: d.fields(t, dir)}
	}
	if name, ok := d.names[key{t, dir}]; ok {
		return Type{Kind: KindRef, Ref: name}
	}
	name := d.name(t, dir)
	d.names[key{t, dir}], d.taken[name] = name, true
	v := Type{Kind: KindObject, Fields: d.fields(t, dir)}
	// The form that clients send may be the one that they get.
	if other, ok := d.names[key{t, !dir}]; ok && reflect.DeepEqual(d.types[other], v) {
		delete(d.taken, name)
		d.names[key{t, dir}] = other
		return Type{Kind: KindRef, Ref: other}
	}
	d.types[name] = v
	return Type{Kind: KindRef, Ref: name}
}

// name returns a free name for a Go type: its own, or that with the package. A type that goes both
// ways in two forms has "In" at the end of the one that clients send.
func (d *describer) name(t reflect.Type, dir direction) string {
	own := identifier(t.Name())
	path := strings.Split(t.PkgPath(), "/")
	long := identifier(path[len(path)-1]) + own
	if _, both := d.names[key{t, !dir}]; both {
		own, long = own+"In", long+"In"
	}
	for _, name := range []string{own, long} {
		if !d.taken[name] {
			return name
		}
	}
	for n := 2; ; n++ {
		if name := long + strconv.Itoa(n); !d.taken[name] {
			return name
		}
	}
}

// identifier makes a name of letters and digits that begins with a capital. Type arguments lose
// their package.
func identifier(s string) string {
	var b strings.Builder
	for part := range strings.FieldsFuncSeq(s, func(r rune) bool { return strings.ContainsRune("[],* ", r) }) {
		part = part[strings.LastIndexAny(part, "./")+1:]
		part = strings.Map(func(r rune) rune {
			if r == '_' || r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r)) {
				return r
			}
			return -1
		}, part)
		if part != "" {
			b.WriteString(strings.ToUpper(part[:1]) + part[1:])
		}
	}
	if b.Len() == 0 || unicode.IsDigit(rune(b.String()[0])) {
		return "T" + b.String()
	}
	return b.String()
}

// found is a field, and how encoding/json ranks it among fields of one name.
type found struct {
	Field
	depth  int
	tagged bool
	order  []int
}

// fields lists the fields of a struct as encoding/json does: embedded structs count as part of the
// outer one; of several fields of one name the outermost counts, then the one with a tag, and
// otherwise none.
func (d *describer) fields(t reflect.Type, dir direction) []Field {
	all := map[string][]found{}
	d.collect(t, dir, 0, nil, map[reflect.Type]bool{}, all)
	var list []found
	for _, same := range all {
		slices.SortStableFunc(same, func(a, b found) int {
			return cmp.Or(cmp.Compare(a.depth, b.depth), -cmp.Compare(rank(a.tagged), rank(b.tagged)))
		})
		if len(same) > 1 && same[0].depth == same[1].depth && same[0].tagged == same[1].tagged {
			continue
		}
		list = append(list, same[0])
	}
	slices.SortFunc(list, func(a, b found) int { return slices.Compare(a.order, b.order) })
	fields := make([]Field, len(list))
	for i, f := range list {
		fields[i] = f.Field
	}
	return fields
}

func rank(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (d *describer) collect(t reflect.Type, dir direction, depth int, order []int, above map[reflect.Type]bool, all map[string][]found) {
	if above[t] {
		return
	}
	above[t] = true
	defer delete(above, t)
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("json")
		name, options, _ := strings.Cut(tag, ",")
		place := append(slices.Clone(order), i)
		inner := f.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		switch {
		case tag == "-", !f.IsExported() && (!f.Anonymous || inner.Kind() != reflect.Struct):
			continue
		case f.Anonymous && name == "" && inner.Kind() == reflect.Struct:
			d.collect(inner, dir, depth+1, place, above, all)
			continue
		}
		one := found{Field: d.field(&f, dir, options), depth: depth, tagged: name != "", order: place}
		if one.Name = name; name == "" {
			one.Name = f.Name
		}
		all[one.Name] = append(all[one.Name], one)
	}
}

// field describes a field by its type, the options of its json tag and its rules.
func (d *describer) field(f *reflect.StructField, dir direction, options string) Field {
	v := d.describe(f.Type, dir)
	text := slices.Contains(strings.Split(options, ","), "string")
	if text && (v.Kind == KindNumber || v.Kind == KindBool) {
		v = Type{Kind: KindString, Null: v.Null}
	}
	one := Field{Type: v}
	rules, required := apply(&one.Type, f.Tag.Get("validate"))
	one.Rules = rules
	omits := strings.Contains(options, "omitempty") || strings.Contains(options, "omitzero")
	switch {
	case dir == received:
		one.Optional = !required
		one.Type.Null = false
	case omits:
		one.Optional, one.Type.Null = true, one.Type.Null && f.Type.Kind() == reflect.Pointer && f.Type.Elem().Kind() == reflect.Pointer
	case required:
		one.Type.Null = false
	}
	return one
}

// apply applies the rules of a validate tag to a type: the values of oneof, and those after dive to
// the elements. It returns the others, for people, and whether the field must be there.
func apply(v *Type, tag string) (rules string, required bool) {
	list := strings.Split(tag, ",")
	if i := slices.Index(list, "dive"); i >= 0 {
		if v.Elem != nil {
			elem := *v.Elem
			elem.Rules, _ = apply(&elem, strings.Join(list[i+1:], ","))
			v.Elem = &elem
		}
		list = list[:i]
	}
	var rest []string
	for _, rule := range list {
		name, values, _ := strings.Cut(rule, "=")
		switch {
		case name == "required":
			required = true
		case name == "oneof" && v.enumerate(values), name == "", name == "omitempty":
		default:
			rest = append(rest, rule)
		}
	}
	return strings.Join(rest, ", "), required
}

// enumerate sets the only values of a string or number.
func (t *Type) enumerate(values string) bool {
	var list []string
	for _, v := range words(values) {
		switch t.Kind {
		case KindString:
			list = append(list, quote(v))
		case KindNumber:
			if _, err := strconv.ParseFloat(v, 64); err != nil {
				return false
			}
			list = append(list, v)
		default:
			return false
		}
	}
	t.Enum = list
	return len(list) > 0
}

// words splits the values of oneof: at blanks, except within single quotes.
func words(s string) (list []string) {
	for s = strings.TrimSpace(s); s != ""; s = strings.TrimSpace(s) {
		if s[0] == '\'' {
			if word, rest, ok := strings.Cut(s[1:], "'"); ok {
				list, s = append(list, word), rest
				continue
			}
		}
		word, rest, _ := strings.Cut(s, " ")
		list, s = append(list, word), rest
	}
	return list
}

func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil { // of a string: impossible
		panic(fmt.Sprint("contract: ", err))
	}
	return string(b)
}
