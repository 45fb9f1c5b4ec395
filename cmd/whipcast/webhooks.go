package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/whipcast/whipcast/api"
	"github.com/whipcast/whipcast/api/webhook"
	"github.com/whipcast/whipcast/configs"
	"github.com/whipcast/whipcast/packager/doctor"
	"github.com/whipcast/whipcast/replay"
	"github.com/whipcast/whipcast/stream"
)

const (
	// webhookFolder is the folder in the data directory that has what webhooks are yet
	// to be told, and what they were told of.
	webhookFolder = "webhooks"
	toldFile      = "told.json"
	maxTold       = 64 << 20 // bytes of it that are read
	// announceEvery is how often is looked for something new.
	announceEvery = 500 * time.Millisecond
)

// webhooks tells servers of the operator what happens. The zero value tells nobody.
type webhooks struct {
	sender *webhook.Sender // nil: nobody is to be told
	folder string
	log    *slog.Logger
}

// openWebhooks makes what webhooks of the configuration need.
func openWebhooks(config configs.Config, spans *spans, log *slog.Logger) (webhooks, error) {
	if len(config.Webhooks) == 0 {
		return webhooks{}, nil
	}
	w := webhooks{folder: filepath.Join(config.DataDir, webhookFolder), log: log}
	cfg := webhook.Config{Folder: w.folder, Around: spans.calls(), Logger: log}
	for i, h := range config.Webhooks {
		cfg.Hooks = append(cfg.Hooks, webhook.Hook{
			Name: fmt.Sprintf("webhook-%d", i+1), URL: h.URL, Secret: h.Secret, Events: h.Events, Streams: h.Streams,
		})
	}
	var err error
	if w.sender, err = webhook.New(cfg); err != nil {
		return w, &configs.Error{
			Key: "webhooks", Value: "(not shown)", Cause: err.Error(), Remedy: "correct the entry, or let this user write to webhooks in data_dir",
		}
	}
	return w, nil
}

// load returns what webhooks were told of by an earlier start.
func (w webhooks) load() announced {
	var told announced
	path := filepath.Join(w.folder, toldFile)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return told
	}
	if err == nil && info.Size() > maxTold {
		err = fmt.Errorf("%s has %d bytes", toldFile, info.Size())
	}
	var content []byte
	if err == nil {
		content, err = os.ReadFile(path) //nolint:gosec // in data_dir
	}
	if err == nil {
		err = json.Unmarshal(content, &told)
	}
	if err != nil {
		w.log.Warn("webhooks are told anew of all that is: what they were told before cannot be read", "error", err)
		return announced{}
	}
	return told
}

// save keeps what webhooks were told of. The file is replaced at once.
func (w webhooks) save(told announced) error {
	text, err := json.Marshal(told)
	if err == nil {
		path := filepath.Join(w.folder, toldFile)
		if err = os.WriteFile(path+".new", text, 0o600); err == nil {
			err = os.Rename(path+".new", path)
		}
	}
	if err != nil {
		return fmt.Errorf("keep what webhooks were told: %w", err)
	}
	return nil
}

