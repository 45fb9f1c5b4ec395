package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/whipcast/whipcast/api"
	"github.com/whipcast/whipcast/api/auth"
	"github.com/whipcast/whipcast/api/event"
	"github.com/whipcast/whipcast/configs"
	"github.com/whipcast/whipcast/egress/hls"
	"github.com/whipcast/whipcast/egress/whep"
	"github.com/whipcast/whipcast/ingest/whip"
	"github.com/whipcast/whipcast/internal/certificate"
	"github.com/whipcast/whipcast/internal/latency"
	"github.com/whipcast/whipcast/internal/rtc"
	"github.com/whipcast/whipcast/packager"
	"github.com/whipcast/whipcast/replay"
	"github.com/whipcast/whipcast/storage"
	"github.com/whipcast/whipcast/stream"
	"github.com/whipcast/whipcast/web"
)

// stopTime is how long a graceful stop may take in all.
const stopTime = 4500 * time.Millisecond

// recallWithin is how long the start waits for the streams of an earlier one, and
// besides for the first playlist that a place has the media of.
const recallWithin = 500 * time.Millisecond

// farewell is how long the origin still answers after the last segments are
// closed, so that players that hold no request just now get them too.
const farewell = time.Second

// gateway is everything, wired. openGateway binds the ports, so that a port that
// cannot be had ends the start; run serves.
//
//	WHIP ─▶ hub ─▶ packaging ─▶ store ─▶ HLS origin
//	         └───▶ WHEP     │     └▶ data_dir/dvr
//	                        └─▶ places, a queue each
type gateway struct {
	config configs.Config
	log    *slog.Logger
	secret secret
	tls    *certificate.Source // nil without http.tls

	auth      *auth.Authority
	hub       *stream.Hub
	engine    *rtc.Engine
	relays    relays
	sessions  *rtc.Registry
	viewers   *whep.Server
	rtsp      rtspDoor
	packaging packaging
	stages    *stages
	recalled  []string // streams of an earlier start
	window    window
	places    places
	archive   *replay.Archive // nil: no place keeps media
	webhooks  webhooks
	origin    *hls.Handler
	latency   *latency.Book
	api       *api.Server
	events    *event.Events
	spans     *spans
	public    *server
	admin     *server
	drainage  *drainage
	extra     []task // besides the gateway itself
}

// openGateway makes a gateway of a valid configuration. Close it, or run it.
func openGateway(ctx context.Context, config configs.Config, logs io.Writer) (*gateway, error) {
	g := &gateway{config: config, log: newLog(config.Log, logs), secret: secret{token: config.Auth.PublishToken}, drainage: newDrainage(), events: event.New(0), stages: &stages{}}
	var err error
	if g.secret.token == "" {
		if g.secret, err = publishToken(config.DataDir); err != nil {
			return nil, err
		}
	}
	if g.spans, err = openSpans(ctx, g.log); err != nil {
		return nil, err
	}
	if g.tls, err = openCertificate(config, g.log); err != nil { //nolint:contextcheck // what it asks ends with its Run
		return nil, err
	}
	if g.auth, err = openAuth(config, g.secret.token, g.stages, g.log); err != nil {
		return nil, err
	}
	if err := g.listen(ctx); err != nil {
		g.close()
		return nil, err
	}
	if err := g.openTURN(ctx); err != nil {
		g.close()
		return nil, err
	}
	if g.window, err = openWindow(ctx, config, g.log); err != nil {
		g.close()
		return nil, err
	}
	if g.archive, err = openArchive(config, tellReplay(g.events), g.log); err != nil {
		g.close()
		return nil, err
	}
	if g.places, err = openPlaces(ctx, config, g.window.store, g.archive, telling{g.log, g.spans}); err != nil {
		g.close()
		return nil, err
	}
	if g.webhooks, err = openWebhooks(config, g.spans, g.log); err != nil {
		g.close()
		return nil, err
	}
	if err := g.wire(ctx); err != nil {
		g.close()
		return nil, err
	}
	g.add("stages", g.stages.run)
	if g.webhooks.sender != nil {
		g.add("webhooks", g.announce)
	}
	g.add("checks", g.lookAround)
	g.add("drain", g.drains)
	if g.tls != nil {
		g.add("certificate", g.tls.Run)
	}
	return g, nil
}

