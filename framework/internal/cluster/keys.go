package cluster

import (
	"crypto/rand"
	"strconv"
	"strings"
)

// keys makes the names of keys in Redis. The contract's have no hash tag, so no command uses two of
// them. A member's own keys share a slot of a Redis Cluster.
type keys struct{ prefix string }

// The contract's keys (contract §4): two hashes, and two sets for each connection.
func (k keys) info() string               { return k.prefix + "WEBSOCKET_FDINFO" }
func (k keys) uids() string               { return k.prefix + "WEBSOCKET_UIDTOFD" }
func (k keys) listeners(fd string) string { return k.prefix + "WEBSOCKET_FdController_" + fd }
func (k keys) closing(fd string) string   { return k.prefix + "WEBSOCKET_FdCloseSetKey_" + fd }

// counter is the counter of connection numbers (numbers.go).
func (k keys) counter() string { return k.prefix + "WSFRAME_FD_NEXT" }

// nodes is the set of members that live or are not cleaned up yet.
func (k keys) nodes() string { return k.prefix + "WSFRAME_NODES" }

// strays is the claim of the node that looks for strays.
func (k keys) strays() string { return k.prefix + "WSFRAME_STRAYS" }

// present is the hash of the users in a room that announces its members.
func (k keys) present(room string) string { return k.prefix + "WSFRAME_PRESENT_" + room }

// leaving is the sorted set of users who may have left a room.
func (k keys) leaving() string { return k.prefix + "WSFRAME_LEAVING" }

func (k keys) own(m member, what string) string {
	name := k.prefix + "WSFRAME:{" + tag.Replace(m.node) + "}:" + what
	if m.inc != "" {
		name += ":" + m.inc
	}
	return name
}

// fds is the set of a member's connections, its list.
func (k keys) fds(m member) string { return k.own(m, "FDS") }

// lease is a member's sign of life. Its value is the worker that has acquired it last.
func (k keys) lease(m member) string { return k.own(m, "LEASE") }

// about is the member's Config.About.
func (k keys) about(m member) string { return k.lease(m) + ":ABOUT" }

// asked is set by a newcomer that asks whether the member lives. A living member removes it.
func (k keys) asked(m member) string { return k.own(m, "ASKED") }

// mark is set as long as Redis was not emptied.
func (k keys) mark(m member) string { return k.own(m, "MARK") }

// dead is set when the member was declared dead.
func (k keys) dead(m member) string { return k.own(m, "DEAD") }

// sweep is the claim of the sweeper that cleans up after the member.
func (k keys) sweep(m member) string { return k.own(m, "SWEEP") }

// holder is the incarnation that holds the node's id, and its place.
func (k keys) holder(m member) string { return k.own(member{node: m.node}, "HOLDER") }

// claim is the claim of the sweeper that runs a connection's Orphan, or the mark that it has run.
func (k keys) claim(m member, fd string) string { return k.own(m, "CLAIM") + ":" + fd }

var tag = strings.NewReplacer("{", "_", "}", "_")

// member is one incarnation of a node. Without a lease there is only one, "".
type member struct{ node, inc string }

func (m member) String() string { return m.inc + "@" + m.node }

func parseMember(s string) (member, bool) {
	inc, node, ok := strings.Cut(s, "@")
	return member{node, inc}, ok && inc != ""
}

func newIncarnation() string { return rand.Text()[:13] }

func str(fd int64) string { return strconv.FormatInt(fd, 10) }
