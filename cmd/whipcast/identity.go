package main

import (
	"crypto/rand"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/whipcast/whipcast/configs"
	"github.com/whipcast/whipcast/storage"
)

// identityFile is the name of the file in the data directory that has the
// gateway's name: it is the same gateway as long as it has that.
const identityFile = "gateway-id"

// self is who this gateway is, among those that write to the same places.
type self struct{ id, host string }

// identity returns who this gateway is. Who it was is read from the data
// directory, or noted there, if a place asks for it.
func identity(config configs.Config, log *slog.Logger) self {
	if !slices.ContainsFunc(config.Storage, func(s configs.Storage) bool { return s.Fence }) {
		return self{}
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "an unknown host"
	}
	path := filepath.Join(config.DataDir, identityFile)
	kept, err := os.ReadFile(path) //nolint:gosec // the operator names the folder
	if id := strings.TrimSpace(string(kept)); err == nil && id != "" && storage.CheckKey(id) == nil {
		return self{id, host}
	}
	me := self{strings.ToLower(rand.Text()[:12]), host}
	if err = os.MkdirAll(config.DataDir, 0o700); err == nil {
		err = writeSecret(path, me.id)
	}
	if err != nil {
		log.Warn("after a crash storage waits 30 s: who this gateway is cannot be kept; let this user write to data_dir", "error", err)
	}
	return me
}

// fence returns how this gateway claims streams in a place, nil where it does not.
func (s self) fence(entry configs.Storage, sink storage.Sink) *storage.Fence {
	store, ok := sink.(storage.Swapper)
	if !entry.Fence || !ok {
		return nil
	}
	return &storage.Fence{Store: store, Gateway: s.id, Host: s.host}
}
