package main

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/whipcast/whipcast/api"
	"github.com/whipcast/whipcast/api/event"
	"github.com/whipcast/whipcast/configs"
	"github.com/whipcast/whipcast/egress/hls"
	"github.com/whipcast/whipcast/egress/whep"
	"github.com/whipcast/whipcast/internal/rtc"
	"github.com/whipcast/whipcast/internal/rtsp"
	"github.com/whipcast/whipcast/packager"
	"github.com/whipcast/whipcast/packager/fmp4"
	playlist "github.com/whipcast/whipcast/packager/hls"
	"github.com/whipcast/whipcast/replay"
	"github.com/whipcast/whipcast/storage"
	"github.com/whipcast/whipcast/storage/memory"
)

// control is what the API takes from the parts of the gateway.
func (g *gateway) control(watch hls.Authorize) api.Config {
	cfg := api.Config{
		Findings: detours(g.sessions.Detour, findings(g.packaging.findings)), Detail: g.detail, Renditions: renditions(g.window.store),
		Sessions: sessions{g.sessions, g.rtsp.server}, HLSViewers: g.origin.Viewers, Marks: marks{g.packaging, g.viewers.Tell}, Storage: g.places.health,
		Settings: func() []api.Setting { return settingsOf(g.config) }, Events: g.events,
		Latency: g.latency, Watch: mayReport(watch), Sources: g.rtsp.list, Stages: g.stages, Drainer: drainer{g}, Logger: g.log,
	}
	if g.archive != nil {
		cfg.Archive = archive{g.archive}
	}
	return cfg
}

// tellReplay publishes that a replay is there.
func tellReplay(events *event.Events) func(replay.Replay) {
	return func(r replay.Replay) {
		events.Publish(event.ReplayReady, r.Stream, event.Replay{Presentation: r.Presentation, Place: r.Place, At: r.At})
	}
}

func settingsOf(config configs.Config) []api.Setting {
	var all []api.Setting
	for _, s := range config.Shown() {
		all = append(all, api.Setting{Key: s.Key, Value: s.Value, Secret: s.Secret})
	}
	return all
}

// sessions shows those of WHIP, WHEP and RTSP.
type sessions struct {
	registry *rtc.Registry
	rtsp     *rtsp.Server // nil: there is none
}

func sessionOf(s rtc.Summary) api.Session {
	kind, protocol := api.Publishing, api.WHIP
	if s.Direction == rtc.Send {
		kind, protocol = api.Watching, api.WHEP
	}
	return api.Session{ID: s.ID, Kind: kind, Protocol: protocol, Stream: s.Stream, Principal: s.Principal, Since: s.Since.UTC(), Connected: s.Connected}
}

func (s sessions) All() []api.Session {
	var all []api.Session
	for _, one := range s.registry.Sessions() {
		all = append(all, sessionOf(one))
	}
	if s.rtsp != nil {
		for _, one := range s.rtsp.Sessions() {
			all = append(all, rtspSessionOf(one))
		}
	}
	return all
}

func rtspSessionOf(s rtsp.Summary) api.Session {
	kind := api.Watching
	if s.Publishes {
		kind = api.Publishing
	}
	return api.Session{ID: s.ID, Kind: kind, Protocol: api.RTSP, Stream: s.Stream, Principal: s.Principal, Since: s.Since.UTC(), Connected: true}
}

// rtspOne returns a session of RTSP.
func (s sessions) rtspOne(id string) (api.Session, bool) {
	if s.rtsp == nil {
		return api.Session{}, false
	}
	summary, sums, ok := s.rtsp.Session(id)
	if !ok {
		return api.Session{}, false
	}
	one := rtspSessionOf(summary)
	one.Statistics = &api.Statistics{
		BytesSent: sums.BytesSent, BytesReceived: sums.BytesReceived, PacketsSent: sums.PacketsSent, PacketsReceived: sums.PacketsReceived,
		Transport: sums.Transport,
	}
	return one, true
}

func (s sessions) One(id string) (api.Session, bool) {
	summary, sums, ok := s.registry.Session(id)
	if !ok {
		return s.rtspOne(id)
	}
	one := sessionOf(summary)
	if r, ok := s.registry.Report(id); ok {
		one.ICE = &api.ICE{
			Words: r.Words, Remedy: r.Remedy, Advertised: append([]string{}, r.Advertised...), Offered: append([]string{}, r.Offered...), Tried: append([]string{}, r.Tried...),
		}
	}
	one.Statistics = &api.Statistics{
		BytesSent: sums.BytesSent, BytesReceived: sums.BytesReceived, PacketsSent: sums.PacketsSent, PacketsReceived: sums.PacketsReceived,
		RoundTrip: sums.RoundTrip.Seconds(), Transport: sums.Transport, Local: sums.Local, Remote: sums.Remote,
	}
	if a := sums.Adaptation; a != nil {
		one.Statistics.Adaptation = &api.Adaptation{
			Layer: a.Layer, Automatic: a.Automatic, Estimate: a.Estimate, Ups: a.Ups, Downs: a.Downs, Probes: a.Probes,
		}
	}
	return one, true
}

