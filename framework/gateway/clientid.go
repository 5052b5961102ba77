package gateway

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
)

// ClientID identifies a client among all gateways: PHP reads the gateway's address from it.
type ClientID struct {
	Gateway    netip.AddrPort // IPv4 address and inner port that the gateway announces
	Connection uint32
}

// clientIDBytes is the size of an encoded ClientID, before it is written in hexadecimal digits.
const clientIDBytes = 10

// String returns the 20 lower-case hexadecimal digits that PHP uses. Addresses that are not IPv4
// are written as 0.0.0.0.
func (id ClientID) String() string {
	var b [clientIDBytes]byte
	if ip := id.Gateway.Addr().Unmap(); ip.Is4() {
		four := ip.As4()
		copy(b[:], four[:])
	}
	binary.BigEndian.PutUint16(b[4:], id.Gateway.Port())
	binary.BigEndian.PutUint32(b[6:], id.Connection)
	return hex.EncodeToString(b[:])
}

// ParseClientID reads 20 hexadecimal digits of either case.
func ParseClientID(text string) (id ClientID, ok bool) {
	if len(text) != 2*clientIDBytes {
		return id, false
	}
	b, err := hex.DecodeString(text)
	if err != nil {
		return id, false
	}
	ip := netip.AddrFrom4([4]byte(b))
	id.Gateway = netip.AddrPortFrom(ip, binary.BigEndian.Uint16(b[4:]))
	id.Connection = binary.BigEndian.Uint32(b[6:])
	return id, true
}
