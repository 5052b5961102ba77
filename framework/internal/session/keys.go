package session

import (
	"context"
	"errors"
	"slices"

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