// listen takes all ports.
func (g *gateway) listen(ctx context.Context) error {
	var err error
	if g.public, err = newServer(ctx, "http.address", g.config.HTTP.Address); err != nil {
		return err
	}
	if g.admin, err = newServer(ctx, "admin.address", g.config.Admin.Address); err != nil {
		return err
	}
	g.engine, err = rtc.New(rtc.Config{Address: g.config.Media.Address, PublicIPs: g.config.Media.PublicIPs, Logger: g.log})
	if errors.Is(err, rtc.ErrPublicIPs) {
		return &configs.Error{
			Key: "media.public_ips", Value: fmt.Sprint(g.config.Media.PublicIPs), Cause: err.Error(),
			Remedy: "remove the address, or bind one of its family by media.address",
		}
	}
	if err != nil {
		return bindError("media.address", g.config.Media.Address, err)
	}
	return nil
}

// remember opens what streams must remember over a restart, and makes the streams
// that an earlier start has left, so that they go on. Without it the gateway works,
// but a restart begins all presentations anew.
func (g *gateway) remember() packager.Ledger {
	notes, err := openLedger(g.config.DataDir)
	var names []string
	if err == nil {
		names, err = notes.streams()
	}
	if err != nil {
		g.log.Warn("players must reload after a restart: the state of streams cannot be kept; let this user write to data_dir", "error", err)
		return nil
	}
	for _, name := range names {
		if _, err := g.hub.Stream(name); err != nil {
			g.log.Warn("stream of an earlier start does not go on", "stream", name, "error", err)
			continue
		}
		g.recalled = append(g.recalled, name)
	}
	return notes
}

// recall waits until the streams of an earlier start are there, so that their
// viewers find them: requests wait meanwhile. Streams that do not go on cost the
// whole time.
func (g *gateway) recall(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, recallWithin+g.places.delay(g.config.HLS))
	defer cancel()
	for _, name := range g.recalled {
		_, _ = g.window.store.Get(ctx, name+"/index.m3u8", func(storage.Object) bool { return true })
	}
}

// wire makes all parts and joins them.
func (g *gateway) wire(ctx context.Context) error {
	var (
		store  = g.window.store
		limits = g.config.Limits
		cut    = g.config.HLS
		watch  = allowWatch(g.auth, g.config.Auth.Watch)
		all    = newCrowd(limits.Requests)

		counted  whep.Metrics
		received whip.Metrics
	)
	g.latency = latency.NewBook()
	g.hub = stream.NewHub(stream.Config{MaxStreams: limits.Streams})
	g.packaging = packaging{hub: g.hub, log: g.log, private: g.stages.Private, seats: packager.New(packager.Config{
		Segment: cut.Segment, Part: cut.Part, Window: cut.Segment, Grace: cut.Grace, Audio: packager.Opus,
		MaxBitrate: int64(limits.Bitrate) * 1e6,
	}, storage.Tee(), slog.New(slog.DiscardHandler)), packager: packager.New(packager.Config{
		Segment: cut.Segment, Part: cut.Part, Window: cut.Window, Grace: cut.Grace, Ledger: g.remember(),
		Record: g.record(), Audio: packager.Sound(cut.Audio), Latency: g.latency,
		MaxBitrate: int64(limits.Bitrate) * 1e6,
	}, g.places.with(store), g.log)}
	g.sessions = rtc.NewRegistry(g.engine, rtc.RegistryConfig{
		Publish: allow(g.auth, auth.Publish, "whip"), Watch: allow(g.auth, auth.Play, "whep"), MaxSessions: limits.Sessions,
		MaxPerAddress: limits.Address, MaxPerPrincipal: limits.Token, ICEServers: g.relays.servers, Relayed: g.relays.relayed, Logger: g.log,
	})
	g.viewers = whep.New(whep.Config{
		Grace: cut.Grace, MaxViewers: limits.Viewers, Metrics: &counted, Size: g.packaging.size, Known: g.expected,
	}, g.hub, g.sessions)
	if err := g.openRTSP(ctx); err != nil {
		return err
	}
	if err := g.openStages(); err != nil {
		return err
	}
	g.origin = hls.New(hls.Config{Authorize: watch, Latency: g.latency}, store)
	pages, err := web.Handler(web.Config{ValidName: stream.ValidName, MediaOrigins: mediaOrigins(g.config.Storage), Peer: g.config.Drain.Peer})
	if err != nil {
		return err
	}
	g.api = api.New(g.control(watch), g.hub, g.auth) //nolint:contextcheck // what it asks later does not wait
	metrics, err := api.NewMetrics(buildVersion(), g.hub, slices.Concat(g.metrics(store, &counted), g.places.metrics(), g.archiveMetrics(),
		g.webhooks.metrics(), authMetrics(g.auth), g.rtsp.metrics(), g.relays.metrics(), g.stageMetrics(), whipMetrics(&received), g.refusals(all, &counted, &received)))
	if err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	routes := api.Routes{
		WHIP: whip.New(whip.Config{MaxBitrate: int64(limits.Bitrate) * 1e6, Metrics: &received}, g.hub, g.sessions), WHEP: g.viewers,
		Session: g.sessions, HLS: g.origin, Pages: pages,
	}
	g.rtsp.before(&routes, g.auth)
	g.public.http = g.public.configure(front(g.config.HTTP, all, g.spans.handler(g.api.Public(routes))), secure(g.tls), g.log)
	// A viewer that reads slower than this is no viewer. Held requests set a
	// deadline of their own.
	g.public.http.WriteTimeout = time.Minute
	g.admin.http = g.admin.configure(g.api.Admin(metrics), nil, g.log)
	return nil
}

