package push

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
)

var errNobody = errors.New("no such connection")

// recorder is a Backend that records its calls. It has the connections 1 and 2, of the user 7, in
// the room A.
type recorder struct {
	mu      sync.Mutex
	calls   []string
	settled int           // times
	fail    error         // what sends and Reach end with
	hold    chan struct{} // not nil: calls that wait wait for its close
}

func (r *recorder) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, fmt.Sprintf(format, args...))
}

// said returns the calls since it was last called.
func (r *recorder) said() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.calls
	r.calls = nil
	return list
}

func text(p *Push) string { b, _ := json.Marshal(p); return string(b) }

func (r *recorder) on(ctx context.Context, fd int64, format string, args ...any) error {
	if r.hold != nil {
		select {
		case <-r.hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if fd > 2 {
		return fmt.Errorf("connection %d: %w", fd, errNobody)
	}
	r.note(format, args...)
	return r.fail
}

func (r *recorder) SendToFD(fd int64, p *Push) error {
	return r.on(context.Background(), fd, "SendToFD %d %s", fd, text(p))
}
func (r *recorder) SendToUID(uid string, p *Push) error {
	r.note("SendToUID %s %s", uid, text(p))
	return r.fail
}
func (r *recorder) SendToRoom(room string, p *Push, k Keep) error {
	r.note("SendToRoom %s %s %v", room, text(p), k)
	return r.fail
}
func (r *recorder) SendToAll(p *Push) error { r.note("SendToAll %s", text(p)); return r.fail }
func (r *recorder) Settle(context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.settled++
}
func (r *recorder) Reach(ctx context.Context, uid string, p *Push) (int, error) {
	if uid != "7" {
		return 0, r.fail
	}
	return 2, r.on(ctx, 1, "Reach %s %s", uid, text(p))
}
func (r *recorder) Join(ctx context.Context, fd int64, room string, announce bool) error {
	return r.on(ctx, fd, "Join %d %s %v", fd, room, announce)
}
func (r *recorder) Leave(ctx context.Context, fd int64, room string) error {
	return r.on(ctx, fd, "Leave %d %s", fd, room)
}
func (r *recorder) LeaveAll(ctx context.Context, fd int64) error {
	return r.on(ctx, fd, "LeaveAll %d", fd)
}
func (r *recorder) SendToMany(t Targets, p *Push) error {
	r.note("SendToMany %v %s", t, text(p))
	return r.fail
}
func (r *recorder) JoinUID(ctx context.Context, uid, room string, announce bool) (int, error) {
	return 2, r.on(ctx, 1, "JoinUID %s %s %v", uid, room, announce)
}
func (r *recorder) LeaveUID(ctx context.Context, uid, room string) (int, error) {
	return 2, r.on(ctx, 1, "LeaveUID %s %s", uid, room)
}
func (r *recorder) UpdateSessionUID(ctx context.Context, uid string, values map[string]json.RawMessage) (int, error) {
	return 2, r.on(ctx, 1, "UpdateSessionUID %s %s", uid, values)
}
func (r *recorder) UIDConnections(ctx context.Context, uid string) ([]Connection, error) {
	return []Connection{{FD: 1, Node: "n"}}, r.on(ctx, 1, "UIDConnections %s", uid)
}
func (r *recorder) DismissRoom(ctx context.Context, room string) (int, error) {
	return 2, r.on(ctx, 1, "DismissRoom %s", room)
}
func (r *recorder) BindUID(ctx context.Context, fd int64, uid string) error {
	return r.on(ctx, fd, "BindUID %d %s", fd, uid)
}
func (r *recorder) UnbindUID(ctx context.Context, fd int64, uid string) error {
	return r.on(ctx, fd, "UnbindUID %d %s", fd, uid)
}
func (r *recorder) Kick(ctx context.Context, fd int64, code int, reason string) error {
	return r.on(ctx, fd, "Kick %d %d %s", fd, code, reason)
}
func (r *recorder) KickUID(ctx context.Context, uid string, code int, reason string) (int, error) {
	return 2, r.on(ctx, 1, "KickUID %s %d %s", uid, code, reason)
}
func (r *recorder) Session(ctx context.Context, fd int64) (map[string]json.RawMessage, error) {
	return map[string]json.RawMessage{"cart": json.RawMessage(`[1]`)}, r.on(ctx, fd, "Session %d", fd)
}
func (r *recorder) SetSession(ctx context.Context, fd int64, values map[string]json.RawMessage) error {
	return r.on(ctx, fd, "SetSession %d %s", fd, values)
}
func (r *recorder) UpdateSession(ctx context.Context, fd int64, values map[string]json.RawMessage) error {
	return r.on(ctx, fd, "UpdateSession %d %s", fd, values)
}
func (r *recorder) IsOnline(_ context.Context, fd int64) (bool, error)      { return fd <= 2, nil }
func (r *recorder) IsUIDOnline(_ context.Context, uid string) (bool, error) { return uid == "7", nil }
func (r *recorder) RoomCount(ctx context.Context, room string) (int, error) {
	return 2, r.on(ctx, 1, "RoomCount %s", room)
}
func (r *recorder) Counts(ctx context.Context) (Counts, error) {
	return Counts{Connections: 2, UIDs: 1, Rooms: 1, Nodes: 1}, r.on(ctx, 1, "Counts")
}
func (r *recorder) Connections(ctx context.Context, after int64, limit int) ([]Connection, error) {
	return []Connection{{FD: 1, Auth: Identity{ID: "7"}, UIDs: []string{"7"}, Node: "n"}}, r.on(ctx, 1, "Connections %d %d", after, limit)
}
func (r *recorder) UIDs(ctx context.Context, after string, limit int) ([]string, error) {
	return []string{"7"}, r.on(ctx, 1, "UIDs %s %d", after, limit)
}
func (r *recorder) RoomNames(ctx context.Context, after string, limit int) ([]string, error) {
	return []string{"A"}, r.on(ctx, 1, "RoomNames %s %d", after, limit)
}
func (r *recorder) RoomMembers(ctx context.Context, room string, after int64, limit int) ([]Connection, error) {
	return []Connection{{FD: 1, Node: "n"}}, r.on(ctx, 1, "RoomMembers %s %d %d", room, after, limit)
}
func (r *recorder) History(ctx context.Context, room string, after int64, limit int) (HistoryPage, error) {
	page := HistoryPage{Room: room, Epoch: "e", Offset: 1, First: 1, Items: []HistoryItem{{Offset: 1, Time: 1, Push: json.RawMessage(`{"status":200}`)}}}
	return page, r.on(ctx, 1, "History %s %d %d", room, after, limit)
}

func (r *recorder) ErrorCode(err error) (Code, string) {
	if errors.Is(err, errNobody) {
		return CodeNoConnection, ""
	}
	return CodeInternal, ""
}
