package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/whipcast/whipcast/api"
	"github.com/whipcast/whipcast/configs"
	"github.com/whipcast/whipcast/packager"
	"github.com/whipcast/whipcast/replay"
	"github.com/whipcast/whipcast/storage"
)

// replayFolder is the folder in the data directory that has the records of what
// places keep.
const replayFolder = "replay"

// openArchive opens the archive of the places that keep media; nil if none does.
func openArchive(config configs.Config, log *slog.Logger) (*replay.Archive, error) {
	if !slices.ContainsFunc(config.Storage, func(s configs.Storage) bool { return s.Keep != 0 }) {
		return nil, nil //nolint:nilnil // there is none, and nothing is wrong
	}
	return replay.Open(replay.Config{Folder: filepath.Join(config.DataDir, replayFolder), Window: config.HLS.Window, Logger: log})
}

// record returns what the packager tells of its segments; nil if nobody wants it.
func (g *gateway) record() packager.Record {
	if g.archive == nil {
		return nil
	}
	return g.archive
}

// archiveTasks are what the archive does beside.
func (g *gateway) archiveTasks() []task {
	if g.archive == nil {
		return nil
	}
	return []task{{"replays", g.archive.Run}}
}

// keep describes a place to the archive.
func keep(name string, entry configs.Storage, raw storage.Sink) replay.Place {
	sink := storage.Retry(raw, storage.Policy{})
	if entry.Gzip {
		sink = storage.Gzip(sink)
	}
	p := replay.Place{
		ID: placeID(entry), Name: name, Sink: sink, Keep: entry.Keep, Replay: entry.Replay,
		Locate: func(key string) string { return locate(entry, key) },
	}
	if entry.Keep == configs.KeepForever {
		p.Keep = replay.Forever
	}
	p.Holder, _ = raw.(storage.Holder)
	return p
}

// begin makes the queue of a place: raw stores, and sink is what the queue writes
// to. A place that keeps media notes what it has stored, and leaves deleting to the
// archive, which writes to the place by itself.
func (p *place) begin(entry configs.Storage, archive *replay.Archive, raw, sink storage.Sink, queue storage.QueueConfig) {
	if entry.Keep == 0 {
		p.queue = storage.NewQueue(sink, queue)
		return
	}
	queue.Keeps = isKept
	kept := keep(p.name, entry, raw)
	p.queue = storage.NewQueue(archive.Noting(kept.ID, sink), queue)
	kept.Settle = p.queue.Settle
	archive.Add(kept)
}

// isKept says whether a key is that of media that is worth to be kept: a segment or
// an initialization segment, no part and no playlist.
func isKept(key string) bool {
	name := path.Base(key)
	return strings.HasPrefix(name, "s") || strings.HasPrefix(name, "init-")
}

// placeID tells places apart by where they are, also when their order in the
// configuration changes.
func placeID(entry configs.Storage) string {
	sum := sha256.Sum256([]byte(locate(entry, "")))
	return entry.Type + "-" + hex.EncodeToString(sum[:4])
}

// locate says where a key is, without secrets.
func locate(entry configs.Storage, key string) string {
	switch entry.Type {
	case "s3":
		if entry.Prefix != "" {
			key = entry.Prefix + "/" + key
		}
		if entry.Endpoint != "" {
			return strings.TrimSuffix(entry.Endpoint, "/") + "/" + entry.Bucket + "/" + key
		}
		return "s3://" + entry.Bucket + "/" + key
	case "httpput":
		u, err := url.Parse(entry.URL)
		if err != nil {
			return key
		}
		return u.Scheme + "://" + u.Host + strings.TrimSuffix(u.Path, "/") + "/" + key
	}
	folder, err := filepath.Abs(entry.Path)
	if err != nil {
		folder = entry.Path
	}
	return filepath.Join(folder, filepath.FromSlash(key))
}

// openKept opens the places that keep media for a command that is not the gateway;
// it may run at the same time. Close them.
func openKept(ctx context.Context, config configs.Config, log *slog.Logger) (*replay.Archive, places, error) {
	archive, err := openArchive(config, log)
	if err != nil {
		return nil, nil, err
	}
	if archive == nil {
		return nil, nil, &configs.Error{
			Key: "storage", Cause: "no place keeps media longer than the live window",
			Remedy: "set keep of an entry to forever, or to a time such as 24h",
		}
	}
	var all places
	for i, entry := range config.Storage {
		if entry.Keep == 0 {
			continue
		}
		p := newPlace(i, entry)
		sink, err := openSink(ctx, entry, config.HLS, &p)
		if err != nil {
			all.close()
			return nil, nil, &configs.Error{
				Key: "storage", Value: p.name, Cause: err.Error(), Remedy: fmt.Sprintf("correct entry %d", i+1),
			}
		}
		archive.Add(keep(p.name, entry, sink))
		all = append(all, p)
	}
	return archive, all, nil
}

// archiveMetrics lists what the archive counts.
func (g *gateway) archiveMetrics() []api.Metric {
	if g.archive == nil {
		return nil
	}
	m := g.archive.Metrics()
	return []api.Metric{
		total("whipcast_replay_written_total", "Replays whose playlists were stored, one for each place.", &m.Replays),
		total("whipcast_replay_clips_total", "Clips made by this process.", &m.Clips),
		total("whipcast_replay_deleted_total", "Files deleted because the time of keep was over.", &m.Deleted),
		total("whipcast_replay_failures_total", "Records, playlists and deletions that failed, and are tried again.", &m.Failures),
	}
}
