package contract

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// TypeScript returns a declaration of the contract: the interface Contract, which the client
// library takes, and the interfaces of all objects.
func (c *Contract) TypeScript() string {
	var b strings.Builder
	b.WriteString("// Written by `console -s types`. Do not edit.\n\n")
	b.WriteString("export interface Contract {\n")
	b.WriteString("  /** Requests by method: what they take, the param of the reply, and its event. */\n  methods: {\n")
	for _, a := range c.Actions {
		event := "string"
		if a.Event != "" {
			event = quote(a.Event)
		}
		in := a.In.typeScript(2)
		if a.In.Kind == KindNone {
			in = "Record<string, never>"
		}
		fmt.Fprintf(&b, "    %s: { params: %s; result: %s; event: %s };\n", quote(a.Method), in, a.Out.typeScript(2), event)
	}
	b.WriteString("  };\n  /** Pushes by event, with their param. */\n  events: {\n")
	for _, e := range c.Events {
		fmt.Fprintf(&b, "    %s: %s;\n", quote(e.Name), e.Param.typeScript(2))
	}
	b.WriteString("  };\n  /** Questions of the server by event: their param, and the answer that it waits for. */\n  questions: {\n")
	for _, q := range c.Questions {
		fmt.Fprintf(&b, "    %s: { param: %s; answer: %s };\n", quote(q.Name), q.Param.typeScript(2), q.Answer.typeScript(2))
	}
	b.WriteString("  };\n  /** Replies that report a failure, by event. */\n  errors: {\n")
	for i := 0; i < len(c.Errors); {
		first := c.Errors[i]
		var status []string
		for ; i < len(c.Errors) && c.Errors[i].Event == first.Event; i++ {
			status = append(status, fmt.Sprint(c.Errors[i].Status))
		}
		fmt.Fprintf(&b, "    %s: { status: %s };", quote(first.Event), strings.Join(status, " | "))
		if first.Info != "" {
			fmt.Fprintf(&b, " // %s", comment(first.Info))
		}
		b.WriteString("\n")
	}
	b.WriteString("  };\n}\n")
	for _, name := range slices.Sorted(maps.Keys(c.Types)) {
		fmt.Fprintf(&b, "\nexport interface %s %s\n", name, object(c.Types[name].Fields, 0))
	}
	return b.String()
}

// comment keeps a text within the comment of a line.
func comment(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\r' || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, s)
}

var plainName = regexp.MustCompile(`^[A-Za-z_$][A-Za-z0-9_$]*$`)

// object writes the fields of an object at an indentation, in steps of two blanks.
func object(fields []Field, depth int) string {
	if len(fields) == 0 {
		return "{}"
	}
	var b strings.Builder
	b.WriteString("{\n")
	for _, f := range fields {
		name := f.Name
		if !plainName.MatchString(name) {
			name = quote(name)
		}
		if f.Optional {
			name += "?"
		}
		fmt.Fprintf(&b, "%s%s: %s;", strings.Repeat("  ", depth+1), name, f.Type.typeScript(depth+1))
		if note := notes(&f); note != "" {
			fmt.Fprintf(&b, " // %s", comment(note))
		}
		b.WriteString("\n")
	}
	return b.String() + strings.Repeat("  ", depth) + "}"
}

// notes are the rules and the format of a field.
func notes(f *Field) string {
	var list []string
	if f.Rules != "" {
		list = append(list, f.Rules)
	}
	switch f.Type.Format {
	case "date-time":
		list = append(list, "RFC 3339")
	case "byte":
		list = append(list, "base64")
	}
	if f.Type.Elem != nil && f.Type.Elem.Rules != "" {
		list = append(list, "each: "+f.Type.Elem.Rules)
	}
	return strings.Join(list, "; ")
}

func (t *Type) typeScript(depth int) string {
	s := t.notNull(depth)
	if t.Null && t.Kind != KindUnknown {
		s += " | null"
	}
	return s
}

func (t *Type) notNull(depth int) string {
	if len(t.Enum) > 0 {
		return strings.Join(t.Enum, " | ")
	}
	switch t.Kind {
	case KindNone:
		return "undefined"
	case KindRef:
		return t.Ref
	case KindObject:
		return object(t.Fields, depth)
	case KindList:
		elem := t.Elem.typeScript(depth)
		if strings.Contains(elem, " | ") {
			return "(" + elem + ")[]"
		}
		return elem + "[]"
	case KindMap:
		return "{ [name: string]: " + t.Elem.typeScript(depth) + " }"
	}
	return t.Kind // the other kinds have the names of TypeScript
}
