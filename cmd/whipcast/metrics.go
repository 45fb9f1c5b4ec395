package main

import (
	"slices"
	"sync/atomic"

	"github.com/whipcast/whipcast/api"
	"github.com/whipcast/whipcast/egress/whep"
	"github.com/whipcast/whipcast/ingest/whip"
	"github.com/whipcast/whipcast/internal/rtc"
	"github.com/whipcast/whipcast/packager/doctor"
	"github.com/whipcast/whipcast/storage/memory"
)

// metrics lists what the packages count, besides what api finds itself. All of it
// is read without waiting for anything on the way of media: atomics, and locks
// that are held for a few numbers.
func (g *gateway) metrics(store *memory.Store, viewers *whep.Metrics) []api.Metric {
	return slices.Concat(
		g.sessionMetrics(), g.packagerMetrics(), g.doctorMetrics(), whepMetrics(viewers), g.originMetrics(), memoryMetrics(store),
		api.LatencyMetrics(g.latency),
		[]api.Metric{api.Total("whipcast_player_refused_reports_total", "Reports of players that were not taken: malformed, too many, or of no stream.", func() uint64 {
			return g.api.RefusedReports()
		})},
	)
}

// sessionMetrics are those of WebRTC, by what the sessions speak.
func (g *gateway) sessionMetrics() []api.Metric {
	protocols := map[string]*rtc.Metrics{"whip": g.sessions.Metrics(rtc.Receive), "whep": g.sessions.Metrics(rtc.Send)}
	return []api.Metric{
		{
			Name: "whipcast_rtc_sessions", Help: "WebRTC sessions that there are: whip publishes, whep watches.", Names: []string{"protocol"},
			Each: func(yield func(float64, ...string)) {
				for protocol, m := range protocols {
					yield(float64(m.Open()), protocol)
				}
			},
		},
		{
			Name: "whipcast_rtc_started_sessions_total", Help: "WebRTC sessions that were accepted.", Total: true, Names: []string{"protocol"},
			Each: func(yield func(float64, ...string)) {
				for protocol, m := range protocols {
					yield(float64(m.Started.Load()), protocol)
				}
			},
		},
		{
			Name: "whipcast_rtc_ended_sessions_total", Total: true, Names: []string{"protocol", "reason"},
			Help: "WebRTC sessions that ended, by reason: deleted and closed are wanted, lost and never_connected are not.",
			Each: func(yield func(float64, ...string)) {
				for protocol, m := range protocols {
					m.Ended(func(reason string, n uint64) { yield(float64(n), protocol, reason) })
				}
			},
		},
		{Name: "whipcast_rtc_pending_sessions", Help: "Sessions that are not connected yet.", Read: func() float64 {
			_, pending := g.sessions.Counts()
			return float64(pending)
		}},
	}
}

func (g *gateway) packagerMetrics() []api.Metric {
	cut := g.packaging.packager.Metrics()
	return []api.Metric{
		total("whipcast_packager_presentations_total", "Presentations begun.", &cut.Presentations),
		total("whipcast_packager_segments_total", "Segments made.", &cut.Segments),
		total("whipcast_packager_parts_total", "Parts made, with media.", &cut.Parts),
		total("whipcast_packager_gap_parts_total", "Parts made, without media.", &cut.GapParts),
		total("whipcast_packager_still_parts_total", "Parts in which the last picture stands still: the publisher is away or silent.", &cut.Stills),
		total("whipcast_packager_discontinuities_total", "Discontinuities.", &cut.Discontinuities),
		total("whipcast_packager_keyframe_requests_total", "Keyframes asked for, before requests are joined.", &cut.KeyframeRequests),
		total("whipcast_packager_dropped_units_total", "Pictures and sounds without a place: before a keyframe, or too late.", &cut.Dropped),
		total("whipcast_packager_silence_frames_total", "Audio frames made up in place of missing ones.", &cut.Silence),
		total("whipcast_packager_lags_total", "Times that the packager was overtaken by a publisher.", &cut.Lagged),
		total("whipcast_packager_sink_errors_total", "Files that could not be stored.", &cut.SinkErrors),
		total("whipcast_packager_lost_packets_total", "RTP packets of publishers that never came, also after asking for them again.", &cut.Lost),
		total("whipcast_packager_damaged_pictures_total", "Pictures dropped because of that.", &cut.Damaged),
		total("whipcast_packager_messages_total", "Timed messages put into the media.", &cut.Messages),
		total("whipcast_packager_messages_dropped_total", "Timed messages of publishers that found no place.", &cut.MessagesDropped),
		total("whipcast_packager_clock_corrections_total", "Times that program date-time was moved because a publisher's clock had drifted.", &cut.Reanchored),
		{
			Name: "whipcast_packager_clock_correction_seconds_total", Help: "By how much in all.", Total: true,
			Read: func() float64 { return float64(cut.Drift.Load()) / 1000 },
		},
	}
}

