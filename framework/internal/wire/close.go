package wire

import (
	"encoding/binary"
	"unicode/utf8"
)

// Close codes of RFC 6455 §7.4.1, and this server's own from 4000 on. Comebacks says what a client
// does after each.
const (
	CloseNormal        = 1000
	CloseGoingAway     = 1001 // the server stops
	CloseProtocolError = 1002
	CloseNoStatus      = 1005 // never sent: the peer's close frame had no code
	CloseAbnormal      = 1006 // never sent: the connection ended without a close frame
	CloseBadData       = 1007 // text that is not UTF-8, or not a JSON object
	ClosePolicy        = 1008 // a rule was broken: rate, depth, fragments, message time
	CloseTooLarge      = 1009
	CloseInternal      = 1011
	CloseRestart       = 1012 // a reload could not move the connection; the client reconnects at once
	CloseIdle          = 4000 // no byte arrived for the idle time
	CloseSlow          = 4008 // the outbox was full, or its oldest bytes could not be written in time
	CloseReplaced      = 4009 // a newer connection of the same user has replaced this one
	CloseRefused       = 4010 // the user has another connection, which responds
	CloseKicked        = 4011 // the application closed it without a code of its own
	CloseToken         = 4401 // the token is missing, wrong or expired
	CloseOrigin        = 4403 // the origin of the client's page may not connect
	CloseTooMany       = 4429 // the client's address has too many connections
)

// MaxReason is the longest reason of a close frame in bytes: a control frame's payload without the
// code.
const MaxReason = MaxControl - 2

// Close is the code and reason of a close. The zero Close means none.
type Close struct {
	Code   int
	Reason string
}

// MayClose reports whether applications may close a connection with the code: 1000, or 3000-4999
// (RFC 6455 §7.4.2).
func MayClose(code int) bool { return code == CloseNormal || code >= 3000 && code <= 4999 }

// CloseFrame encodes a close frame. Codes that are never sent result in a frame without a code. A
// reason is cut to MaxReason bytes at the beginning of a character, since it must be UTF-8 (RFC
// 6455 §5.5.1).
func CloseFrame(code int, reason string) []byte {
	if code == CloseNoStatus || code < 1000 {
		return ControlFrame(OpClose, nil)
	}
	if end := MaxReason; len(reason) > end {
		for end > MaxReason-utf8.UTFMax && !utf8.RuneStart(reason[end]) {
			end--
		}
		reason = reason[:end]
	}
	return ControlFrame(OpClose, append(binary.BigEndian.AppendUint16(nil, uint16(code)), reason...))
}

// ParseClose reads the payload of a close frame. Without a code the result is CloseNoStatus.
func ParseClose(payload []byte) Close {
	if len(payload) < 2 {
		return Close{Code: CloseNoStatus}
	}
	return Close{Code: int(binary.BigEndian.Uint16(payload)), Reason: string(payload[2:])}
}
