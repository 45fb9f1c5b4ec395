package hls

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/whipcast/whipcast/internal/problem"
	"github.com/whipcast/whipcast/storage"
)

// send answers with a playlist.
func (h *Handler) send(w http.ResponseWriter, r *http.Request, o *storage.Object, wanted directives) error {
	p, err := h.pages.page(r.Context(), o)
	if err != nil {
		return err
	}
	s, body := p.choose(wanted.skip)
	h.pages.fill(s, body)

	to := w.Header()
	to["Content-Type"] = p.contentType
	to["Cache-Control"] = p.cacheRequest[wanted.visibility]
	if wanted.hasMSN {
		to["Cache-Control"] = p.cacheAnswer[wanted.visibility]
	}
	if p.modified != nil {
		to["Last-Modified"] = p.modified
	}
	to["Priority"] = h.header.playlist
	to["Vary"] = h.header.varyText
	text := s.plain
	to["Content-Length"] = s.plainLength
	if s.zip != nil && acceptsGzip(r.Header["Accept-Encoding"]) {
		text = s.zip
		to["Content-Encoding"] = h.header.gzip
		to["Content-Length"] = s.zipLength
	}
	sent := 0
	if r.Method != http.MethodHead {
		p.fetched()
		sent, _ = w.Write(text) // the viewer may be gone
	}
	h.tally.answered(kindOf(o), http.StatusOK, int64(sent))
	return nil
}

// media answers with a segment, a part or an initialization segment. All of it
// is in the store before its first byte leaves (specs L57).
func (h *Handler) media(w http.ResponseWriter, r *http.Request, t target) error {
	o, err := h.store.Get(r.Context(), t.key, nil)
	if errors.Is(err, storage.ErrNotFound) {
		o, err = h.hinted(w, r, t)
	}
	if err != nil {
		return err
	}
	body, status, size := o.Body, http.StatusOK, o.Body.Len()
	to := w.Header()
	if asked := r.Header["Range"]; len(asked) == 1 && r.Header["If-Range"] == nil {
		from, end, verdict := parseRange(asked[0], size)
		switch verdict {
		case beyond:
			to["Content-Range"] = []string{"bytes */" + strconv.Itoa(size)}
			return problem.Problem{
				Status: http.StatusRequestedRangeNotSatisfiable, Title: "Range not satisfiable",
				Detail: "The file ends before the range begins; Content-Range says where.",
			}
		case within:
			to["Content-Range"] = []string{"bytes " + strconv.Itoa(from) + "-" + strconv.Itoa(end-1) + "/" + strconv.Itoa(size)}
			body, status, size = body.Slice(from, end), http.StatusPartialContent, end-from
		case whole:
		}
	}
	values := [...]string{o.Type, strconv.Itoa(size)} // one allocation for both
	to["Content-Type"] = values[0:1:1]
	to["Content-Length"] = values[1:2:2]
	to["Cache-Control"] = h.header.cacheMedia[h.visible(t)]
	to["Accept-Ranges"] = h.header.bytes
	to["Priority"] = h.header.media
	w.WriteHeader(status)
	sent := int64(0)
	if r.Method != http.MethodHead {
		sent, _ = body.WriteTo(w) // the viewer may be gone
	}
	h.tally.answered(kindOf(&o), status, sent)
	return nil
}

// hinted waits for media that is not there, if the playlist beside it hints at
// it. All else is not found at once (specs L57, X28): names of parts can be
// guessed, and nobody may wait for what is not announced.
func (h *Handler) hinted(w http.ResponseWriter, r *http.Request, t target) (storage.Object, error) {
	playlist, err := h.store.Get(r.Context(), t.directory+playlistName, nil)
	if err != nil {
		return storage.Object{}, err
	}
	if playlist.Position.Hint != t.key {
		// The part may have come since we looked: it is stored before the playlist
		// hints at the next one.
		return h.store.Get(r.Context(), t.key, nil)
	}
	return h.hold(w, r, t, wait{playlist.Position.Target, func(storage.Object) bool { return true }})
}