// detail says in a line each how what is beside the gateway does.
func (g *gateway) detail() []string { return append(g.places.detail(), g.webhooks.detail()...) }

// live returns the origin's share of a presentation: the playlists with parts,
// not the plain ones, which have the same keys and are for buckets.
func live(store storage.Sink) storage.Sink {
	return storage.Only(store, storage.Init, storage.Part, storage.Segment, storage.LowLatency, storage.Multivariant)
}

// add gives the gateway one more task, before run.
func (g *gateway) add(name string, run func(ctx context.Context) error) {
	g.extra = append(g.extra, task{name, run})
}

// close gives the ports back. It is for a gateway that does not run.
func (g *gateway) close() {
	for _, s := range []*server{g.public, g.admin} {
		if s != nil {
			_ = s.listener.Close()
		}
	}
	if g.engine != nil {
		_ = g.engine.Close()
	}
	if g.relays.own != nil {
		g.relays.own.Close()
	}
	g.rtsp.close()
	_ = g.window.close()
	g.places.close()
}

// run serves until ctx ends or a part fails, then stops all parts in the order
// in which media flows: sessions end, the last segments are closed and what must
// outlive the program is written, then the servers end, which releases held
// requests.
func (g *gateway) run(ctx context.Context) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	life := context.WithoutCancel(ctx) // each part ends when its turn has come

	queues := startTasks(life, fail, append(g.places.tasks(), g.archiveTasks()...)...)
	packaging := startTasks(life, fail, task{"packaging", g.packaging.run})
	g.recall(ctx)
	servers := startTasks(life, fail, append(g.relays.tasks(), task{"public server", g.public.serve}, task{"admin server", g.admin.serve}, task{"window", g.window.store.Run})...)
	sessions := startTasks(life, fail, append(g.rtsp.tasks(), task{"sessions", g.sessions.Run}, task{"viewers", g.viewers.Run}, looksAfter(g.auth, g.sessions.Sweep, g.rtsp.sweep))...)
	traces := startTasks(life, fail, g.spans.tasks(g.events)...)
	events := startTasks(life, fail, task{"events", g.api.Run})
	extra := startTasks(life, fail, g.extra...)
	g.api.Ready(true)
	g.log.InfoContext(ctx, "ready", "version", buildVersion(), "http", g.public.listener.Addr().String(),
		"admin", g.admin.listener.Addr().String(), "media", g.engine.Port())

	if !g.admin.private() {
		g.log.WarnContext(ctx, "admin.address is not loopback: whoever reaches it sees metrics and profiles", "admin", g.admin.listener.Addr().String())
	}

	select {
	case <-ctx.Done():
	case <-g.drainage.empty:
	}
	g.api.Ready(false)
	g.log.InfoContext(ctx, "stopping")
	stop, cancel := context.WithTimeout(life, stopTime)
	defer cancel()
	errs := []error{failure(ctx)}
	watched := len(g.hub.Streams()) > 0
	errs = append(errs, extra.stop(stop), sessions.stop(stop), packaging.stop(stop))
	rest, cancel := context.WithTimeout(stop, farewell)
	defer cancel()
	g.places.drain(stop, g.log)
	errs = append(errs, queues.stop(stop))
	if watched {
		<-rest.Done()
	}
	g.origin.Close()
	errs = append(errs, events.stop(stop), traces.stop(stop)) // after all that they tell of
	errs = append(errs, shutdown(stop, g.public, g.admin), servers.stop(stop), g.window.close(), g.engine.Close())
	g.places.close()
	errs = append(errs, g.spans.close(life))
	if err := errors.Join(errs...); err != nil {
		return err
	}
	g.log.InfoContext(life, "stopped")
	return nil
}

// failure returns what ended ctx if that was no request to stop.
func failure(ctx context.Context) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}
