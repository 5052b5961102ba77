package config

import (
	"maps"
	"regexp"
	"slices"
)

// Kubernetes sets variables for each service of the namespace in every container ("service links").
// Those of a service named wsframe-app begin like our settings:
//
//	WSFRAME_APP_SERVICE_HOST=10.0.0.1       WSFRAME_APP_PORT_80_TCP=tcp://10.0.0.1:80
//	WSFRAME_APP_SERVICE_PORT=80             WSFRAME_APP_PORT_80_TCP_PROTO=tcp
//	WSFRAME_APP_SERVICE_PORT_HTTP=80        WSFRAME_APP_PORT_80_TCP_PORT=80
//	WSFRAME_APP_PORT=tcp://10.0.0.1:80      WSFRAME_APP_PORT_80_TCP_ADDR=10.0.0.1
var (
	linkName = regexp.MustCompile(`_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)
	portName = regexp.MustCompile(`_PORT$`)
	linkURL  = regexp.MustCompile(`^(tcp|udp|sctp)://`)
)

// serviceLink tells whether a variable is a service link. A link may have the same name as a port
// of ours; its value, a URL, then distinguishes it.
func serviceLink(name, value string) bool {
	return linkName.MatchString(name) || portName.MatchString(name) && linkURL.MatchString(value)
}

// dropServiceLinks removes the service links from the unused variables, and returns their names.
func (l *loader) dropServiceLinks() []string {
	var links []string
	for _, name := range slices.Sorted(maps.Keys(l.env)) {
		if serviceLink(name, l.env[name]) {
			links = append(links, name)
			delete(l.env, name)
		}
	}
	return links
}
