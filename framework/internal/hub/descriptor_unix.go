//go:build unix

package hub

// Descriptor is the socket's, of an exported connection: nobody closes it before Release or Thaw.
func (c *Conn) Descriptor() int { return c.sock.fd }
