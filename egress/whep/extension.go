package whep

import (
	"net/http"
	"slices"
	"strings"

	"github.com/whipcast/whipcast/internal/problem"
	"github.com/whipcast/whipcast/internal/rtc"
	"github.com/whipcast/whipcast/stream"
)

// Methods of the extensions' resources.
const (
	eventMethods  = "DELETE, GET, HEAD, OPTIONS, POST"
	streamMethods = "DELETE, GET, HEAD, OPTIONS"
	listMethods   = "GET, HEAD, OPTIONS, POST"
	layerMethods  = "DELETE, OPTIONS, POST"
)

// extensions are the resources below each viewer's Session (draft-ietf-wish-whep
// §4.10): nobody need use them (specs E21).
//
//	POST        /session/{id}/events        makes an event stream
//	GET         /session/{id}/events        makes one and reads it: EventSource cannot POST
//	GET, DELETE /session/{id}/events/{name} reads it, ends it
//	POST        /session/{id}/layer         chooses what to see
//	DELETE      /session/{id}/layer         takes that back, as players do
func (s *Server) extensions() []rtc.Extension {
	return []rtc.Extension{
		{
			Name: "events", Relation: "urn:ietf:params:whep:ext:core:server-sent-events",
			Parameters: `events="` + eventNames() + `"`, Methods: eventMethods, Serve: s.serveEvents,
		},
		{
			Name: "layer", Relation: "urn:ietf:params:whep:ext:core:layer",
			Methods: layerMethods, Serve: s.serveLayer,
		},
	}
}

func gone(what string) error {
	return problem.Problem{Status: http.StatusNotFound, Title: "No such " + what, Detail: "it has ended or never was"}
}

// serveEvents answers at the events' URLs.
func (s *Server) serveEvents(x *rtc.Session, w http.ResponseWriter, r *http.Request, rest string) error {
	v := s.viewer(x)
	if v == nil {
		return gone("session")
	}
	switch {
	case rest == "" && r.Method == http.MethodPost:
		return v.makeStream(w, r)
	case rest == "" && r.Method == http.MethodDelete:
		return notAllowed(w, listMethods)
	case rest == "":
		return v.readNew(w, r)
	case r.Method == http.MethodPost:
		return notAllowed(w, streamMethods)
	}
	o := v.outbox(rest)
	if o == nil {
		return gone("event stream")
	}
	if r.Method == http.MethodDelete {
		v.drop(o)
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusOK)
		return nil
	}
	return v.read(o, w, r)
}

func notAllowed(w http.ResponseWriter, allow string) error {
	w.Header().Set("Allow", allow)
	return problem.Problem{Status: http.StatusMethodNotAllowed, Title: "Method not allowed", Detail: "this resource allows " + allow}
}

// makeStream answers the POST for an event stream (specs E25, E26).
func (v *viewer) makeStream(w http.ResponseWriter, r *http.Request) error {
	body, err := rtc.Body(w, r)
	if err != nil {
		return err
	}
	wants, err := parseEvents(body)
	if err != nil {
		return err
	}
	o, err := v.herald.greet(v, wants)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Location", strings.TrimSuffix(r.URL.EscapedPath(), "/")+"/"+o.id)
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusCreated)
	return nil
}

// readNew sends all events for as long as the request lasts.
func (v *viewer) readNew(w http.ResponseWriter, r *http.Request) error {
	if err := accepts(r); err != nil || r.Method == http.MethodHead {
		streamHeader(w.Header())
		return err
	}
	o, err := v.herald.greet(v, allEvents)
	if err != nil {
		return err
	}
	defer v.drop(o)
	return v.read(o, w, r)
}

// read sends an event stream (specs E25, E34).
func (v *viewer) read(o *outbox, w http.ResponseWriter, r *http.Request) error {
	if err := accepts(r); err != nil {
		return err
	}
	streamHeader(w.Header())
	if r.Method == http.MethodHead {
		return nil
	}
	reader, again := o.attach()
	if again {
		v.herald.remind(o)
	}
	w.WriteHeader(http.StatusOK)
	o.serve(r.Context(), w, reader)
	return nil
}

func streamHeader(h http.Header) {
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx passes each event on
}

// accepts refuses who does not want an event stream.
func accepts(r *http.Request) error {
	accept := strings.Join(r.Header.Values("Accept"), ",")
	if accept == "" || strings.Contains(accept, "text/event-stream") || strings.Contains(accept, "*/*") || strings.Contains(accept, "text/*") {
		return nil
	}
	return problem.Problem{
		Status: http.StatusNotAcceptable, Title: "Not acceptable",
		Detail: "this is an event stream: send Accept: text/event-stream",
	}
}

// serveLayer answers the POST that chooses a layer (specs E36, E37). Of what type the
// body claims to be is no matter: the draft's own example has it wrong.
func (s *Server) serveLayer(x *rtc.Session, w http.ResponseWriter, r *http.Request, rest string) error {
	v := s.viewer(x)
	if v == nil || rest != "" {
		return gone("session")
	}
	var c Choice
	if r.Method == http.MethodPost {
		var err error
		if c, err = v.wished(w, r); err != nil {
			return err
		}
	}
	v.choose(c)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	return nil
}

// wished reads what a viewer chooses, if that can be had.
func (v *viewer) wished(w http.ResponseWriter, r *http.Request) (Choice, error) {
	body, err := rtc.Body(w, r)
	if err != nil {
		return Choice{}, err
	}
	c, err := ParseChoice(body)
	if err != nil {
		return Choice{}, err
	}
	var layers []Layer
	for _, source := range v.stream.State().Sources {
		if source.Layer.ID.Kind == stream.Video {
			layers = append(layers, Layer{RID: source.Layer.ID.RID})
		}
	}
	return c, c.check(v.sections, layers)
}

// subscribe makes an event stream, for herald.greet.
func (v *viewer) subscribe(wants eventSet) (*outbox, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.over:
		return nil, gone("session")
	case len(v.outboxes) >= maxOutboxes:
		return nil, problem.Problem{
			Status: http.StatusTooManyRequests, Title: "Too many event streams",
			Detail: "a session may have four: end one by DELETE, or use it again",
		}
	}
	o := newOutbox(wants, v.server.cfg.Metrics)
	v.outboxes = append(v.outboxes, o)
	return o, nil
}

// outbox returns the event stream of an id, nil if there is none.
func (v *viewer) outbox(id string) *outbox {
	v.mu.Lock()
	defer v.mu.Unlock()
	if i := slices.IndexFunc(v.outboxes, func(o *outbox) bool { return o.id == id }); i >= 0 {
		return v.outboxes[i]
	}
	return nil
}

// drop ends an event stream (specs E28).
func (v *viewer) drop(o *outbox) {
	v.mu.Lock()
	v.outboxes = slices.DeleteFunc(v.outboxes, func(other *outbox) bool { return other == o })
	v.mu.Unlock()
	o.discard()
}

// push queues an event in all event streams.
func (v *viewer) push(k eventKind, data string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, o := range v.outboxes {
		o.push(k, data)
	}
}

// close ends all event streams, which send what waits (specs E28).
func (v *viewer) close(reason error) {
	if url, ok := v.server.farewell(v, reason); ok {
		v.push(eventReconnect, reconnectData(url))
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.over = true
	for _, o := range v.outboxes {
		o.finish()
	}
	v.outboxes = nil
}

// section returns the index of the viewer's video in its answer, -1 without.
func (v *viewer) section() int {
	return slices.IndexFunc(v.sections, func(s rtc.Section) bool { return s.Kind == rtc.Video })
}
