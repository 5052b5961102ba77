package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/names"
)

// maxSize limits the JSON of a connection's values, in bytes.
const maxSize = 16 << 10

// ErrSize is returned when a session's values would take more than 16 KiB as JSON.
var ErrSize = errors.New("session values take more than 16 KiB")

func sizeOf(values map[string]json.RawMessage) int {
	size := 0
	for k, v := range values {
		size += len(k) + len(v) + 4
	}
	return size
}

// Encode encodes values as JSON, and checks their keys.
func Encode(values map[string]any) (map[string]json.RawMessage, error) {
	raw := make(map[string]json.RawMessage, len(values))
	for k, v := range values {
		if k == "" || len(k) > 128 {
			return nil, fmt.Errorf("session key %.40q: %w", k, names.ErrRoom)
		}
		b, err := json.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("session value %.40q: %w", k, err)
		}
		raw[k] = b
	}
	return raw, nil
}

// Values returns a copy of the connection's values.
func (s *Session) Values() map[string]json.RawMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.values == nil {
		return map[string]json.RawMessage{}
	}
	return maps.Clone(s.values)
}

// Change replaces the values. With merge it adds to them instead, and null removes a key. The error
// is ErrSize where they would become too large.
func (ss *Sessions) Change(c *hub.Conn, raw map[string]json.RawMessage, merge bool) error {
	s, here := lock(c)
	if !here {
		if err := forward(context.Background(), ss, opSet, c, valuesQuestion{merge, raw}); err != nil {
			return err
		}
		s.mu.Lock()
	}
	defer s.mu.Unlock()
	return s.change(raw, merge)
}

// change is Change under mu.
func (s *Session) change(raw map[string]json.RawMessage, merge bool) error {
	next := raw
	if merge {
		if next = maps.Clone(s.values); next == nil {
			next = make(map[string]json.RawMessage, len(raw))
		}
		maps.Copy(next, raw)
		maps.DeleteFunc(next, func(_ string, v json.RawMessage) bool { return string(v) == "null" })
	}
	if sizeOf(next) > maxSize {
		return ErrSize
	}
	s.values = next
	return nil
}
