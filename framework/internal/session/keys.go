package session

import (
	"context"
	"errors"
	"slices"
	"strings"

	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/names"
)

// ErrTooManyKeys is returned when a connection has as many close keys or listeners as it may have.
var ErrTooManyKeys = errors.New("connection has too many close keys or listeners")

// insert adds name to a list of at most limit names, and reports whether it is new.
func insert(list *[]string, name string, limit int) (bool, error) {
	if slices.Contains(*list, name) {
		return false, nil
	}
	if len(*list) >= limit {
		return false, ErrTooManyKeys
	}
	*list = append(*list, name)
	return true, nil
}

func remove(list *[]string, name string) bool {
	i := slices.Index(*list, name)
	if i < 0 {
		return false
	}
	*list = slices.Delete(*list, i, i+1)
	return true
}

// AddCloseKey has the fd removed from the Redis set key when the connection ends.
func (ss *Sessions) AddCloseKey(c *hub.Conn, key string) error {
	if err := names.Room(key); err != nil {
		return err
	}
	s, here := lock(c)
	if !here {
		return forward(context.Background(), ss, opAddKey, c, nameQuestion{key})
	}
	defer s.mu.Unlock()
	fresh, err := insert(&s.keys, key, ss.cfg.Keys)
	if fresh {
		ss.cfg.Cluster().CloseKeyAdded(c.FD, key)
	}
	return err
}

// RemoveCloseKey undoes AddCloseKey.
func (ss *Sessions) RemoveCloseKey(c *hub.Conn, key string) {
	s, here := lock(c)
	if !here {
		_ = forward(context.Background(), ss, opRemoveKey, c, nameQuestion{key})
		return
	}
	defer s.mu.Unlock()
	if remove(&s.keys, key) {
		ss.cfg.Cluster().CloseKeyRemoved(c.FD, key)
	}
}

// AddListener has the OnClose of a mounted controller called when the connection ends.
func (ss *Sessions) AddListener(c *hub.Conn, name string) error {
	mounted, err := ss.cfg.Listener(name)
	if err != nil {
		return err
	}
	s, here := lock(c)
	if !here {
		return forward(context.Background(), ss, opAddListener, c, nameQuestion{mounted})
	}
	defer s.mu.Unlock()
	fresh, err := insert(&s.listeners, mounted, ss.cfg.Keys)
	if fresh {
		ss.cfg.Cluster().ListenerAdded(c.FD, mounted)
	}
	return err
}

// notePrefix begins the note of a connection among its close listeners. No controller has such a
// name.
const notePrefix = "gateway "

// NoteOf returns the note among close listeners.
func NoteOf(listener string) (note string, is bool) { return strings.CutPrefix(listener, notePrefix) }

// SetNote changes the note that is kept with the connection's records in Redis; it is "" at first.
// The process that cleans up after this one gets it. For a moment Redis may have both notes.
func (ss *Sessions) SetNote(c *hub.Conn, change func(before string) string) {
	s, here := lock(c)
	if !here {
		return
	}
	defer s.mu.Unlock()
	at := slices.IndexFunc(s.listeners, func(name string) bool { return strings.HasPrefix(name, notePrefix) })
	if at < 0 {
		at = len(s.listeners)
		s.listeners = append(s.listeners, notePrefix)
	}
	before := s.listeners[at]
	note := notePrefix + change(before[len(notePrefix):])
	if note == before {
		return
	}
	s.listeners[at] = note
	ss.cfg.Cluster().ListenerAdded(c.FD, note)
	if before != notePrefix {
		ss.cfg.Cluster().ListenerRemoved(c.FD, before)
	}
}

// RemoveListener undoes AddListener.
func (ss *Sessions) RemoveListener(c *hub.Conn, name string) {
	mounted, err := ss.cfg.Listener(name)
	if err != nil {
		return
	}
	s, here := lock(c)
	if !here {
		_ = forward(context.Background(), ss, opRemoveListener, c, nameQuestion{mounted})
		return
	}
	defer s.mu.Unlock()
	if remove(&s.listeners, mounted) {
		ss.cfg.Cluster().ListenerRemoved(c.FD, mounted)
	}
}
