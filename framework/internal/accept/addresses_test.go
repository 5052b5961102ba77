package accept

import "testing"

// IPv6 clients are limited by their /64, which one customer has.
func TestNetwork(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64", "2001:db8:1:2::1": "2001:db8:1:2::/64", "2001:db8:1:3::1": "2001:db8:1:3::/64",
		"fe80::1%eth0": "fe80::/64", "pipe": "pipe",
	} {
		if got := network(addr); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
	var l addresses
	l.init(0, 1)
	if !l.entered("2001:db8::1") || l.entered("2001:db8::2") || !l.entered("2001:db8:0:1::1") {
		t.Error("a network has not the connections of one client")
	}
	if l.left("2001:db8::3"); !l.entered("2001:db8::4") {
		t.Error("a place was not given back")
	}
}
