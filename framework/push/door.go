package push

import "net/http"

// door finds out who calls. A request that it refuses ends its connection, which would only take a
// place from callers.
type door struct {
	access  *access
	refused *refusals
	conns   *conns
}

// admit returns the caller of a request.
func (d *door) admit(w http.ResponseWriter, r *http.Request) (*caller, *Error) {
	c, e := d.access.of(r)
	if e == nil {
		d.conns.know(r)
		return c, nil
	}
	w.Header().Set("Connection", "close")
	return nil, d.refused.add(r.RemoteAddr, e)
}