// announce tells webhooks what happens until ctx ends. What happens by the end of the
// gateway itself is not told: streams go on after a restart.
func (g *gateway) announce(ctx context.Context) error {
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	sent := make(chan error, 1)
	go func() { sent <- g.webhooks.sender.Run(life) }() // it is waited for below
	a := newAnnouncer(g.webhooks.load(), time.Now().Add(g.config.HLS.Grace+announceEvery))
	tick := time.NewTicker(announceEvery)
	defer tick.Stop()
	var seen seenReplays
	for broken := false; ctx.Err() == nil; {
		now := g.situation()
		now.replays = seen.look(g.archive, len(a.told.Awaited))
		for _, e := range a.look(now) {
			g.webhooks.sender.Post(e)
		}
		if a.changed {
			err := g.webhooks.save(a.told)
			if err != nil && !broken {
				g.log.WarnContext(ctx, "webhooks would be told things twice, or not, after a restart now: let this user write to data_dir", "error", err)
			}
			broken = err != nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	cancel() // after the last Post
	return <-sent
}

// seenReplays says when there may be new replays: to look costs reads of files.
type seenReplays struct {
	made    uint64
	awaited int
}

func (s *seenReplays) look(archive *replay.Archive, awaited int) func(string) []replay.Replay {
	if archive == nil {
		return nil
	}
	made := archive.Metrics().Replays.Load()
	if awaited == 0 || s.made == made && s.awaited == awaited {
		return nil
	}
	s.made, s.awaited = made, awaited
	return archive.Replays
}

// situation returns how things are.
func (g *gateway) situation() situation {
	now := situation{at: time.Now().UTC(), streams: map[string]streamNow{}, storage: map[string]placeNow{}}
	for _, s := range g.hub.Streams() {
		state := s.State()
		is := streamNow{live: state.Live, epoch: state.Epoch, program: g.stages.program(s.Name())}
		if state.Left != nil {
			is.left = state.Left.Error()
		}
		if state.Live {
			for _, source := range state.Sources {
				is.findings = append(is.findings, g.problems(s.Name(), source.Layer.ID)...)
			}
		}
		now.streams[s.Name()] = is
	}
	for _, p := range g.places {
		m := p.queue.Metrics()
		now.storage[p.name] = placeNow{p.queue.Health(), m.Stored.Load()+m.Playlists.Load() > 0}
	}
	return now
}

// problems returns what viewers notice of a layer.
func (g *gateway) problems(name string, id stream.LayerID) []layerFinding {
	layer := "video"
	if id.Kind == stream.Audio {
		layer = "audio"
	}
	if id.RID != "" {
		layer += ":" + id.RID
	}
	var all []layerFinding
	for _, f := range g.packaging.findings(name, id) {
		if f.Severity == doctor.Problem {
			all = append(all, layerFinding{layer, f.Code, f.Words, f.Remedy})
		}
	}
	return all
}

// detail says in a line each how the receivers do.
func (w webhooks) detail() []string {
	if w.sender == nil {
		return nil
	}
	var lines []string
	for _, h := range w.sender.Health() {
		line := fmt.Sprintf("%s: %s, %d events wait", h.Name, h.State, h.Waiting)
		if h.Waiting > 0 {
			line += fmt.Sprintf(", the oldest for %v", time.Since(h.Oldest).Round(time.Second))
		}
		if h.Dropped > 0 {
			line += fmt.Sprintf("; %d were dropped", h.Dropped)
		}
		if h.Error != "" {
			line += fmt.Sprintf("; fails for %v: %s", time.Since(h.Since).Round(time.Second), h.Error)
		}
		lines = append(lines, line)
	}
	return lines
}

// metrics lists what is counted of the receivers.
func (w webhooks) metrics() []api.Metric {
	if w.sender == nil {
		return nil
	}
	var list []api.Metric
	for i, m := range w.sender.Metrics() {
		gauge := func(name, help string, read func(webhook.Health) float64) api.Metric {
			return api.Metric{Name: name, Help: help, Read: func() float64 { return read(w.sender.Health()[i]) }}
		}
		mine := []api.Metric{
			total("whipcast_webhook_events_total", "Events for a webhook.", &m.Events),
			total("whipcast_webhook_delivered_total", "Events that it took.", &m.Delivered),
			total("whipcast_webhook_failures_total", "Calls that it did not answer by 2xx.", &m.Failures),
			total("whipcast_webhook_dropped_total", "Events that were given up: too many waited, or too long, or it refused them.", &m.Dropped),
			total("whipcast_webhook_journal_errors_total", "Times that waiting events could not be written to data_dir.", &m.Journal),
			gauge("whipcast_webhook_up", "1 while it takes events.", func(h webhook.Health) float64 {
				if h.State != webhook.Working {
					return 0
				}
				return 1
			}),
			gauge("whipcast_webhook_waiting_events", "Events that wait.", func(h webhook.Health) float64 { return float64(h.Waiting) }),
			gauge("whipcast_webhook_oldest_seconds", "Age of the oldest of them.", func(h webhook.Health) float64 {
				if h.Waiting == 0 {
					return 0
				}
				return time.Since(h.Oldest).Seconds()
			}),
		}
		for j := range mine {
			mine[j].Labels = map[string]string{"webhook": w.sender.Health()[i].Name}
		}
		list = append(list, mine...)
	}
	return list
}