// doctorMetrics tell what is wrong with publishers, by the doctor's codes.
func (g *gateway) doctorMetrics() []api.Metric {
	packager, codes := g.packaging.packager, doctor.Codes()
	return []api.Metric{
		{
			Name: "whipcast_doctor_findings", Help: "Layers of publishers that have a finding now, by its code.", Names: []string{"code"},
			Each: func(yield func(float64, ...string)) {
				census := packager.Census()
				for _, code := range codes {
					yield(float64(census.Findings[code]), string(code))
				}
			},
		},
		{
			Name: "whipcast_doctor_layers", Help: "Layers of publishers by the severity of their worst finding now.", Names: []string{"severity"},
			Each: func(yield func(float64, ...string)) {
				census := packager.Census()
				for _, s := range []doctor.Severity{doctor.Note, doctor.Warning, doctor.Problem} {
					yield(float64(census.Layers[s]), s.String())
				}
			},
		},
		{
			Name: "whipcast_doctor_findings_total", Help: "Findings so far, by code; one that gets worse counts again.", Total: true, Names: []string{"code"},
			Each: func(yield func(float64, ...string)) {
				for _, code := range codes {
					yield(float64(packager.Metrics().Raised[code].Load()), string(code))
				}
			},
		},
	}
}

func whipMetrics(publishers *whip.Metrics) []api.Metric {
	return []api.Metric{total("whipcast_whip_capture_times_total", "Packets of publishers that told when they were captured (abs-capture-time).", &publishers.CaptureTimes)}
}

func whepMetrics(viewers *whep.Metrics) []api.Metric {
	return []api.Metric{
		{Name: "whipcast_whep_viewers", Help: "WHEP viewers connected.", Read: func() float64 { return float64(viewers.Viewers.Load()) }},
		total("whipcast_whep_sessions_total", "WHEP sessions accepted.", &viewers.Sessions),
		total("whipcast_whep_packets_total", "RTP packets sent, without repeats.", &viewers.Packets),
		total("whipcast_whep_payload_bytes_total", "RTP payload sent, without repeats.", &viewers.Bytes),
		total("whipcast_whep_nacks_total", "Packets asked for again.", &viewers.NACKs),
		total("whipcast_whep_repeats_total", "Packets sent again.", &viewers.Retransmits),
		total("whipcast_whep_keyframe_requests_total", "Keyframes asked for by and for viewers.", &viewers.KeyframeRequests),
		{
			Name: "whipcast_whep_switches_total", Help: "Viewers that changed to a better or a lesser layer.", Total: true, Names: []string{"direction"},
			Each: func(yield func(float64, ...string)) {
				yield(float64(viewers.Ups.Load()), "up")
				yield(float64(viewers.Downs.Load()), "down")
			},
		},
		total("whipcast_whep_probes_total", "Tries whether a viewer's network carries a better layer.", &viewers.Probes),
		total("whipcast_whep_padding_packets_total", "Packets without media that were sent to try networks.", &viewers.Padding),
		total("whipcast_whep_lags_total", "Times that a worker was overtaken by a publisher.", &viewers.Lags),
		total("whipcast_whep_write_errors_total", "Trains of packets that could not be sent.", &viewers.WriteErrors),
		total("whipcast_whep_malformed_total", "RTCP packets that could not be read.", &viewers.Malformed),
		{Name: "whipcast_whep_event_streams", Help: "Event streams of WHEP viewers that are open.", Read: func() float64 { return float64(viewers.EventStreams.Load()) }},
		total("whipcast_whep_events_total", "Events sent to WHEP viewers.", &viewers.EventsSent),
		total("whipcast_whep_events_dropped_total", "Events that a newer one replaced, or nobody read.", &viewers.EventsDropped),
		{Name: "whipcast_whep_channels", Help: "Data channels of WHEP viewers that are open.", Read: func() float64 { return float64(viewers.Channels.Load()) }},
		total("whipcast_whep_messages_total", "Messages sent to WHEP viewers by data channels.", &viewers.MessagesSent),
		total("whipcast_whep_messages_dropped_total", "Messages that a WHEP viewer was too slow for, or that were too long.", &viewers.MessagesDropped),
	}
}

