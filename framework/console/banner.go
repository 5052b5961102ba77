package console

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"slices"
	"strings"

	"wsframe/framework/auth"
	"wsframe/framework/internal/boot"
	"wsframe/framework/process"
	"wsframe/library/config"
)

// banner prints the start of a server: its routes, its addresses and links.
type banner struct {
	program Program
	out     *output
}

// print prints the banner in one write, so that a reader that waits for one line of it has all.
func (b *banner) print(cfg *config.Config, s process.Started) {
	var w bytes.Buffer
	fmt.Fprintf(&w, "console %s", b.program.Version)
	if framework := b.program.framework(); framework != "" {
		fmt.Fprintf(&w, ", wsframe %s", framework)
	}
	fmt.Fprint(&w, "\n\n")
	printRoutes(&w, s.Routes)
	fmt.Fprintf(&w, "\noutside  ws://%s/\nmanager  ws://%s/\npush     http://%s/\nstore    %s\ndatabase %s\n", s.Addrs["outside"], s.Addrs["manager"], s.Addrs["push"], cfg.Cache.Master.Driver, cfg.DB.Master.Driver)
	if s.Addrs["inner"] != "" {
		fmt.Fprintf(&w, "gateway  %s\n", gatewayLine(s.Addrs))
	}
	if s.Addrs["socketio"] != "" {
		fmt.Fprintf(&w, "socketio http://%s/\n", s.Addrs["socketio"])
	}
	for _, n := range s.Notes {
		fmt.Fprintln(&w, "note:", n)
	}
	if links := b.links(s.Routes); cfg.App.Demo && len(links) > 0 {
		b.printDemo(&w, cfg, s.Addrs["outside"], links)
	}
	_, _ = w.WriteTo(b.out.out)
}

// gatewayLine names the ports for PHP back ends of GatewayWorker.
func gatewayLine(addrs map[string]string) string {
	line := "register " + addrs["register"] + ", inner " + addrs["inner"]
	if addrs["gateway"] != "" {
		line += ", ws://" + addrs["gateway"] + "/"
	}
	return line
}

// links returns the links whose page and routes exist.
func (b *banner) links(routes []process.Route) (list []Link) {
	for _, l := range b.program.Demo {
		if b.program.Pages == nil {
			break
		}
		_, err := fs.Stat(b.program.Pages, l.Page)
		if err == nil && slices.ContainsFunc(routes, func(r process.Route) bool { return strings.HasPrefix(r.Method, l.Needs) }) {
			list = append(list, l)
		}
	}
	return list
}

// printDemo prints links to the demo pages. Their tokens stand in the fragment, which browsers do
// not send and servers do not log.
func (b *banner) printDemo(w io.Writer, cfg *config.Config, addr string, links []Link) {
	tokens, _, _, err := boot.OpenTokens(cfg, boot.RuntimeKey(cfg), auth.LoadKey)
	if err != nil {
		fmt.Fprintln(b.out.err, "console: demo links:", err)
		return
	}
	if host, port, err := net.SplitHostPort(addr); err == nil && net.ParseIP(host).IsUnspecified() {
		addr = net.JoinHostPort("127.0.0.1", port)
	}
	fmt.Fprintln(w, "\ndemo:")
	for _, page := range links {
		token, err := tokens.Issue(page.Identity)
		if err != nil {
			fmt.Fprintln(b.out.err, "console: demo links:", err)
			return
		}
		fmt.Fprintf(w, "  http://%s/static/%s#auth=%s\n", addr, page.Page, url.QueryEscape(token))
	}
}
