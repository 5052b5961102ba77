//go:build unix

package hub

// Descriptor returns the socket's descriptor. For an exported connection it stays open until
// Release or Thaw.
func (c *Conn) Descriptor() int { return c.sock.fd }
