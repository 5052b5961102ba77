package accept

import (
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"
)

// admit accepts or refuses a handshake. A token is checked whatever others at its address did
// (promise L9).
func (s *Server) admit(h *Handshake, d *door) *Refusal {
	if !d.origins.allow(h.Request) {
		return &Refusal{Status: http.StatusForbidden, Reason: reasonOrigin}
	}
	if d.Resumes != nil && wantsWebSocket(h.Request) && d.Resumes(h.Request) {
		h.Resumed = true
		return nil
	}
	h.Token, h.Protocol = tokenOf(h.Request)
	id, err := d.Authenticate(h)
	if err != nil {
		return refusalOf(err, Refusal{Status: http.StatusForbidden, Reason: reasonToken, Cause: err})
	}
	reason := d.Unavailable()
	if s.listeners.stopping.Load() {
		reason = reasonStopping
	}
	if reason != "" {
		return &Refusal{Status: http.StatusServiceUnavailable, Reason: reason}
	}
	if max := s.cfg.MaxConnections; s.admitted.Add(1) > int64(max) && max > 0 {
		s.admitted.Add(-1)
		return &Refusal{Status: http.StatusServiceUnavailable, Reason: reasonFull}
	}
	if !s.addresses.entered(h.Remote) {
		s.admitted.Add(-1)
		return &Refusal{Status: http.StatusForbidden, Reason: reasonAddress}
	}
	h.Identity = id
	return nil
}

// note counts a refusal, and logs it once a minute. The answer is to be bare beyond the rate of the
// address: a 403 without a body.
func (s *Server) note(remote string, r *Refusal) (bare bool) {
	if n := s.refused.Note(r.Status, r.Reason, time.Now()); n > 0 {
		s.cfg.Log.Warn("handshake refused", zap.Int("status", r.Status), zap.String("reason", r.Reason), zap.Int64("since_last", n),
			zap.String("remote", remote), zap.Error(r.Cause))
	}
	return r.Status == http.StatusForbidden && !s.addresses.refused(remote)
}

// Allowed reports whether the page from which a request comes may connect. A Policy.Pages got the
// request.
func Allowed(r *http.Request) bool {
	return r.Context().Value(visitorKey{}).(*visitor).door.origins.allow(r)
}

// Admit makes a session of a request that a Policy.Pages got, by the checks and limits of a
// handshake: origin, token, Unavailable, and the limits of connections. The session counts as a
// connection until Release(Handshake.Remote) of the Server. A refused client has been answered.
func Admit(w http.ResponseWriter, r *http.Request) (*Handshake, bool) {
	v := r.Context().Value(visitorKey{}).(*visitor)
	s := v.door.server
	remote, _, _ := net.SplitHostPort(r.RemoteAddr)
	h := &Handshake{Request: r, Remote: remote, door: v.door, deadline: s.expires()}
	refusal := s.admit(h, v.door)
	if refusal == nil {
		return h, true
	}
	refusal.write(w, s.note(remote, refusal))
	return nil, false
}
