package config

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"wsframe/library/socket"
)

// Gateway is the part of config/app.yaml for PHP back ends of a GatewayWorker installation.
type Gateway struct {
	Enabled              bool
	Host                 string
	Port                 int      // of the WebSocket port for PHP's own clients; -1 = none
	RegisterHost         string   `mapstructure:"register_host"`
	RegisterPort         int      `mapstructure:"register_port"`
	Registers            []string // of PHP, to sign in at
	LanIP                string   `mapstructure:"lan_ip"`
	InnerHost            string   `mapstructure:"inner_host"` // "" = LanIP
	StartPort            int      `mapstructure:"start_port"`
	SecretKey            string   `mapstructure:"secret_key" secret:"true"`
	Peers                []string
	Workers              bool
	Greeting             string
	WorkerWait           time.Duration `mapstructure:"worker_wait"`
	PingInterval         time.Duration `mapstructure:"ping_interval"`
	PingData             string        `mapstructure:"ping_data"`
	PingNotResponseLimit int           `mapstructure:"ping_not_response_limit"`
	SessionBytes         int           `mapstructure:"session_bytes"`
	Origins              []string
}

// maxSessionBytes leaves space for the message beside a session in a frame of 10 MiB.
const maxSessionBytes = 4 << 20

func defaultGateway() Gateway {
	return Gateway{
		Host: "127.0.0.1", Port: 7272, RegisterHost: "127.0.0.1", RegisterPort: 1236, LanIP: "127.0.0.1", StartPort: 2900,
		Workers: true, WorkerWait: 10 * time.Second, SessionBytes: 64 << 10, Origins: []string{"*"},
	}
}

// Inner returns the address on which the inner port listens.
func (g *Gateway) Inner() Listen {
	return Listen{cmp.Or(g.InnerHost, g.LanIP), g.StartPort}
}

// Address returns the address by which PHP reaches the inner port. It is valid after Load.
func (g *Gateway) Address() netip.AddrPort {
	ip, _ := netip.ParseAddr(g.LanIP)
	return netip.AddrPortFrom(ip, uint16(g.StartPort))
}

// PeerPrefixes returns the addresses of Peers. They are valid after Load.
func (g *Gateway) PeerPrefixes() (list []netip.Prefix) {
	for _, text := range g.Peers {
		if p, err := parsePrefix(text); err == nil {
			list = append(list, p)
		}
	}
	return list
}

// parsePrefix reads an address or a CIDR.
func parsePrefix(text string) (netip.Prefix, error) {
	if strings.Contains(text, "/") {
		p, err := netip.ParsePrefix(text)
		return p.Masked(), err
	}
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("%.40q is neither an address nor a CIDR", text)
	}
	return a.Prefix(a.BitLen())
}

// ports returns the ports that the gateway listens on, by the name of their section.
func (g *Gateway) ports() []port {
	list := []port{
		{"gateway.register_host", "gateway.register_port", Listen{g.RegisterHost, g.RegisterPort}},
		{"gateway.inner_host", "gateway.start_port", Listen{cmp.Or(g.InnerHost, "127.0.0.1"), g.StartPort}},
	}
	if g.Port >= 0 {
		list = append(list, port{"gateway.host", "gateway.port", Listen{g.Host, g.Port}})
	}
	return list
}

func (g *Gateway) validate(bad complain) {
	wrong := func(key, format string, args ...any) { bad("app", "gateway."+key, format, args...) }
	if g.Port < -1 {
		wrong("port", "%d: must be -1, for none, or a port", g.Port)
	}
	if ip, err := netip.ParseAddr(g.LanIP); err != nil || !ip.Is4() || ip.IsUnspecified() {
		wrong("lan_ip", "%.40q: must be the IPv4 address by which PHP reaches this server", g.LanIP)
	}
	if g.StartPort == 0 {
		wrong("start_port", "is 0: client_ids contain the port, so it must be a fixed one")
	}
	if i := strings.IndexFunc(g.SecretKey, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }); i >= 0 {
		wrong("secret_key", "must be printable ASCII without \" and \\, as PHP sends it")
	}
	for _, addr := range g.Registers {
		if !isAddress(addr) {
			wrong("registers", "%.80q: write host:port", addr)
		}
	}
	for _, text := range g.Peers {
		if _, err := parsePrefix(text); err != nil {
			wrong("peers", "%.40q is neither an address nor a CIDR", text)
		}
	}
	for _, o := range g.Origins {
		if !isOrigin(o) {
			wrong("origins", "%.80q: write https://example.com, with the port if it is unusual; \"*\" alone means any page", o)
		}
	}
	for key, v := range map[string]time.Duration{"worker_wait": g.WorkerWait, "ping_interval": g.PingInterval} {
		if v < 0 || key == "ping_interval" && v > 0 && v < time.Second {
			wrong(key, "%v: must be 0s, for none, or at least 1s", v)
		}
	}
	if g.PingNotResponseLimit < 0 {
		wrong("ping_not_response_limit", "%d: must be at least 0", g.PingNotResponseLimit)
	}
	if g.SessionBytes < 1 || g.SessionBytes > maxSessionBytes {
		wrong("session_bytes", "%d: must be 1 to %d", g.SessionBytes, maxSessionBytes)
	}
	if g.Enabled && g.SecretKey == "" && len(g.Peers) == 0 {
		for key, host := range map[string]string{"register_host": g.RegisterHost, "inner_host": g.Inner().Host} {
			if !socket.IsLoopback(host) {
				wrong(key, "secret_key or peers are needed when it is %s: anyone who connects could send commands", host)
			}
		}
	}
}
