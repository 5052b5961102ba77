package contract

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
)

// object of JSON.
type doc = map[string]any

var strange = regexp.MustCompile(`[^A-Za-z0-9._-]`)

// AsyncAPI returns the contract as an AsyncAPI 3.0 document, in JSON, from the side of the server:
// it receives requests, and sends replies, events and questions over one WebSocket.
func (c *Contract) AsyncAPI(title, version string) ([]byte, error) {
	w := &asyncAPI{messages: doc{}, channel: doc{}, operations: doc{}}
	w.message("error", "a reply that reports a failure", c.failure())
	for _, a := range c.Actions {
		w.message(a.Method, "", request(a))
		w.message(a.Method+".reply", "", frame(a.Event, "", a.Out, true))
		w.operations[key1(a.Method)] = doc{
			"action": "receive", "channel": ref("channels/connection"), "messages": []doc{channelMessage(a.Method)},
			"reply": doc{"channel": ref("channels/connection"), "messages": []doc{channelMessage(a.Method + ".reply"), channelMessage("error")}},
		}
	}
	for _, e := range c.Events {
		w.message("event."+e.Name, "", frame(e.Name, "", e.Param, false))
		w.operations[key1("event."+e.Name)] = doc{"action": "send", "channel": ref("channels/connection"), "messages": []doc{channelMessage("event." + e.Name)}}
	}
	for _, q := range c.Questions {
		w.message("question."+q.Name, "", frame(q.Name, "ask", q.Param, false))
		w.message("question."+q.Name+".answer", "", object3(doc{"method": doc{"const": "sys.answer"}, "ask": doc{"type": "integer"}, "param": schema(q.Answer)}, "method", "ask"))
		w.operations[key1("question."+q.Name)] = doc{
			"action": "send", "channel": ref("channels/connection"), "messages": []doc{channelMessage("question." + q.Name)},
			"reply": doc{"channel": ref("channels/connection"), "messages": []doc{channelMessage("question." + q.Name + ".answer")}},
		}
	}
	schemas := doc{}
	for name, t := range c.Types {
		schemas[name] = schema(t)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	err := e.Encode(doc{
		"asyncapi": "3.0.0", "info": doc{"title": title, "version": version},
		"defaultContentType": "application/json",
		"channels":           doc{"connection": doc{"address": "/", "description": "a WebSocket, with ?auth=TOKEN in its address", "messages": w.channel}},
		"operations":         w.operations,
		"components":         doc{"messages": w.messages, "schemas": schemas},
	})
	return b.Bytes(), err
}

type asyncAPI struct{ messages, channel, operations doc }

// message adds a message to the components and to the channel.
func (w *asyncAPI) message(name, summary string, payload doc) {
	m := doc{"name": name, "payload": payload}
	if summary != "" {
		m["summary"] = summary
	}
	w.messages[key1(name)] = m
	w.channel[key1(name)] = ref("components/messages/" + key1(name))
}

// key1 is a name as a key of the document, which allows few characters.
func key1(name string) string {
	return strange.ReplaceAllStringFunc(name, func(s string) string { return fmt.Sprintf("_%x", s) })
}

func ref(path string) doc { return doc{"$ref": "#/" + path} }

func channelMessage(name string) doc { return ref("channels/connection/messages/" + key1(name)) }

func object3(properties doc, required ...string) doc {
	return doc{"type": "object", "properties": properties, "required": required}
}

var idSchema = doc{"type": []string{"string", "number"}}

// request is the frame of a request: the fields of In beside method and id.
func request(a Action) doc {
	head := object3(doc{"method": doc{"const": a.Method}, "id": idSchema}, "method")
	if a.In.Kind == KindNone {
		return head
	}
	return doc{"allOf": []doc{head, schema(a.In)}}
}

// frame is a reply or a push. extra names another number that it has.
func frame(event, extra string, param Type, reply bool) doc {
	properties := doc{"status": doc{"type": "integer"}, "event": doc{"type": "string"}, "info": doc{"type": "string"}}
	required := []string{"status", "event", "info"}
	if event != "" {
		properties["event"] = doc{"const": event}
	}
	if param.Kind != KindNone {
		properties["param"] = schema(param)
		if param.Kind != KindUnknown {
			required = append(required, "param")
		}
	}
	if reply {
		properties["id"] = idSchema
	}
	if extra != "" {
		properties[extra], required = doc{"type": "integer"}, append(required, extra)
	}
	return object3(properties, required...)
}

// failure is the frame of all errors.
func (c *Contract) failure() doc {
	events := []string{}
	for i, f := range c.Errors {
		if i == 0 || c.Errors[i-1].Event != f.Event {
			events = append(events, f.Event)
		}
	}
	d := frame("", "", Type{Kind: KindUnknown}, true)
	if len(events) > 0 {
		d["properties"].(doc)["event"] = doc{"enum": events}
	}
	return d
}

// schema is a type as JSON Schema.
func schema(t Type) doc {
	d := doc{}
	switch t.Kind {
	case KindString, KindBool:
		d["type"] = t.Kind
	case KindNumber:
		if d["type"] = t.Kind; t.Format == "int" {
			d["type"] = "integer"
		}
	case KindList:
		d["type"], d["items"] = "array", schema(*t.Elem)
	case KindMap:
		d["type"], d["additionalProperties"] = "object", schema(*t.Elem)
	case KindRef:
		d = ref("components/schemas/" + t.Ref)
	case KindObject:
		properties, required := doc{}, []string{}
		for _, f := range t.Fields {
			p := schema(f.Type)
			if f.Rules != "" {
				if _, isRef := p["$ref"]; !isRef {
					p["description"] = f.Rules
				}
			}
			properties[f.Name] = p
			if !f.Optional {
				required = append(required, f.Name)
			}
		}
		d["type"], d["properties"] = "object", properties
		if len(required) > 0 {
			d["required"] = required
		}
	}
	if t.Format == "date-time" || t.Format == "byte" {
		d["format"] = t.Format
	}
	if len(t.Enum) > 0 {
		values := []json.RawMessage{}
		for _, v := range t.Enum {
			values = append(values, json.RawMessage(v))
		}
		d["enum"] = values
	}
	if t.Null && t.Kind != KindUnknown {
		return doc{"oneOf": []doc{d, {"type": "null"}}}
	}
	return d
}
