package framework

import (
	"context"
	"errors"

	"wsframe/framework/internal/names"
)

// User is all connections of a uid, on all nodes. UserOf makes one. Its calls concern the
// connections that there are at that moment, at most 1,000: a user who connects later is not in the
// room, for example.
type User struct {
	server *Server
	uid    string
}

// UserOf returns the user with that uid. It costs nothing.
//
//	n, err := framework.UserOf(c.Server(), "7").Join(c, "CHAT_lobby", framework.Announce)
func UserOf(s *Server, uid string) User { return User{s, uid} }

// Connections lists the user's connections, by fd.
func (u User) Connections(ctx context.Context) ([]Connection, error) {
	if err := names.UID(u.uid); err != nil {
		return nil, err
	}
	return u.server.directory.UIDConnections(ctx, u.uid)
}

// Join puts all connections of the user into a room and returns their number, as Server.Join does
// for each.
func (u User) Join(ctx context.Context, room string, o ...JoinOption) (connections int, err error) {
	return u.each(ctx, func(fd int64) error { return u.server.Join(ctx, fd, room, o...) }, names.Room(room))
}

// Leave takes all connections of the user out of a room and returns their number.
func (u User) Leave(ctx context.Context, room string) (connections int, err error) {
	return u.each(ctx, func(fd int64) error { return u.server.Leave(ctx, fd, room) }, names.Room(room))
}

// UpdateSession merges values into the session of each connection of the user and returns their
// number; nil removes a key.
func (u User) UpdateSession(ctx context.Context, values map[string]any) (connections int, err error) {
	return u.each(ctx, func(fd int64) error { return u.server.UpdateSession(ctx, fd, values) }, nil)
}

// each calls f for each connection. It counts those that succeeded, and leaves out those that have
// ended meanwhile.
func (u User) each(ctx context.Context, f func(fd int64) error, wrong error) (n int, err error) {
	if wrong != nil {
		return 0, wrong
	}
	list, err := u.Connections(ctx)
	for _, c := range list {
		switch e := f(c.FD); {
		case e == nil:
			n++
		case !errors.Is(e, ErrNoConnection) && !errors.Is(e, ErrClosed):
			err = errors.Join(err, e)
		}
	}
	return n, err
}

// Targets are the receivers of one push.
type Targets struct {
	FDs   []int64
	UIDs  []string
	Rooms []string
}

// SendToMany sends a push to each target, as SendToFD, SendToUID and SendToRoom do. A connection
// that several targets have gets it several times. Names are checked first; errors of single
// targets are joined, and the other targets get the push.
func SendToMany(s *Server, t Targets, r *Reply, o ...PublishOption) error {
	var errs []error
	for _, uid := range t.UIDs {
		errs = append(errs, names.UID(uid))
	}
	for _, room := range t.Rooms {
		errs = append(errs, names.Room(room))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	errs = nil
	for _, fd := range t.FDs {
		errs = append(errs, s.SendToFD(fd, r, o...))
	}
	for _, uid := range t.UIDs {
		errs = append(errs, s.SendToUID(uid, r, o...))
	}
	for _, room := range t.Rooms {
		errs = append(errs, s.SendToRoom(room, r, o...))
	}
	return errors.Join(errs...)
}
