package api

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/whipcast/whipcast/internal/latency"
	"github.com/whipcast/whipcast/stream"
)

// Metric is one or several numbers of one name that another package counts, read
// at each scrape. The name is whipcast_<package>_<noun>_<unit>, in base units,
// ending in _total if it only rises. One of Read, Each and Histogram is set; they
// may be called from any goroutine, several at once, and must not wait.
//
// No metric is told apart by stream, token or address: a stream's name can be a
// secret (specs X35), and names come from outside without end. What is known of
// one stream is in /v1/streams/{stream}, which asks for a token.
type Metric struct {
	Name  string
	Help  string
	Total bool // it only rises
	// Labels tell several Metrics of one name from each other; all must have the
	// same names.
	Labels map[string]string
	Read   func() float64
	// Each yields several numbers with the values of the labels Names, always the
	// same ones, also those that are 0: a series that comes with its first event
	// hides that from rate().
	Each  func(yield func(number float64, values ...string))
	Names []string
	// Histogram returns how values are spread, in base units.
	Histogram func() latency.Snapshot
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
			Name: "whipcast_build_info", Help: "Always 1; the label says which version runs.",
			ConstLabels: prometheus.Labels{"version": version},
		}, func() float64 { return 1 }),
	}
	for _, m := range append(hubMetrics(hub), more...) {
		all = append(all, newCollector(m))
	}
	for _, c := range all {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	return registry, nil
}

// collector is a Metric as Prometheus asks for it.
type collector struct {
	metric Metric
	desc   *prometheus.Desc
	kind   prometheus.ValueType
}

func newCollector(m Metric) collector {
	kind := prometheus.GaugeValue
	if m.Total {
		kind = prometheus.CounterValue
	}
	return collector{m, prometheus.NewDesc(m.Name, m.Help, m.Names, m.Labels), kind}
}

// Describe implements prometheus.Collector.
func (c collector) Describe(to chan<- *prometheus.Desc) { to <- c.desc }

// Collect implements prometheus.Collector.
func (c collector) Collect(to chan<- prometheus.Metric) {
	switch m := c.metric; {
	case m.Each != nil:
		m.Each(func(number float64, values ...string) {
			to <- prometheus.MustNewConstMetric(c.desc, c.kind, number, values...)
		})
	case m.Histogram != nil:
		to <- histogram(c.desc, m.Histogram())
	default:
		to <- prometheus.MustNewConstMetric(c.desc, c.kind, m.Read())
	}
}

// histogram makes of a Snapshot, whose counts are of each bucket alone, what
// Prometheus wants: how many values are not above a bound.
func histogram(desc *prometheus.Desc, s latency.Snapshot) prometheus.Metric {
	buckets := make(map[float64]uint64, len(s.Bounds))
	var below uint64
	for i, bound := range s.Bounds {
		below += s.Counts[i]
		buckets[bound] = below
	}
	return prometheus.MustNewConstHistogram(desc, s.Count(), s.Sum, buckets)
}

func hubMetrics(hub *stream.Hub) []Metric {
	all := hub.Totals()
	return append([]Metric{
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
		{
			Name: "whipcast_stream_layers", Help: "Layers that are published now, by codec.", Names: []string{"codec"},
			Each: func(yield func(float64, ...string)) {
				count := make(map[string]int, len(codecNames()))
				for _, s := range hub.Streams() {
					if state := s.State(); state.Live {
						for _, source := range state.Sources {
							count[source.Layer.Codec.Name]++
						}
					}
				}
				for _, name := range codecNames() {
					yield(float64(count[name]), name)
				}
			},
		},
	},
		Total("whipcast_stream_publishers_total", "Publishers that were let in.", all.Sessions.Load),
		Total("whipcast_stream_received_packets_total", "RTP packets received of publishers, without repeated ones.", all.Packets.Load),
		Total("whipcast_stream_received_bytes_total", "Their payload: what publishers send.", all.Bytes.Load),
		Total("whipcast_stream_repeated_packets_total", "RTP packets received that were there already.", all.Duplicates.Load),
		Total("whipcast_stream_refused_packets_total", "RTP packets received after their session had ended.", all.Dropped.Load),
		Total("whipcast_stream_keyframe_requests_total", "Keyframes asked for from publishers, after requests are joined.", all.KeyframeRequests.Load),
	)
}

// codecNames are those that a Layer can have. What is not known is not counted.
func codecNames() []string {
	names := []string{"H264", "H265", "AV1", "VP9", "VP8", "Opus", "AAC"}
	slices.Sort(names)
	return names
}

// Total returns a Metric of a number that only rises.
func Total(name, help string, read func() uint64) Metric {
	return Metric{Name: name, Help: help, Total: true, Read: func() float64 { return float64(read()) }}
}

// LatencyMetrics returns what a Book has: glass-to-glass latency by hop, and what
// players report.
func LatencyMetrics(book *latency.Book) []Metric {
	var all []Metric
	for _, hop := range latency.Hops() {
		all = append(all, Metric{
			Name: "whipcast_latency_seconds", Labels: map[string]string{"hop": hop.String()},
			Help: "How long media takes for a stretch of its way: capture is from the publisher's camera to reception, package from there " +
				"to the playlist, first_fetch and fetch from there to the first and to each answer with it, player from reception to the screen.",
			Histogram: func() latency.Snapshot { return book.Total(hop) },
		})
	}
	return append(all,
		Metric{Name: "whipcast_player_buffer_seconds", Help: "Media that players have loaded ahead, as they report it.", Histogram: book.Buffer},
		Metric{Name: "whipcast_player_media_bytes_per_second", Help: "Rate of the media that players ask for, as they report it: 8 times that is the bit rate.", Histogram: book.Bitrate},
		Total("whipcast_player_stalls_total", "Times that the picture stood still at a viewer, as players report it.", book.Stalls),
		Metric{
			Name: "whipcast_player_reports_total", Help: "Reports of players that were taken, by the way they came.", Total: true, Names: []string{"origin"},
			Each: func(yield func(float64, ...string)) {
				yield(float64(book.Reports(latency.Beacon)), "beacon")
				yield(float64(book.Reports(latency.CMCD)), "cmcd")
			},
		},
	)
}
