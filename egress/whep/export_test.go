package whep

// Choices returns what the viewers have chosen.
func (s *Server) Choices() []Choice {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Choice
	for _, v := range s.sessionOf {
		c, _ := v.wish.get()
		c.spatial, c.temporal = 0, 0
		all = append(all, c)
	}
	return all
}

// Break puts something into what serves a stream's viewers that is a fault of the gateway
// when it is come upon: a track without an end, or a layer without a source.
func (s *Server) Break(name, part string) {
	st, _ := s.hub.Lookup(name)
	s.mu.Lock()
	a := s.audiences[st]
	s.mu.Unlock()
	a.mu.Lock()
	defer a.mu.Unlock()
	switch part {
	case "lane":
		l := a.lanes[0]
		l.add(&track{feeder: l})
	case "audience":
		a.ladder.rungs = append(a.ladder.rungs, rung{})
	}
}
