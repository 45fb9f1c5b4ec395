package hls

// Pages returns how many playlists the Handler has made ready and still keeps.
func Pages(h *Handler) int {
	h.pages.mu.RLock()
	defer h.pages.mu.RUnlock()
	return len(h.pages.entries)
}
