package gateway

import (
	"cmp"

	"wsframe/library/phpserialize"
)

func (c *Commands) setSession(f Frame) {
	c.Backend.SetSession(f.Connection, func([]byte) ([]byte, bool) {
		return f.Ext, c.fits(f.Ext)
	})
}

// updateSession merges an array into the session. A session that cannot be merged stays.
func (c *Commands) updateSession(f Frame) {
	with, err := phpserialize.Parse(f.Ext)
	if err != nil || with.Kind() != phpserialize.Array || !c.fits(f.Ext) {
		c.refuse("session")
		return
	}
	c.Backend.SetSession(f.Connection, func(old []byte) ([]byte, bool) {
		if len(old) == 0 {
			return f.Ext, true
		}
		v, err := phpserialize.Parse(old)
		if err != nil || v.Kind() != phpserialize.Array {
			c.refuse("session")
			return nil, false
		}
		merged := phpserialize.Merge(v, with).Append(nil)
		return merged, c.fits(merged)
	})
}

// fits reports whether a session is within the bound.
func (c *Commands) fits(session []byte) bool {
	if len(session) <= cmp.Or(c.SessionBytes, defaultSessionBytes) {
		return true
	}
	c.refuse("session_bytes")
	return false
}