func (s sessions) End(id string) bool {
	return s.registry.End(id) || s.rtsp != nil && s.rtsp.End(id)
}

func (s sessions) Reason(id string) string {
	reason := s.registry.Reason(id)
	if reason == "" && s.rtsp != nil {
		reason = s.rtsp.Reason(id)
	}
	return reason
}

// marks puts markers and messages into what a Packager makes, and hands messages to
// those who watch in real time.
type marks struct {
	packaging

	tell func(stream string, m whep.Message)
}

// refusal is a row of a table from errors to what the API says.
type refusal struct {
	is   error
	code api.Code
	tell bool // its words are for who asks
}

func refuse(err error, table ...refusal) error {
	for _, row := range table {
		if errors.Is(err, row.is) {
			detail := ""
			if row.tell {
				detail = err.Error()
			}
			return api.Refuse(row.code, detail)
		}
	}
	return err
}

func markError(err error) error {
	return refuse(err,
		refusal{packager.ErrUnknown, api.NotLive, false}, refusal{packager.ErrIdle, api.NotLive, false},
		refusal{playlist.ErrDateRangesFull, api.MarkersFull, false}, refusal{playlist.ErrDateRangeConflict, api.MarkerConflict, true},
		refusal{playlist.ErrDateRange, api.MarkerRefused, true}, refusal{packager.ErrMetadata, api.MessageRefused, true},
		refusal{fmp4.ErrID3, api.MessageRefused, true})
}

func (m marks) Mark(ctx context.Context, stream string, marker api.Marker) error {
	d := playlist.DateRange{ID: marker.ID, Class: marker.Class, SpliceOut: marker.SpliceOut, SpliceIn: marker.SpliceIn}
	if marker.Start != nil {
		d.Start = *marker.Start
	}
	if marker.End != nil {
		d.End = *marker.End
	}
	d.Duration, d.Planned = seconds(marker.Duration), seconds(marker.Planned)
	for _, name := range slices.Sorted(maps.Keys(marker.Attributes)) {
		d.Attributes = append(d.Attributes, playlist.Attribute{Name: name, Text: marker.Attributes[name]})
	}
	return markError(m.packager.Mark(ctx, stream, d))
}

func seconds(s *float64) *time.Duration {
	if s == nil {
		return nil
	}
	d := time.Duration(*s * float64(time.Second)).Round(time.Millisecond)
	return &d
}

func (m marks) Remove(ctx context.Context, stream, id string) error {
	return markError(m.packager.RemoveMark(ctx, stream, id))
}

// put puts a message into a stream's presentation. A seat's is seen by nobody: it need
// not have begun.
func (m marks) put(ctx context.Context, stream string, p packager.Metadata) error {
	if !m.private(stream) {
		return m.packager.Send(ctx, stream, p)
	}
	err := m.seats.Send(ctx, stream, p)
	if s, ok := m.hub.Lookup(stream); ok && s.State().Live && (errors.Is(err, packager.ErrIdle) || errors.Is(err, packager.ErrUnknown)) {
		return nil
	}
	return err
}

func (m marks) Send(ctx context.Context, stream string, message api.Message) error {
	p := packager.Metadata{Label: message.Label, Text: message.Text, Bytes: message.Bytes}
	if message.At != nil {
		p.At = *message.At
	}
	guests := whep.Message{Label: message.Label, Text: message.Bytes == nil, Payload: message.Bytes, At: p.At}
	if guests.Text {
		guests.Payload = []byte(message.Text)
	}
	if len(guests.Payload) > rtc.MaxMessage { // else the audience of HLS alone would get it
		return api.Refuse(api.MessageRefused, "a message has 16 KiB at most: send a link to what is longer")
	}
	if err := m.put(ctx, stream, p); err != nil {
		return markError(err)
	}
	m.tell(stream, guests)
	return nil
}

// archive shows what a replay.Archive keeps.
type archive struct{ kept *replay.Archive }

func archiveError(err error, unknown api.Code) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, replay.ErrStorage) { // its cause is for the log
		return errors.Join(api.Refuse(api.StorageFailed, ""), err)
	}
	return refuse(err,
		refusal{replay.ErrUnknown, unknown, false}, refusal{replay.ErrLive, api.ReplayLive, false}, refusal{replay.ErrExists, api.ClipExists, false},
		refusal{replay.ErrNoMedia, api.NoMedia, true}, refusal{replay.ErrTimes, api.Invalid, true}, refusal{replay.ErrPlace, api.Invalid, true}, refusal{storage.ErrKey, unknown, false})
}

