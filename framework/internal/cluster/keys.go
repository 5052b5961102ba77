package cluster

import (
	"crypto/rand"
	"strconv"
	"strings"
)

// keys are the names in Redis. The contract's carry no hash tag, so no command touches two of them;
// a member's own share a slot of a Redis Cluster.
type keys struct{ prefix string }

func (k keys) info() string               { return k.prefix + "WEBSOCKET_FDINFO" }
func (k keys) uids() string               { return k.prefix + "WEBSOCKET_UIDTOFD" }
func (k keys) listeners(fd string) string { return k.prefix + "WEBSOCKET_FdController_" + fd }
func (k keys) closing(fd string) string   { return k.prefix + "WEBSOCKET_FdCloseSetKey_" + fd }

func (k keys) counter() string { return k.prefix + "WSFRAME_FD_NEXT" } // see numbers.go
func (k keys) nodes() string   { return k.prefix + "WSFRAME_NODES" }   // set of members, living or not yet cleaned up

func (k keys) strays() string { return k.prefix + "WSFRAME_STRAYS" } // who looks for connections on no list

func (k keys) present(room string) string { return k.prefix + "WSFRAME_PRESENT_" + room } // hash of who is in a room that tells
func (k keys) leaving() string            { return k.prefix + "WSFRAME_LEAVING" }         // sorted set of who may have left one

func (k keys) own(m member, what string) string {
	name := k.prefix + "WSFRAME:{" + tag.Replace(m.node) + "}:" + what
	if m.inc != "" {
		name += ":" + m.inc
	}
	return name
}

func (k keys) fds(m member) string    { return k.own(m, "FDS") }                       // set of its connections
func (k keys) lease(m member) string  { return k.own(m, "LEASE") }                     // its sign of life: the worker that took it
func (k keys) about(m member) string  { return k.lease(m) + ":ABOUT" }                 // what it says of itself
func (k keys) asked(m member) string  { return k.own(m, "ASKED") }                     // whether it lives; it removes that
func (k keys) mark(m member) string   { return k.own(m, "MARK") }                      // gone = Redis was emptied
func (k keys) dead(m member) string   { return k.own(m, "DEAD") }                      // declared dead
func (k keys) sweep(m member) string  { return k.own(m, "SWEEP") }                     // who cleans up after it
func (k keys) holder(m member) string { return k.own(member{node: m.node}, "HOLDER") } // the node's incarnation, and where it runs
func (k keys) claim(m member, fd string) string {
	return k.own(m, "CLAIM") + ":" + fd // who runs that connection's Orphan, or that it has run
}

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
