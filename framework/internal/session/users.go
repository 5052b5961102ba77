package session

import (
	"context"
	"slices"

	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/names"
)

// Identify binds a new connection to its token's id, if ids of that type of user are uids
// (users.uid_types). Equal ids of two types may belong to two people.
func (ss *Sessions) Identify(c *hub.Conn) {
	if identifies(&ss.cfg, c) {
		_ = ss.Bind(c, c.Auth.ID) // fails only where the connection has ended already
	}
}

func identifies(cfg *Config, c *hub.Conn) bool {
	types := cfg.UIDTypes
	return (slices.Contains(types, c.Auth.Type) || slices.Contains(types, "*")) && names.UID(c.Auth.ID) == nil
}

// OwnUID returns the uid that Identify binds the connection to, "" = none.
func (ss *Sessions) OwnUID(c *hub.Conn) string {
	if identifies(&ss.cfg, c) {
		return c.Auth.ID
	}
	return ""
}

// Bind makes a connection reachable by a uid. Under a policy of one login for each user, it also
// sends the login to all nodes.
func (ss *Sessions) Bind(c *hub.Conn, uid string) error {
	s, here := lock(c)
	if !here {
		err := forward(context.Background(), ss, opBind, c, uidQuestion{uid})
		if err == nil {
			_, _ = c.Bind(uid) // so that Users shows it; the connection may have ended here
		}
		return err
	}
	fresh, err := c.Bind(uid)
	s.mu.Unlock()
	if err != nil || !fresh {
		return err
	}
	return ss.Logins.send(c.FD, uid)
}

// Unbind undoes Bind.
func (ss *Sessions) Unbind(c *hub.Conn, uid string) {
	s, here := lock(c)
	if here {
		defer s.mu.Unlock()
	} else if forward(context.Background(), ss, opUnbind, c, uidQuestion{uid}) != nil {
		return
	}
	c.Unbind(uid)
}
