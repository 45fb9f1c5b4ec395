package whep

import "github.com/whipcast/whipcast/internal/rtc"

// What an audience and a herald run serves many viewers. A fault of it ends these, and
// nobody else (specs X26). Who comes then begins with another one.

// guard makes a fault of f end the audience's viewers.
func (s *Server) guard(a *audience, f func()) func() {
	return s.sessions.Guard(f, func() {
		s.mu.Lock()
		if s.audiences[a.stream] == a {
			delete(s.audiences, a.stream)
		}
		s.mu.Unlock()
		a.end(rtc.ErrFault)
	})
}

// guardHerald makes a fault of f end the Sessions that the herald tells what happens.
func (s *Server) guardHerald(h *herald, f func()) func() {
	return s.sessions.Guard(f, func() {
		s.mu.Lock()
		if s.heralds[h.stream] == h {
			delete(s.heralds, h.stream)
		}
		s.mu.Unlock()
		h.end(rtc.ErrFault)
	})
}
