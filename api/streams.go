package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/whipcast/whipcast/api/auth"
	"github.com/whipcast/whipcast/internal/problem"
	"github.com/whipcast/whipcast/stream"
)

// streamJSON is one stream as /v1/streams shows it.
type streamJSON struct {
	Name   string      `json:"name"`
	Live   bool        `json:"live"`
	Since  time.Time   `json:"since"` // of the last change of live or epoch
	Epoch  uint64      `json:"epoch"`
	Layers []layerJSON `json:"layers"`
	Watch  string      `json:"watch"` // path of the page
	Seat   string      `json:"seat"`
	// Latency is by hop, of the last one to two minutes; only told of one stream. A
	// hop that nothing is known of is not there.
	Latency map[string]hopJSON `json:"latency,omitzero"`
}

type layerJSON struct {
	Kind  string `json:"kind"`          // "audio" or "video"
	RID   string `json:"rid,omitempty"` // of a simulcast layer
	Codec string `json:"codec"`
	// Totals of the present or the last publisher: packets that are not repeated
	// ones, and the bytes of their payloads.
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
	// Findings are only told of one stream, not in the list of all.
	Findings []Finding `json:"findings,omitzero"`
}

// Finding is one thing that is wrong with a Layer, as /v1/streams/{stream} shows
// it. Codes are stable; words and remedy are for a person and may change.
type Finding struct {
	Code     string    `json:"code"`
	Severity string    `json:"severity"` // "note", "warning" or "problem"
	Words    string    `json:"words"`    // what is wrong
	Remedy   string    `json:"remedy"`   // what to do about it
	Since    time.Time `json:"since"`
	Measure  *Measure  `json:"measure,omitempty"` // behind it, where there is one
}

// Measure is a number with its unit: "s", "%", "ppm", "fps" or "/min".
type Measure struct {
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
}

// control answers everything below /v1/, to who may do that: an admin sees the
// streams of its grant, a publisher its own one.
func (s *Server) control(w http.ResponseWriter, r *http.Request) {
	// Pages of other origins may use the API: what protects it is the token,
	// which no browser sends by itself (specs X9, X10).
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	if r.Method == http.MethodOptions {
		h.Set("Access-Control-Allow-Methods", "GET, PUT, DELETE")
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
		h.Set("Access-Control-Max-Age", "7200")
		w.WriteHeader(http.StatusNoContent)
		return
	}
	h.Set("Access-Control-Expose-Headers", "WWW-Authenticate")
	h.Set("Cache-Control", "no-store")
	rest := strings.TrimPrefix(r.URL.Path, "/v1/")
	if name, ok := strings.CutPrefix(rest, "sources/"); ok {
		s.source(w, r, name)
		return
	}
	name, one := strings.CutPrefix(rest, "streams/")
	if !one {
		name = ""
	}
	grant, err := s.admit(r, name)
	if err != nil {
		refuse(w, r, err)
		return
	}
	if !readOnly(w, r) {
		return
	}
	switch {
	case rest == "streams":
		all := []streamJSON{}
		for _, each := range s.hub.Streams() {
			if grant.Permits(auth.Admin, each.Name(), time.Now()) == nil {
				all = append(all, describe(each.Name(), each.State()))
			}
		}
		reply(w, r, map[string]any{"streams": all})
	case rest == "sources":
		s.sources(w, r, grant)
	case one:
		found, err := s.find(name)
		if err != nil {
			refuse(w, r, err)
			return
		}
		reply(w, r, s.examine(found))
	default:
		refuse(w, r, problem.Problem{Status: http.StatusNotFound, Title: "no such resource", Detail: "the API has /v1/streams, /v1/streams/{stream}, /v1/sources and /v1/sources/{stream}"})
	}
}

// admit says what the request may see: of the stream of that name, or, for "", of
// the API as a whole. Who publishes a stream may see what is wrong with it.
func (s *Server) admit(r *http.Request, name string) (auth.Grant, error) {
	if !stream.ValidName(name) {
		name = "" // whatever it is, nothing is found
	}
	grant, err := s.auth.Decide(r.Context(), auth.Ask(r, auth.Admin, "api", name))
	if p, ok := errors.AsType[problem.Problem](err); ok && p.Status == http.StatusForbidden && name != "" {
		return s.auth.Decide(r.Context(), auth.Ask(r, auth.Publish, "api", name))
	}
	return grant, err
}

func (s *Server) find(name string) (*stream.Stream, error) {
	if !stream.ValidName(name) {
		return nil, stream.ErrName
	}
	found, ok := s.hub.Lookup(name)
	if !ok {
		return nil, errNoStream
	}
	return found, nil
}

func describe(name string, state stream.State) streamJSON {
	j := streamJSON{
		Name: name, Live: state.Live, Since: state.Since.UTC(), Epoch: state.Epoch,
		Layers: []layerJSON{}, Watch: "/watch/" + name, Seat: "/seat/" + name,
	}
	for _, source := range state.Sources {
		kind := "audio"
		if source.Layer.ID.Kind == stream.Video {
			kind = "video"
		}
		c := source.Counters()
		j.Layers = append(j.Layers, layerJSON{
			Kind: kind, RID: source.Layer.ID.RID, Codec: source.Layer.Codec.Name, Packets: c.Packets, Bytes: c.Bytes,
		})
	}
	return j
}

// examine describes one stream with the findings of its layers.
func (s *Server) examine(found *stream.Stream) streamJSON {
	state := found.State()
	j := describe(found.Name(), state)
	if s.cfg.Latency != nil {
		j.Latency = hopsOf(s.cfg.Latency.Find(found.Name()), time.Now())
	}
	if s.cfg.Findings == nil {
		return j
	}
	for i, source := range state.Sources {
		findings := []Finding{} // none is an empty list, and no list is no doctor
		for _, f := range s.cfg.Findings(found.Name(), source.Layer.ID) {
			f.Since = f.Since.UTC()
			findings = append(findings, f)
		}
		j.Layers[i].Findings = findings
	}
	return j
}

func reply(w http.ResponseWriter, r *http.Request, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		refuse(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(body)
}
