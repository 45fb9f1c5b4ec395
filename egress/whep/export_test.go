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
