package contract

import (
	"fmt"
	"slices"
	"strings"
)

// Breaks names what clients of the contract before rely on and that the contract after does not
// have: fields and events that are gone or have another type, and fields that must be sent now.
// Routes that are gone are not among them.
func Breaks(before, after *Contract) []string {
	if before == nil || after == nil {
		return nil
	}
	c := &comparison{before: before, after: after, seen: map[string]bool{}}
	for _, a := range before.Actions {
		i := slices.IndexFunc(after.Actions, func(b Action) bool { return b.Method == a.Method })
		if i < 0 {
			continue
		}
		b := after.Actions[i]
		if a.Event != "" && a.Event != b.Event {
			c.add(a.Method, "replies with the event %q, no longer %q", b.Event, a.Event)
		}
		c.received(a.Method, a.In, b.In)
		c.sent(a.Method+" reply", a.Out, b.Out)
	}
	for _, a := range before.Events {
		i := slices.IndexFunc(after.Events, func(b Event) bool { return b.Name == a.Name })
		if i < 0 {
			c.add("event "+a.Name, "is gone")
			continue
		}
		c.sent("event "+a.Name, a.Param, after.Events[i].Param)
	}
	for _, a := range before.Questions {
		i := slices.IndexFunc(after.Questions, func(b Question) bool { return b.Name == a.Name })
		if i < 0 {
			continue // clients then are not asked
		}
		b := after.Questions[i]
		c.sent("question "+a.Name, a.Param, b.Param)
		c.received("answer to "+a.Name, a.Answer, b.Answer)
	}
	return c.list
}

type comparison struct {
	before, after *Contract
	list          []string
	seen          map[string]bool // pairs of references that are compared, for types that refer to themselves
}

func (c *comparison) add(where, format string, args ...any) {
	line := where + ": " + fmt.Sprintf(format, args...)
	if !slices.Contains(c.list, line) {
		c.list = append(c.list, line)
	}
}

// sent compares what the server writes: clients of before read it.
func (c *comparison) sent(where string, before, after Type) {
	if before.Kind == KindUnknown || before.Kind == KindNone {
		return
	}
	if after.Null && !before.Null {
		c.add(where, "may be null now")
	}
	if len(before.Enum) > 0 && !subset(after.Enum, before.Enum) {
		c.add(where, "may be %s now, before %s", values(after), values(before))
	}
	b, a, same := c.resolve(where, before, after)
	if !same {
		return
	}
	switch b.Kind {
	case KindList:
		c.sent(where+"[]", *b.Elem, *a.Elem)
	case KindMap:
		c.sent(where+"[*]", *b.Elem, *a.Elem)
	case KindObject:
		for _, f := range b.Fields {
			path := where + "." + f.Name
			g, ok := field(a, f.Name)
			switch {
			case !ok:
				c.add(path, "is gone")
			case g.Optional && !f.Optional:
				c.add(path, "may be absent now")
				fallthrough
			default:
				c.sent(path, f.Type, g.Type)
			}
		}
	}
}

// received compares what clients write: those of before write the old form.
func (c *comparison) received(where string, before, after Type) {
	if after.Kind == KindUnknown || after.Kind == KindNone {
		return
	}
	if before.Kind == KindNone { // clients send nothing
		before = Type{Kind: KindObject}
	}
	if before.Kind == KindUnknown {
		return
	}
	if before.Null && !after.Null {
		c.add(where, "may not be null any more")
	}
	if len(after.Enum) > 0 && !subset(before.Enum, after.Enum) {
		c.add(where, "may only be %s now", values(after))
	}
	b, a, same := c.resolve(where, before, after)
	if !same {
		return
	}
	switch b.Kind {
	case KindList:
		c.received(where+"[]", *b.Elem, *a.Elem)
	case KindMap:
		c.received(where+"[*]", *b.Elem, *a.Elem)
	case KindObject:
		for _, f := range b.Fields {
			if g, ok := field(a, f.Name); ok {
				c.received(where+"."+f.Name, f.Type, g.Type)
			} else {
				c.add(where+"."+f.Name, "is ignored now")
			}
		}
		for _, g := range a.Fields {
			if f, ok := field(b, g.Name); !g.Optional && (!ok || f.Optional) {
				c.add(where+"."+g.Name, "is required now")
			}
		}
	}
}

// resolve follows references. same is false where the kinds differ, which it reports, and where the
// pair is compared already.
func (c *comparison) resolve(where string, before, after Type) (b, a Type, same bool) {
	if before.Kind == KindRef && after.Kind == KindRef {
		// A type's fields are reported once for each path, but not endlessly.
		pair := before.Ref + " " + after.Ref
		if strings.Count(where, ".") > 1 && c.seen[pair] {
			return b, a, false
		}
		c.seen[pair] = true
	}
	b, a = c.before.resolve(before), c.after.resolve(after)
	if b.Kind != a.Kind || b.Format != a.Format {
		c.add(where, "is a %s now, before a %s", named(after), named(before))
		return b, a, false
	}
	return b, a, true
}

func (c *Contract) resolve(t Type) Type {
	if t.Kind == KindRef {
		return c.Types[t.Ref]
	}
	return t
}

func field(t Type, name string) (Field, bool) {
	i := slices.IndexFunc(t.Fields, func(f Field) bool { return f.Name == name })
	if i < 0 {
		return Field{}, false
	}
	return t.Fields[i], true
}

// subset reports whether all values of a are among those of b. No values are all values.
func subset(a, b []string) bool {
	return len(b) == 0 || len(a) > 0 && !slices.ContainsFunc(a, func(v string) bool { return !slices.Contains(b, v) })
}

func values(t Type) string {
	if len(t.Enum) == 0 {
		return "any " + t.Kind
	}
	return strings.Join(t.Enum, ", ")
}

func named(t Type) string {
	switch {
	case t.Kind == KindRef:
		return t.Ref
	case t.Format != "":
		return t.Kind + " (" + t.Format + ")"
	}
	return t.Kind
}
