// Package contract describes what clients of an application can rely on: its actions, what they
// take and answer, its events, its questions to clients and its errors.
//
// Package framework collects the Go types of an application and calls Describe. The description is
// plain data that travels as JSON from a worker to its master. From it the package writes a
// TypeScript declaration and an AsyncAPI document, and Breaks names what a newer program would take
// away from clients of an older one.
//
// Describe reads types by reflection, once for a process. Nothing here runs for a message. All
// functions are pure; a Registry is safe for concurrent use.
package contract

import "reflect"

// Source is what a description is made of, by Go types. A nil type is unknown.
type Source struct {
	Actions   []ActionSource
	Events    []EventSource
	Questions []QuestionSource
	Errors    []Failure
	// Known are types that decode or encode themselves, by their form in JSON.
	Known map[reflect.Type]Type
}

// ActionSource is one action.
type ActionSource struct {
	Method string // module.controller.action
	Event  string // of the reply; "" = the action chooses it
	In     reflect.Type
	Out    reflect.Type // param of the reply
	Typed  bool         // Out is declared; nil then is a reply without param
	Says   string       // what follows the declaration as a comment
}

// EventSource is an event that the server sends.
type EventSource struct {
	Name  string
	Param reflect.Type // nil = it has none
}

// QuestionSource is an event that the client answers.
type QuestionSource struct {
	Name   string
	Param  reflect.Type
	Answer reflect.Type
}

// Contract is a description. It is plain data, the same for the same program.
type Contract struct {
	Actions   []Action        `json:"actions"`
	Events    []Event         `json:"events"`
	Questions []Question      `json:"questions,omitempty"`
	Errors    []Failure       `json:"errors"`
	Types     map[string]Type `json:"types"` // objects, by the name that other types refer to
}

// Action is one action.
type Action struct {
	Method string `json:"method"`
	Event  string `json:"event,omitempty"` // of the reply; "" = the action chooses it
	In     Type   `json:"in"`
	Out    Type   `json:"out"`
}

// Event is an event that the server sends.
type Event struct {
	Name  string `json:"name"`
	Param Type   `json:"param"`
}

// Question is an event that the client answers.
type Question struct {
	Name   string `json:"name"`
	Param  Type   `json:"param"`
	Answer Type   `json:"answer"`
}

// Failure is an error that clients may get as a reply.
type Failure struct {
	Status int    `json:"status"`
	Event  string `json:"event"`
	Info   string `json:"info,omitempty"`
}

// Type is the form of a value in JSON.
type Type struct {
	Kind   string   `json:"kind"`
	Ref    string   `json:"ref,omitempty"`    // of a KindRef: a name of Contract.Types
	Elem   *Type    `json:"elem,omitempty"`   // of a KindList or KindMap
	Fields []Field  `json:"fields,omitempty"` // of a KindObject
	Enum   []string `json:"enum,omitempty"`   // the only values, as JSON
	Format string   `json:"format,omitempty"` // of a string: date-time or byte; of a number: int
	Null   bool     `json:"null,omitempty"`   // it may also be null
	Rules  string   `json:"rules,omitempty"`  // validation of each element, for people
}

// Kinds of a Type.
const (
	KindNone    = "none" // there is no value
	KindUnknown = "unknown"
	KindString  = "string"
	KindNumber  = "number"
	KindBool    = "boolean"
	KindList    = "list"
	KindMap     = "map" // an object with any names
	KindObject  = "object"
	KindRef     = "ref"
)

// Field is one field of an object.
type Field struct {
	Name     string `json:"name"`
	Type     Type   `json:"type"`
	Optional bool   `json:"optional,omitempty"`
	Rules    string `json:"rules,omitempty"` // validation, for people
}
