package framework

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"go.uber.org/zap"

	"wsframe/framework/gateway"
	"wsframe/framework/internal/accept"
	"wsframe/framework/internal/ask"
	"wsframe/framework/internal/clients"
	"wsframe/framework/internal/closing"
	"wsframe/framework/internal/directory"
	"wsframe/framework/internal/envelope"
	"wsframe/framework/internal/history"
	"wsframe/framework/internal/link"
	"wsframe/framework/internal/names"
	"wsframe/framework/internal/publish"
	"wsframe/framework/internal/question"
	"wsframe/framework/internal/session"
	"wsframe/framework/internal/stream"
)

// Server reaches all connections, users and rooms, on whichever node. An App is one, and an action
// gets it by Ctx.Server. Safe for concurrent use.
//
// A call about a connection of this node costs nothing. Any other call costs one write to Redis and
// an answer of each node, and waits for them at most cache.master.timeout. ErrPartial then reports
// that a node has not answered: it may still do what it was asked for. While Redis is unreachable
// the call returns ErrPartial at once, with what this node knows.
type Server struct {
	log     *zap.Logger
	timeout time.Duration // of one Redis call
	drain   time.Duration // for which streams may outlive a reload

	link      *link.Link
	history   *history.History
	directory *directory.Directory
	sessions  *session.Sessions
	publisher *publish.Publisher
	closer    *closing.Closer
	questions *question.Book // to clients
	streams   *stream.Streams
	nodes     *ask.Nodes
	clients   *clients.Clients
	gateway   *Gateway // nil = no PHP back ends of GatewayWorker
}

// History reads a room's kept pushes with an offset above after, the oldest first, in one Redis
// call. after < 0 gives the newest ones, in two calls. limit is at most 1,000.
func (s *Server) History(ctx context.Context, room string, after int64, limit int) (HistoryPage, error) {
	if err := names.Room(room); err != nil {
		return HistoryPage{}, err
	}
	return s.history.Page(ctx, room, after, limit)
}

// SendToFD sends an unasked frame to one connection, on whichever node. It never waits. ErrClosed
// and ErrSlow are only known of this node's connections; a push to another node costs one write to
// Redis, in the background.
func (s *Server) SendToFD(fd int64, r *Reply, o ...PublishOption) error {
	c, elsewhere := s.publisher.Find(fd)
	switch {
	case elsewhere:
		return s.publisher.Send(envelope.ToFD, strconv.FormatInt(fd, 10), r, apply(o))
	case c == nil:
		return ErrNoConnection
	case len(o) == 0:
		return push(c, r)
	}
	return s.publisher.SendTo(c, r, apply(o)) // the same way: the two keep their order
}

// SendToUID sends an unasked frame to all connections of a user, on all nodes. It never waits, and
// costs one write to Redis where there may be other nodes.
func (s *Server) SendToUID(uid string, r *Reply, o ...PublishOption) error {
	if err := names.UID(uid); err != nil {
		return err
	}
	return s.publisher.Send(envelope.ToUID, uid, r, apply(o))
}

// SendToRoom sends an unasked frame to every member of a room, on all nodes. Members get a room's
// frames in one order, the same on every node. It waits for Redis only with Durable. Where there
// may be other nodes, or the push is kept, it costs one write to Redis, whatever the number of
// members. After an error nothing was sent: the reply cannot be encoded, ErrTooLarge, ErrBusy,
// ErrNotTaken (the push was to be kept, and Redis has no memory) or ErrUnavailable.
func (s *Server) SendToRoom(room string, r *Reply, o ...PublishOption) error {
	if err := names.Room(room); err != nil {
		return err
	}
	return s.publisher.Send(envelope.ToRoom, room, r, apply(o))
}

// Publish is SendToRoom by its shorter name.
func (s *Server) Publish(room string, r *Reply, o ...PublishOption) error {
	return s.SendToRoom(room, r, o...)
}

// SendToAll sends an unasked frame to every connection of all nodes. It never waits.
func (s *Server) SendToAll(r *Reply, o ...PublishOption) error {
	return s.publisher.Send(envelope.ToAll, "", r, apply(o))
}

// Settle waits until Redis has what was sent here before, so that it arrives although this node
// dies: a round trip or two, at most cache.master.timeout. After a call that timed out, further
// calls return at once for a second: pushes are kept here while Redis is unreachable.
func (s *Server) Settle(ctx context.Context) { s.link.Settle(ctx, s.timeout) }

// clientID returns the client_id of a connection of this node; "" without a Gateway.
func (s *Server) clientID(fd int64) string {
	if s.gateway == nil {
		return ""
	}
	return gateway.ClientID{Gateway: s.gateway.Address, Connection: clients.ID(fd)}.String()
}

// ServerOf returns the Server in the context of a request to HTTP; nil in another context.
func ServerOf(ctx context.Context) *Server {
	s, _ := ctx.Value(serverKey{}).(*Server)
	return s
}

type serverKey struct{}

// withServer makes ServerOf work in the application's pages.
func withServer(s *Server, pages []accept.Page) []accept.Page {
	for i, p := range pages {
		if p.Handler == nil {
			continue // New refuses it
		}
		pages[i].Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p.Handler.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), serverKey{}, s)))
		})
	}
	return pages
}
