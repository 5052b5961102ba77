package hub

import "sync/atomic"

// Stats are totals since the process started.
type Stats struct {
	Connections             int
	Rooms                   int
	MessagesIn, MessagesOut int64
	BytesIn, BytesOut       int64
	Slow                    int64 // connections closed with 4008
	Idle                    int64 // connections closed with 4000
	Dropped                 int64 // frames of the classes wire.DropOldest and wire.Latest that slow connections did not get
	Users                   int   // uids with connections here
}

// totals are what the connections that ended have counted; live ones count for themselves, so that no counter is shared
// on the message path.
type totals struct {
	msgsIn, msgsOut, bytesIn, bytesOut atomic.Int64
	slow, idle, dropped                atomic.Int64
}

func (t *totals) add(c *Conn) {
	t.msgsIn.Add(c.msgsIn.Load())
	t.msgsOut.Add(c.msgsOut.Load())
	t.bytesIn.Add(c.bytesIn.Load())
	t.bytesOut.Add(c.bytesOut.Load())
}

// Own counts the live connections without those that have moved and whose action still runs here.
func (h *Hub) Own() (n int) {
	h.Each(func(c *Conn) bool {
		if !c.hasMoved() {
			n++
		}
		return true
	})
	return n
}

// Stats walks all connections: for people and monitoring, not for the message path.
func (h *Hub) Stats() Stats {
	t := &h.totals
	s := Stats{
		Connections: h.Len(), Rooms: h.RoomCount(),
		MessagesIn: t.msgsIn.Load(), MessagesOut: t.msgsOut.Load(),
		BytesIn: t.bytesIn.Load(), BytesOut: t.bytesOut.Load(),
		Slow: t.slow.Load(), Idle: t.idle.Load(), Dropped: t.dropped.Load(), Users: h.UserCount(),
	}
	h.Each(func(c *Conn) bool {
		if c.hasMoved() {
			return true
		}
		s.MessagesIn += c.msgsIn.Load()
		s.MessagesOut += c.msgsOut.Load()
		s.BytesIn += c.bytesIn.Load()
		s.BytesOut += c.bytesOut.Load()
		return true
	})
	return s
}
