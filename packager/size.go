package packager

import "github.com/whipcast/whipcast/stream"

// size is how big the pictures of a Layer are.
type size struct {
	id            stream.LayerID
	width, height int
}

// postSizes puts the sizes of what comes on the board.
func (w *ward) postSizes() {
	var all []size
	for _, p := range w.patients {
		if p.params != nil && p.params.Width > 0 {
			all = append(all, size{p.source.Layer.ID, displayed(p.params), p.params.Height})
		}
	}
	w.resized = false
	w.board.sizes.Store(&all)
}

// Size returns how big the pictures of a Layer are on square pixels; 0 while that is
// not known, and of a Layer that is not packaged. It may be called from any goroutine
// and does not wait.
func (p *Packager) Size(name string, id stream.LayerID) (width, height int) {
	b := p.boards.find(name)
	if b == nil {
		return 0, 0
	}
	if all := b.sizes.Load(); all != nil {
		for _, s := range *all {
			if s.id == id {
				return s.width, s.height
			}
		}
	}
	return 0, 0
}
