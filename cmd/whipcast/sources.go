package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/whipcast/whipcast/api"
	ingest "github.com/whipcast/whipcast/ingest/rtsp"
	"github.com/whipcast/whipcast/stream"
)

// sourcesFile is the file in the data directory that has the sources which the API
// was given. It has their credentials: only its owner reads it.
const sourcesFile = "sources.json"

// sources are the streams that are fetched: those of the configuration, which stay
// as they are, and those of the API, which may be anywhere on the public Internet
// only (specs X29).
type sources struct {
	puller *ingest.Puller
	demand *demand
	path   string
	most   int
	fixed  map[string]bool // of the configuration

	mu    sync.Mutex
	given map[string]api.SourceSettings // below mu; of the API, by stream
}

func newSources(puller *ingest.Puller, d *demand, data string, most int) *sources {
	return &sources{
		puller: puller, demand: d, path: filepath.Join(data, sourcesFile), most: most,
		fixed: map[string]bool{}, given: map[string]api.SourceSettings{},
	}
}

// fix adds a source of the configuration.
func (s *sources) fix(source ingest.Source) error {
	s.fixed[source.Stream] = true
	s.demand.set(source.Stream, source.OnDemand)
	return s.puller.Set(source)
}

// load adds what the API was given before.
func (s *sources) load() error {
	content, err := os.ReadFile(s.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	given := map[string]api.SourceSettings{}
	if err == nil {
		err = json.Unmarshal(content, &given)
	}
	if err != nil {
		aside, failed := putAside(s.path)
		if failed != nil {
			return fmt.Errorf("read sources: %w", errors.Join(err, failed))
		}
		return fmt.Errorf("read sources, whose file was put aside as %s: %w", aside, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(given)) {
		switch {
		case s.fixed[name]: // the configuration has it now
		case !stream.ValidName(name) || len(s.given) >= s.most:
			errs = append(errs, fmt.Errorf("read sources: %q has no valid name, or there are too many", name))
		default:
			if err := s.set(name, given[name]); err != nil {
				errs = append(errs, err)
				continue
			}
			s.given[name] = given[name]
		}
	}
	return errors.Join(errs...)
}

// set fetches a source of the API. Call it with mu.
func (s *sources) set(name string, settings api.SourceSettings) error {
	err := s.puller.Set(ingest.Source{
		Stream: name, URL: settings.URL, Transport: "tcp", OnDemand: settings.OnDemand, Fingerprint: settings.Fingerprint,
	})
	if err == nil {
		s.demand.set(name, settings.OnDemand)
	}
	return err
}

// save writes what the API was given: a reader finds the old file or the new one.
// Call it with mu.
func (s *sources) save(given map[string]api.SourceSettings) error {
	content, err := json.MarshalIndent(given, "", "  ")
	temporary := s.path + ".new"
	if err == nil {
		err = os.WriteFile(temporary, append(content, '\n'), 0o600)
	}
	if err == nil {
		err = os.Rename(temporary, s.path)
	}
	if err != nil {
		return fmt.Errorf("write sources: %w", err)
	}
	return nil
}

// Sources implements api.Sources.
func (s *sources) Sources() []api.Source {
	all := []api.Source{}
	for _, status := range s.puller.Status() {
		all = append(all, api.Source{
			Stream: status.Stream, State: string(status.State), Since: status.Since.UTC(), Error: status.Error, Failed: status.Failed,
		})
	}
	return all
}

// SetSource implements api.Sources.
func (s *sources) SetSource(_ context.Context, name string, settings api.SourceSettings) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, known := s.given[name]
	switch {
	case s.fixed[name]:
		return api.ErrSourceFixed
	case !known && len(s.given) >= s.most:
		return api.ErrSourcesFull
	case ingest.CheckURL(settings.URL) != nil:
		return api.ErrSourceURL
	}
	next := maps.Clone(s.given)
	next[name] = settings
	if err := s.save(next); err != nil {
		return err
	}
	s.given = next
	return s.set(name, settings)
}

// RemoveSource implements api.Sources.
func (s *sources) RemoveSource(_ context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fixed[name] {
		return api.ErrSourceFixed
	}
	if _, known := s.given[name]; !known {
		return api.ErrNoSource
	}
	next := maps.Clone(s.given)
	delete(next, name)
	if err := s.save(next); err != nil {
		return err
	}
	s.given = next
	s.puller.Remove(name)
	s.demand.set(name, false)
	return nil
}
