//go:build !linux

package hub

import "net"

func (s *socket) writeBuffers(bufs net.Buffers) (int64, error) { return bufs.WriteTo(s.nc) }
