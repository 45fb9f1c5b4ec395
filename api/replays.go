package api

import (
	"context"
	"net/http"
	"time"

	"github.com/whipcast/whipcast/api/event"
	"github.com/whipcast/whipcast/stream"
)

// Archive is what is kept of streams. Its errors are made by Refuse. Any goroutine may
// call it.
type Archive interface {
	Replays(stream string) []Replay
	DeleteReplay(ctx context.Context, stream, presentation string) error
	Clips(stream string) []Clip
	// Clip makes one, in each place that keeps media or in the one that is named. What
	// could be made is returned beside an error.
	Clip(ctx context.Context, stream string, wanted ClipRequest) ([]Clip, error)
	DeleteClip(ctx context.Context, stream, name string) error
}

type keptIn struct {
	StreamPath
	Page
	Place string `query:"place" maxLength:"64" doc:"Only those in this storage place."`
}

type replaysOut struct {
	Body ReplayList
}

// ReplayList is a page of replays.
type ReplayList struct {
	Replays []Replay `json:"replays" nullable:"false"`
	Next    string   `json:"next,omitempty" doc:"Cursor of the next page; none at the end."`
}

type replayPath struct {
	StreamPath
	Presentation string `path:"presentation" doc:"As it is listed."`
}

type clipsOut struct {
	Body ClipList
}

// ClipList is a page of clips.
type ClipList struct {
	Clips []Clip `json:"clips" nullable:"false"`
	Next  string `json:"next,omitempty" doc:"Cursor of the next page; none at the end."`
}

type clipIn struct {
	StreamPath
	Body ClipRequest
}

type clipPath struct {
	StreamPath
	Clip string `path:"clip" doc:"Name of the clip."`
}

func (s *Server) replayOperations(t *router) {
	add(t, operation{
		id: "listReplays", method: http.MethodGet, path: "/v1/streams/{stream}/replays", tag: "Replays and clips", scope: ofStream,
		summary: "What can be watched of a stream though it has ended", codes: []Code{NoStream, Malformed, Invalid},
	}, s.listReplays)
	add(t, operation{
		id: "deleteReplay", method: http.MethodDelete, path: "/v1/streams/{stream}/replays/{presentation}", tag: "Replays and clips", scope: ofStream,
		summary: "Delete a replay from all places, with its clips", status: http.StatusNoContent,
		codes: []Code{NoStream, NoArchive, NoReplay, ReplayLive, StorageFailed},
	}, func(ctx context.Context, in *replayPath) (*struct{}, error) {
		archive, err := s.archive(in.Stream)
		if err == nil {
			err = archive.DeleteReplay(ctx, in.Stream, in.Presentation)
		}
		if err == nil {
			s.events.Publish(event.ReplayDeleted, in.Stream, event.Replay{Presentation: in.Presentation})
		}
		return nil, err
	})
	add(t, operation{
		id: "listClips", method: http.MethodGet, path: "/v1/streams/{stream}/clips", tag: "Replays and clips", scope: ofStream,
		summary: "The clips of a stream", codes: []Code{NoStream, Malformed, Invalid},
	}, s.listClips)
	add(t, operation{
		id: "makeClip", method: http.MethodPost, path: "/v1/streams/{stream}/clips", tag: "Replays and clips", scope: ofStream,
		summary: "List a part of a stream, while it goes on or later", status: http.StatusCreated,
		codes: []Code{NoStream, NoArchive, NoMedia, ClipExists, StorageFailed},
	}, s.makeClip)
	add(t, operation{
		id: "deleteClip", method: http.MethodDelete, path: "/v1/streams/{stream}/clips/{clip}", tag: "Replays and clips", scope: ofStream,
		summary: "Delete a clip from all places", status: http.StatusNoContent, codes: []Code{NoStream, NoArchive, NoClip, StorageFailed},
	}, func(ctx context.Context, in *clipPath) (*struct{}, error) {
		archive, err := s.archive(in.Stream)
		if err == nil {
			err = archive.DeleteClip(ctx, in.Stream, in.Clip)
		}
		if err == nil {
			s.events.Publish(event.ClipDeleted, in.Stream, event.Clip{Name: in.Clip})
		}
		return nil, err
	})
}

// archive returns what keeps media. What is kept of a stream outlives it.
func (s *Server) archive(name string) (Archive, error) {
	switch {
	case !stream.ValidName(name):
		return nil, stream.ErrName
	case s.cfg.Archive == nil:
		return nil, Refuse(NoArchive, "")
	}
	return s.cfg.Archive, nil
}

// sortable writes a time so that texts sort as times do.
func sortable(t time.Time) string { return t.UTC().Format("20060102150405.000000000") }

func (s *Server) listReplays(_ context.Context, in *keptIn) (*replaysOut, error) {
	if !stream.ValidName(in.Stream) {
		return nil, stream.ErrName
	}
	var all []row[Replay]
	if s.cfg.Archive != nil {
		for _, r := range s.cfg.Archive.Replays(in.Stream) {
			if in.Place == "" || in.Place == r.Place {
				all = append(all, row[Replay]{sortable(r.Begin) + r.Presentation + "/" + r.Place, r})
			}
		}
	}
	rows, next, err := cut(all, in.Page)
	return &replaysOut{ReplayList{rows, next}}, err
}

func (s *Server) listClips(_ context.Context, in *keptIn) (*clipsOut, error) {
	if !stream.ValidName(in.Stream) {
		return nil, stream.ErrName
	}
	var all []row[Clip]
	if s.cfg.Archive != nil {
		for _, c := range s.cfg.Archive.Clips(in.Stream) {
			if in.Place == "" || in.Place == c.Place {
				all = append(all, row[Clip]{sortable(c.Begin) + c.Name + "/" + c.Place, c})
			}
		}
	}
	rows, next, err := cut(all, in.Page)
	return &clipsOut{ClipList{rows, next}}, err
}

func (s *Server) makeClip(ctx context.Context, in *clipIn) (*clipsOut, error) {
	archive, err := s.archive(in.Stream)
	if err != nil {
		return nil, err
	}
	if in.Body.Name != "" && !stream.ValidName(in.Body.Name) {
		return nil, Refuse(Invalid, "body.name is 1 to 64 letters, digits and . _ - beginning with a letter or digit")
	}
	made, err := archive.Clip(ctx, in.Stream, in.Body)
	for _, c := range made {
		s.events.Publish(event.ClipReady, in.Stream, event.Clip{Name: c.Name, Place: c.Place, At: c.At})
	}
	return &clipsOut{ClipList{Clips: append([]Clip{}, made...)}}, err
}
