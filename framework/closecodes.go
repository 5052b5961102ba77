package framework

import "wsframe/framework/internal/wire"

// Close codes that clients get (RFC 6455 §7.4.1), and those of this server from 4000 on.
// Applications choose from CloseNormal and 3000-4999. docs/protocol.md says what a client does
// after each.
const (
	CloseNormal        = wire.CloseNormal
	CloseGoingAway     = wire.CloseGoingAway // the server stops
	CloseProtocolError = wire.CloseProtocolError
	CloseNoStatus      = wire.CloseNoStatus // never sent: the client's close frame carried no code
	CloseAbnormal      = wire.CloseAbnormal // never sent: the connection ended without a close frame
	CloseBadData       = wire.CloseBadData  // text that is not UTF-8, or not a JSON object
	ClosePolicy        = wire.ClosePolicy   // a rule was broken: rate, depth, fragments, message time
	CloseTooLarge      = wire.CloseTooLarge
	CloseInternal      = wire.CloseInternal
	CloseRestart       = wire.CloseRestart  // a reload that could not move the connection: come back at once
	CloseIdle          = wire.CloseIdle     // nothing arrived for the idle time
	CloseSlow          = wire.CloseSlow     // the outbox was full, or its oldest bytes could not be written in time
	CloseReplaced      = wire.CloseReplaced // a newer connection of the same user took this one's place, as this one was silent or always
	CloseRefused       = wire.CloseRefused  // the user is connected already, by a connection that answers
	CloseKicked        = wire.CloseKicked   // Kick and Close without a code
	CloseToken         = wire.CloseToken    // the token is missing, wrong or expired
	CloseOrigin        = wire.CloseOrigin   // the origin of the client's page may not connect
	CloseTooMany       = wire.CloseTooMany  // the client's address has too many connections
)
