package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/whipcast/whipcast/stream"
)

// StreamPath is the name of a stream in a path. It is exported for huma, which fills no others that are embedded.
type StreamPath struct {
	Stream string `path:"stream" doc:"Name of the stream."`
}

type streamsIn struct {
	Page
	Prefix string `query:"prefix" maxLength:"64" doc:"Only names that begin so."`
	Live   string `query:"live" doc:"true: only those that are published; false: only those that are not."`
}

type streamsOut struct {
	Body StreamList
}

// StreamList is a page of streams.
type StreamList struct {
	Streams []Stream `json:"streams" nullable:"false"`
	Next    string   `json:"next,omitempty" doc:"Cursor of the next page; none at the end."`
}

type streamOut struct {
	Body Stream
}

func (s *Server) streamOperations(t *router) {
	add(t, operation{
		id: "listStreams", method: http.MethodGet, path: "/v1/streams", tag: "Streams", scope: anyAdmin,
		summary: "All streams", codes: []Code{Malformed, Invalid},
	}, s.listStreams)
	add(t, operation{
		id: "getStream", method: http.MethodGet, path: "/v1/streams/{stream}", tag: "Streams", scope: orPublisher,
		summary: "One stream, with what is wrong with it", codes: []Code{NoStream},
	}, func(_ context.Context, in *StreamPath) (*streamOut, error) {
		found, err := s.find(in.Stream)
		if err != nil {
			return nil, err
		}
		return &streamOut{s.examine(found)}, nil
	})
}

// listStreams returns a page of what who asks may see.
func (s *Server) listStreams(ctx context.Context, in *streamsIn) (*streamsOut, error) {
	if in.Live != "" && in.Live != "true" && in.Live != "false" {
		return nil, Refuse(Invalid, "query.live is true or false")
	}
	grant, viewers := grantOf(ctx), s.countViewers()
	var all []row[Stream]
	for _, each := range s.hub.Streams() {
		state := each.State()
		if !sees(grant, each.Name()) || !strings.HasPrefix(each.Name(), in.Prefix) || in.Live != "" && state.Live != (in.Live == "true") {
			continue
		}
		all = append(all, row[Stream]{each.Name(), s.describe(each.Name(), state, viewers)})
	}
	rows, next, err := cut(all, in.Page)
	return &streamsOut{StreamList{rows, next}}, err
}

func (s *Server) find(name string) (*stream.Stream, error) {
	if !stream.ValidName(name) {
		return nil, stream.ErrName
	}
	found, ok := s.hub.Lookup(name)
	if !ok {
		return nil, Refuse(NoStream, "")
	}
	return found, nil
}

// countViewers counts the connected viewers of all streams, without those by HLS; nil:
// nobody does.
func (s *Server) countViewers() map[string]Viewers {
	if s.cfg.Sessions == nil {
		return nil
	}
	all := map[string]Viewers{}
	for _, one := range s.cfg.Sessions.All() {
		if one.Kind != Watching || !one.Connected {
			continue
		}
		v := all[one.Stream]
		if one.Protocol == RTSP {
			v.RTSP++
		} else {
			v.WHEP++
		}
		all[one.Stream] = v
	}
	return all
}

func (s *Server) describe(name string, state stream.State, viewers map[string]Viewers) Stream {
	j := Stream{
		Name: name, Live: state.Live, Since: state.Since.UTC(), Epoch: state.Epoch,
		Layers: []Layer{}, Watch: "/watch/" + name, Seat: "/seat/" + name,
	}
	if viewers != nil {
		v := viewers[name]
		if s.cfg.HLSViewers != nil {
			v.HLS = s.cfg.HLSViewers(name)
		}
		v.Total = v.WHEP + v.RTSP + v.HLS
		j.Viewers = &v
	}
	for _, source := range state.Sources {
		c := source.Counters()
		j.Layers = append(j.Layers, Layer{
			Kind: kindOf(source.Layer.ID), RID: source.Layer.ID.RID, Codec: source.Layer.Codec.Name,
			Packets: c.Packets, Bytes: c.Bytes, Bitrate: s.meter.rate(source),
		})
	}
	return j
}

func kindOf(id stream.LayerID) string {
	if id.Kind == stream.Video {
		return "video"
	}
	return "audio"
}

// examine describes one stream with the findings of its layers.
func (s *Server) examine(found *stream.Stream) Stream {
	state := found.State()
	j := s.describe(found.Name(), state, s.countViewers())
	if s.cfg.Renditions != nil {
		j.Renditions = append([]Rendition{}, s.cfg.Renditions(found.Name())...)
	}
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
