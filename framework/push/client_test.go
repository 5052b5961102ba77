package push

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// Every method of the application API is a call, and the Client's calls reach it with their
// arguments in order.
func TestClient(t *testing.T) {
	h := serve(t, Config{Tokens: []Token{{"0123456789abcdef", nil}}})
	c, err := NewClient(h.url+"/", "0123456789abcdef")
	if err != nil {
		t.Fatal(err)
	}
	c.HTTP = h.client
	var names []string
	for _, m := range methods {
		names = append(names, strings.ToLower(m.name))
	}
	for iface, i := reflect.TypeFor[Backend](), 0; i < iface.NumMethod(); i++ {
		if name := strings.ToLower(iface.Method(i).Name); name != "errorcode" && name != "settle" && !slices.Contains(names, name) {
			t.Errorf("%s is no call", name)
		}
	}
	ctx := t.Context()
	p := &Push{Event: "e", Info: "i", Param: JSON("<"), Except: []int64{9}, Class: Latest, Key: "k"}
	values := map[string]json.RawMessage{"a": JSON(1), "b": JSON(nil)}
	n := func(_ any, err error) error { return err }
	for _, tc := range []struct {
		err  error
		want string
	}{
		{c.SendToFD(ctx, 1, p), "SendToFD 1 " + text(p)},
		{c.SendToUID(ctx, "7", p), "SendToUID 7 " + text(p)},
		{c.SendToRoom(ctx, "A", p, Keep{5, 60}), "SendToRoom A " + text(p) + " {5 60}"},
		{c.Publish(ctx, "A", p, Keep{}), "SendToRoom A " + text(p) + " {0 0}"},
		{c.SendToAll(ctx, p), "SendToAll " + text(p)},
		{n(c.Reach(ctx, "7", p)), "Reach 7 " + text(p)},
		{c.Join(ctx, 1, "A", true), "Join 1 A true"},
		{c.Leave(ctx, 1, "A"), "Leave 1 A"},
		{c.LeaveAll(ctx, 1), "LeaveAll 1"},
		{n(c.DismissRoom(ctx, "A")), "DismissRoom A"},
		{c.SendToMany(ctx, Targets{[]int64{1}, []string{"7"}, []string{"A"}}, p), "SendToMany {[1] [7] [A]} " + text(p)},
		{n(c.JoinUID(ctx, "7", "A", true)), "JoinUID 7 A true"},
		{n(c.LeaveUID(ctx, "7", "A")), "LeaveUID 7 A"},
		{n(c.UpdateSessionUID(ctx, "7", values)), "UpdateSessionUID 7 map[a:1 b:null]"},
		{n(c.UIDConnections(ctx, "7")), "UIDConnections 7"},
		{c.BindUID(ctx, 1, "u"), "BindUID 1 u"},
		{c.UnbindUID(ctx, 1, "u"), "UnbindUID 1 u"},
		{c.Kick(ctx, 1, 4000, "r"), "Kick 1 4000 r"},
		{n(c.KickUID(ctx, "7", 0, "")), "KickUID 7 0 "},
		{n(c.Session(ctx, 1)), "Session 1"},
		{c.SetSession(ctx, 1, values), "SetSession 1 map[a:1 b:null]"},
		{c.UpdateSession(ctx, 1, values), "UpdateSession 1 map[a:1 b:null]"},
		{n(c.RoomCount(ctx, "A")), "RoomCount A"},
		{n(c.Counts(ctx)), "Counts"},
		{n(c.Connections(ctx, 0, 5)), "Connections 0 5"},
		{n(c.RoomMembers(ctx, "A", 3, 5)), "RoomMembers A 3 5"},
		{n(c.UIDs(ctx, "a", 5)), "UIDs a 5"},
		{n(c.RoomNames(ctx, "", 5)), "RoomNames  5"},
		{n(c.History(ctx, "A", -1, 5)), "History A -1 5"},
	} {
		h.backend.mu.Lock()
		got := h.backend.calls[0]
		h.backend.calls = h.backend.calls[1:]
		h.backend.mu.Unlock()
		if tc.err != nil || got != tc.want {
			t.Errorf("got %q %v, want %q", got, tc.err, tc.want)
		}
	}
	if page, err := c.History(ctx, "A", 0, 1); err != nil || page.Items[0].Offset != 1 || page.Epoch != "e" {
		t.Error(page, err)
	}
	if on, err := c.IsUIDOnline(ctx, "7"); !on || err != nil {
		t.Error(on, err)
	}
	if on, err := c.IsOnline(ctx, 5); on || err != nil {
		t.Error(on, err)
	}
	var e *Error
	if err := c.Kick(ctx, 5, 0, ""); !errors.As(err, &e) || e.Code != CodeNoConnection {
		t.Error(err)
	}
	if said, err := c.NewMsg(ctx, "8", "x"); said != "offline" || err != nil {
		t.Error(said, err)
	}
	if err := c.SendToAll(ctx, &Push{Event: "e", Param: JSON(func() {})}); err == nil {
		t.Error("a func was sent")
	}
	for _, base := range []string{"", "127.0.0.1:2121", "ftp://a", "http://"} {
		if _, err := NewClient(base, ""); err == nil {
			t.Errorf("%q is no address", base)
		}
	}
}