// originMetrics are those of HLS.
func (g *gateway) originMetrics() []api.Metric {
	origin := g.origin
	return []api.Metric{
		{
			Name: "whipcast_hls_requests_total", Total: true, Names: []string{"kind", "status"},
			Help: "HLS requests answered, by what they asked for and the class of the status.",
			Each: func(yield func(float64, ...string)) {
				for _, c := range origin.Answers() {
					yield(float64(c.N), c.Kind, c.Class)
				}
			},
		},
		{
			Name: "whipcast_hls_sent_bytes_total", Help: "Bodies of HLS answers sent, by what was asked for.", Total: true, Names: []string{"kind"},
			Each: func(yield func(float64, ...string)) {
				for kind, n := range origin.Sent() {
					yield(float64(n), kind)
				}
			},
		},
		{
			Name: "whipcast_hls_viewers", Help: "Estimate of the HLS players that read from the gateway: different ones that asked for a playlist in the last 20 to 30 s.",
			Read: func() float64 { return float64(g.origin.AllViewers()) },
		},
		{Name: "whipcast_hls_held_requests", Help: "HLS requests that wait for what comes next: each low-latency player has one for each rendition that it plays.", Read: func() float64 {
			return float64(origin.Stats().Held)
		}},
		api.Total("whipcast_hls_held_requests_total", "HLS requests that were held so far.", func() uint64 { return origin.Stats().Holds }),
		api.Total("whipcast_hls_refused_holds_total", "HLS requests that were not held, over a limit or at a stop.", func() uint64 { return origin.Stats().Refused }),
		{Name: "whipcast_hls_hold_seconds", Help: "For how long requests were held.", Histogram: origin.Waits},
		api.Total("whipcast_hls_playlists_total", "Playlist versions made ready to serve.", func() uint64 { return uint64(origin.Stats().Prepared) }), //nolint:gosec // it only rises
	}
}

func memoryMetrics(store *memory.Store) []api.Metric {
	kept := store.Metrics()
	return []api.Metric{
		{Name: "whipcast_memory_objects", Help: "Files of presentations in memory.", Read: func() float64 { return float64(store.Stats().Objects) }},
		{Name: "whipcast_memory_bytes", Help: "Their size.", Read: func() float64 { return float64(store.Stats().Bytes) }},
		{Name: "whipcast_memory_media_bytes", Help: "Media of it that hls.memory is about.", Read: func() float64 { return float64(kept.Resident.Load()) }},
		{Name: "whipcast_dvr_bytes", Help: "Media that was moved to disk.", Read: func() float64 { return float64(kept.Below.Load()) }},
		total("whipcast_dvr_moved_segments_total", "Segments moved to disk.", &kept.Spilled),
		total("whipcast_dvr_reads_total", "Segments read back from disk.", &kept.ReadBack),
		total("whipcast_dvr_lost_segments_total", "Segments lost because the disk did not take them in time.", &kept.Lost),
		total("whipcast_dvr_errors_total", "Errors of the disk.", &kept.Failures),
	}
}

func total(name, help string, at *atomic.Uint64) api.Metric { return api.Total(name, help, at.Load) }
