package clients

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"strings"

	"wsframe/framework/gateway"
	"wsframe/framework/internal/hub"
	"wsframe/framework/internal/session"
)

// maxNoted bounds the session in a note, in bytes.
const maxNoted = 4 << 10

// A note is what another process needs to tell PHP of a client's end: the gateway's address, the
// client's, the port that it came to, and its last session.
func (cs *Clients) note(c *hub.Conn, o gateway.Opening) {
	cs.cfg.Sessions.SetNote(c, func(string) string { return fmt.Sprintf("%s %s %d ", cs.cfg.Gateway, o.Remote, o.Port) })
}

// noteSession changes the session in a client's note, if it has one.
func (cs *Clients) noteSession(c *hub.Conn, kept []byte) {
	if session.Of(c).Foreign == nil {
		return
	}
	if len(kept) > maxNoted {
		kept = nil
	}
	cs.cfg.Sessions.SetNote(c, func(before string) string {
		end := strings.LastIndexByte(before, ' ')
		if end < 0 {
			return before
		}
		return before[:end+1] + base64.StdEncoding.EncodeToString(kept)
	})
}

// ReadNote reads the note of a connection whose process has died.
func ReadNote(fd int64, note string) (d gateway.Departed, ok bool) {
	words := strings.Split(note, " ")
	if len(words) != 4 {
		return d, false
	}
	own, err := netip.ParseAddrPort(words[0])
	if err != nil {
		return d, false
	}
	d.ID = gateway.ClientID{Gateway: own, Connection: ID(fd)}
	if d.Remote, err = netip.ParseAddrPort(words[1]); err != nil {
		return d, false
	}
	if _, err = fmt.Sscan(words[2], &d.Port); err != nil {
		return d, false
	}
	d.Session, err = base64.StdEncoding.DecodeString(words[3])
	return d, err == nil
}
