package api

import "github.com/danielgtaylor/huma/v2"

// ParseBeacon is parseBeacon.
var ParseBeacon = parseBeacon

// OpenAPI returns the description of the API.
func (s *Server) OpenAPI() *huma.OpenAPI { return s.router.api.OpenAPI() }

// Document returns it as it is sent.
func (s *Server) Document() []byte { return s.router.doc }

// Codes returns what an operation may answer with, by its ID.
func (s *Server) Codes() map[string][]Code { return s.router.codes }

// ListenersNow returns how many listen to events.
func (s *Server) ListenersNow() int64 { return s.listeners.Load() }

// WatchersNow returns how many watch stages.
func (s *Server) WatchersNow() int {
	s.watchers.mu.Lock()
	defer s.watchers.mu.Unlock()
	return s.watchers.all
}
