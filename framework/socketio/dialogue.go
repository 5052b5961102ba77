package socketio

import (
	"encoding/json"
	"fmt"
	"strings"

	"wsframe/framework/internal/wire"
)

// Dialogue is what the packets of one client have changed so far. Its fields are what has to move
// with a connection. It is not safe for concurrent use: packets have an order.
type Dialogue struct {
	Version   int  // of Engine.IO, 3 or 4
	Connected bool // to the default namespace; clients of version 3 are from the start
	LoggedIn  bool // a login was made, see Step.Login
}

// Step is what one packet of a client asks of the server. The zero Step asks nothing.
type Step struct {
	Answer []byte // a packet to be sent; nil = none

	// Event is the name of an event; "" = the packet is none, or nothing has to be done about it.
	Event     string
	Arguments []json.RawMessage // valid as long as the packet

	// Login says that the client claims to be the user UID. The caller sets Dialogue.LoggedIn if
	// it accepts that: later logins are ignored.
	Login bool
	UID   string

	// Code ends the connection, by a close code of RFC 6455 §7.4; 0 = it goes on.
	Code   int
	Reason string
}

// NewDialogue returns the state of a connection of which nothing has come yet.
func NewDialogue(version int) Dialogue { return Dialogue{Version: version, Connected: version < 4} }

// Greeting returns the packet that connects the default namespace before the client asks for it;
// nil = clients of this version ask.
func Greeting(version int) []byte {
	if version < 4 {
		return []byte{Message, Connect}
	}
	return nil
}

// Packet handles one Engine.IO packet, of a poll or of a WebSocket's text frame. Its JSON may have
// so many levels. A page's own "disconnect" and events of other namespaces are ignored, as all that
// this server does not know.
func (d *Dialogue) Packet(packet []byte, depth int) Step {
	if len(packet) == 0 {
		return malformed()
	}
	switch content := packet[1:]; packet[0] {
	case Close:
		return Step{Code: wire.CloseNormal, Reason: "the client has left"}
	case Ping:
		return Step{Answer: append([]byte{Pong}, content...)}
	case Message:
		return d.message(content, depth)
	case Open, Pong, Upgrade, Noop:
		return Step{}
	}
	return malformed()
}

func malformed() Step { return Step{Code: wire.ClosePolicy, Reason: "malformed packet"} }

// message handles a Socket.IO packet.
func (d *Dialogue) message(content []byte, depth int) Step {
	p, err := ParsePacket(content)
	if err != nil {
		return malformed()
	}
	name, _, _ := strings.Cut(p.Namespace, "?") // clients 1.x and 2.x may send a query
	switch {
	case p.Type >= BinaryEvent:
		return Step{Code: wire.ClosePolicy, Reason: "binary packets are not supported"}
	case p.Type == Connect && name != "/":
		return Step{Answer: Refusal(d.Version, name)}
	case p.Type == Connect && !d.Connected:
		d.Connected = true
		return Step{Answer: fmt.Appendf(nil, `%c%c{"sid":"%s"}`, Message, Connect, newSID())}
	case p.Type == Disconnect && name == "/":
		return Step{Code: wire.CloseNormal, Reason: "the client has left"}
	case p.Type == Event && name == "/":
		return d.event(p, depth)
	}
	return Step{}
}

func (d *Dialogue) event(p Packet, depth int) Step {
	name, arguments, err := p.Event(depth)
	switch {
	case err != nil:
		return malformed()
	case !d.Connected:
		return Step{}
	case name != "login":
		return Step{Event: name, Arguments: arguments}
	case len(arguments) == 0, d.LoggedIn:
		return Step{}
	}
	return Step{Event: name, Arguments: arguments, Login: true, UID: Login(arguments[0])}
}
