package api

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/whipcast/whipcast/stream"
)

// Metric is one number that another package counts, read at each scrape. Its
// name is whipcast_<package>_<noun>_<unit>, ending in _total if it only rises.
// No metric is told apart by stream: a stream's name can be a secret (specs X35).
type Metric struct {
	Name  string
	Help  string
	Total bool // it only rises
	// Labels tell several of one name from each other; all must have the same names.
	Labels map[string]string
	Read   func() float64
}

// NewMetrics returns a registry of its own with the process's, the runtime's and
// the hub's numbers, and the ones given. It fails when a name is not usable or
// given twice.
func NewMetrics(version string, hub *stream.Hub, more []Metric) (*prometheus.Registry, error) {
	registry := prometheus.NewRegistry()
	all := []prometheus.Collector{
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "whipcast_build", Help: "Always 1; the label says which version runs.",
			ConstLabels: prometheus.Labels{"version": version},
		}, func() float64 { return 1 }),
	}
	for _, m := range append(hubMetrics(hub), more...) {
		if m.Total {
			all = append(all, prometheus.NewCounterFunc(prometheus.CounterOpts{Name: m.Name, Help: m.Help, ConstLabels: m.Labels}, m.Read))
		} else {
			all = append(all, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: m.Name, Help: m.Help, ConstLabels: m.Labels}, m.Read))
		}
	}
	for _, c := range all {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	return registry, nil
}

func hubMetrics(hub *stream.Hub) []Metric {
	return []Metric{
		{Name: "whipcast_stream_streams", Help: "Streams that exist, with or without publisher.", Read: func() float64 {
			return float64(len(hub.Streams()))
		}},
		{Name: "whipcast_stream_live", Help: "Streams with a publisher.", Read: func() float64 {
			live := 0
			for _, s := range hub.Streams() {
				if s.State().Live {
					live++
				}
			}
			return float64(live)
		}},
	}
}