func (a archive) Replays(stream string) []api.Replay {
	var all []api.Replay
	for _, r := range a.kept.Replays(stream) {
		one := api.Replay{
			Presentation: r.Presentation, Place: r.Place, Key: r.Key, At: r.At, Begin: r.Begin, End: r.End,
			Duration: r.Duration.Seconds(), Segments: r.Segments, Gaps: r.Gaps,
		}
		if !r.Until.IsZero() {
			one.Until = &r.Until
		}
		all = append(all, one)
	}
	return all
}

func (a archive) DeleteReplay(ctx context.Context, stream, presentation string) error {
	return archiveError(a.kept.DeleteReplay(ctx, stream, presentation), api.NoReplay)
}

func clipsOf(list []replay.Clip) []api.Clip {
	var all []api.Clip
	for _, c := range list {
		all = append(all, api.Clip{
			Name: c.Name, Place: c.Place, Key: c.Key, At: c.At, Begin: c.Begin, End: c.End,
			Start: c.Start.Seconds(), Duration: c.Duration.Seconds(), Segments: c.Segments, Gaps: c.Gaps,
		})
	}
	return all
}

func (a archive) Clips(stream string) []api.Clip { return clipsOf(a.kept.Clips(stream)) }

func (a archive) Clip(ctx context.Context, stream string, wanted api.ClipRequest) ([]api.Clip, error) {
	now := time.Now()
	from, err := replay.ParseMoment(wanted.From, now)
	if err != nil {
		return nil, api.Refuse(api.Invalid, "body.from: "+err.Error())
	}
	to, err := replay.ParseMoment(wanted.To, now)
	if err != nil {
		return nil, api.Refuse(api.Invalid, "body.to: "+err.Error())
	}
	made, err := a.kept.Clip(ctx, replay.Request{Stream: stream, From: from, To: to, Name: wanted.Name, Place: wanted.Place})
	return clipsOf(made), archiveError(err, api.NoMedia)
}

func (a archive) DeleteClip(ctx context.Context, stream, name string) error {
	return archiveError(a.kept.DeleteClip(ctx, stream, name), api.NoClip)
}

// health says how the places do.
func (all places) health() []api.Storage {
	var list []api.Storage
	for _, p := range all {
		h := p.queue.Health()
		list = append(list, api.Storage{
			Name: p.name, State: string(h.State), Error: h.Error, Failing: h.Failing.Seconds(), Files: h.Objects, Bytes: h.Bytes, Spooled: h.Spooled,
			Oldest: h.Oldest.Seconds(), Missing: h.Missing, Fenced: append([]string{}, h.Fenced...), Spool: h.SpoolError,
		})
	}
	return list
}

// renditions reads what players choose from where they do: in the multivariant playlist.
func renditions(store *memory.Store) func(name string) []api.Rendition {
	return func(name string) []api.Rendition { // it does not wait: what is not there is not waited for
		o, err := store.Get(context.Background(), name+"/index.m3u8", nil)
		if err != nil {
			return nil
		}
		return variants(string(o.Body.Bytes()))
	}
}

// variants reads the rows of a multivariant playlist of ours. One that is there for
// another sound has the URI of the row before.
func variants(text string) []api.Rendition {
	var all []api.Rendition
	var next *api.Rendition
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if list, ok := strings.CutPrefix(line, "#EXT-X-STREAM-INF:"); ok {
			next = variant(list)
		} else if next != nil && line != "" && !strings.HasPrefix(line, "#") {
			next.URI = line
			all = append(all, *next)
			next = nil
		}
	}
	return all
}

// variant reads a list of attributes (RFC 8216 §4.2).
func variant(list string) *api.Rendition {
	r := &api.Rendition{}
	for list != "" {
		var name, value string
		name, list, _ = strings.Cut(list, "=")
		if rest, quoted := strings.CutPrefix(list, `"`); quoted {
			value, list, _ = strings.Cut(rest, `"`)
			list = strings.TrimPrefix(list, ",")
		} else {
			value, list, _ = strings.Cut(list, ",")
		}
		switch name { // what does not parse is 0
		case "BANDWIDTH":
			r.Peak, _ = strconv.ParseUint(value, 10, 64)
		case "AVERAGE-BANDWIDTH":
			r.Average, _ = strconv.ParseUint(value, 10, 64)
		case "CODECS":
			r.Codecs = value
		case "RESOLUTION":
			r.Resolution = value
		case "FRAME-RATE":
			r.FrameRate, _ = strconv.ParseFloat(value, 64)
		}
	}
	return r
}
