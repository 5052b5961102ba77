package environ

import (
	"strings"

	"wsframe/framework/gateway"
	"wsframe/library/phpserialize"
)

// phpSpace is what PHP's trim removes.
const phpSpace = " \t\n\r\x00\x0b"

// Append appends the serialized array of get, server and cookie.
func Append(b []byte, o gateway.Opening) []byte {
	server, cookies := superglobals(o)
	b = phpserialize.AppendArray(b, 3)
	b = phpserialize.AppendString(b, "get")
	b = appendQuery(b, query(o.URI))
	b = phpserialize.AppendString(b, "server")
	b = server.append(b)
	b = phpserialize.AppendString(b, "cookie")
	b = appendQuery(b, strings.ReplaceAll(cookies, "; ", "&"))
	return phpserialize.EndArray(b)
}

// query returns the part of a URI between the question mark and the number sign.
func query(uri string) string {
	uri, _, _ = strings.Cut(uri, "#")
	_, q, _ := strings.Cut(uri, "?")
	return q
}

// superglobals returns $_SERVER and the Cookie header. Of several headers of one name, the last
// one counts, in the place of the first.
func superglobals(o gateway.Opening) (server *array, cookies string) {
	server = &array{}
	set := func(name, text string) { server.set(phpserialize.KeyOf(name), value{text: text}) }
	set("REQUEST_METHOD", o.Method)
	set("REQUEST_URI", o.URI)
	set("SERVER_PROTOCOL", o.Proto)
	for _, h := range o.Header {
		name := strings.ReplaceAll(upper(h.Name), "-", "_")
		text := strings.Trim(h.Value, phpSpace)
		set("HTTP_"+name, text)
		switch name {
		case "HOST":
			host, port := splitHost(text)
			set("SERVER_NAME", host)
			if port != "" {
				set("SERVER_PORT", port)
			}
		case "COOKIE":
			cookies = text
		}
	}
	set("QUERY_STRING", query(o.URI))
	set("REMOTE_ADDR", o.Remote.Addr().Unmap().String())
	server.set(phpserialize.KeyOf("REMOTE_PORT"), value{number: int64(o.Remote.Port()), isNumber: true})
	return server, cookies
}

// upper returns a name in upper case, as PHP 8 does: ASCII only.
func upper(name string) string {
	return strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		}
		return c
	}, name)
}

// splitHost splits a Host header. The port is empty if there is none.
func splitHost(host string) (name, port string) {
	i := strings.LastIndexByte(host, ':')
	if i < 0 || strings.IndexByte(host[i:], ']') >= 0 {
		return host, ""
	}
	return host[:i], host[i+1:]
}
