package hub

import "sync/atomic"

// traffic counts the messages and bytes that one connection has received and sent.
type traffic struct {
	msgsIn, msgsOut, bytesIn, bytesOut atomic.Int64
}

// add adds the counts of o.
func (t *traffic) add(o *traffic) {
	t.msgsIn.Add(o.msgsIn.Load())
	t.msgsOut.Add(o.msgsOut.Load())
	t.bytesIn.Add(o.bytesIn.Load())
	t.bytesOut.Add(o.bytesOut.Load())
}

// totals are the counts of ended connections. Live ones count for themselves, so that messages
// share no counter.
type totals struct {
	traffic
	slow, idle, dropped atomic.Int64
}

// Stats are totals since the process started.
type Stats struct {
	Connections             int
	Rooms                   int
	MessagesIn, MessagesOut int64
	BytesIn, BytesOut       int64
	Slow                    int64 // connections closed with 4008
	Idle                    int64 // connections closed with 4000
	Dropped                 int64 // frames of the classes DropOldest and Latest that were dropped
	Users                   int   // uids with connections in this process
}
