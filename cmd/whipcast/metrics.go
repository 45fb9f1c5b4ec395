package main

import (
	"sync/atomic"

	"github.com/whipcast/whipcast/api"
	"github.com/whipcast/whipcast/egress/whep"
	"github.com/whipcast/whipcast/storage/memory"
)

// metrics lists what the packages count, besides what api finds itself.
func (g *gateway) metrics(store *memory.Store, viewers *whep.Metrics) []api.Metric {
	cut, kept := g.packaging.packager.Metrics(), store.Metrics()
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
		total("whipcast_packager_lost_packets_total", "RTP packets that never came.", &cut.Lost),
		total("whipcast_packager_damaged_pictures_total", "Pictures dropped because of that.", &cut.Damaged),
		total("whipcast_packager_messages_total", "Timed messages put into the media.", &cut.Messages),
		total("whipcast_packager_messages_dropped_total", "Timed messages of publishers that found no place.", &cut.MessagesDropped),
		total("whipcast_packager_clock_corrections_total", "Times that program date-time was moved because a publisher's clock had drifted.", &cut.Reanchored),
		total("whipcast_packager_clock_correction_milliseconds_total", "By how much in all.", &cut.Drift),
		{Name: "whipcast_whep_viewers", Help: "WHEP viewers connected.", Read: func() float64 { return float64(viewers.Viewers.Load()) }},
		total("whipcast_whep_sessions_total", "WHEP sessions accepted.", &viewers.Sessions),
		total("whipcast_whep_packets_total", "RTP packets sent, without repeats.", &viewers.Packets),
		total("whipcast_whep_payload_bytes_total", "RTP payload sent, without repeats.", &viewers.Bytes),
		total("whipcast_whep_nacks_total", "Packets asked for again.", &viewers.NACKs),
		total("whipcast_whep_repeats_total", "Packets sent again.", &viewers.Retransmits),
		total("whipcast_whep_keyframe_requests_total", "Keyframes asked for by and for viewers.", &viewers.KeyframeRequests),
		total("whipcast_whep_lags_total", "Times that a worker was overtaken by a publisher.", &viewers.Lags),
		total("whipcast_whep_write_errors_total", "Trains of packets that could not be sent.", &viewers.WriteErrors),
		total("whipcast_whep_malformed_total", "RTCP packets that could not be read.", &viewers.Malformed),
		{Name: "whipcast_memory_objects", Help: "Files of presentations in memory.", Read: func() float64 { return float64(store.Stats().Objects) }},
		{Name: "whipcast_memory_bytes", Help: "Their size.", Read: func() float64 { return float64(store.Stats().Bytes) }},
		{Name: "whipcast_memory_media_bytes", Help: "Media of it that hls.memory is about.", Read: func() float64 { return float64(kept.Resident.Load()) }},
		{Name: "whipcast_dvr_bytes", Help: "Media that was moved to disk.", Read: func() float64 { return float64(kept.Below.Load()) }},
		total("whipcast_dvr_moved_segments_total", "Segments moved to disk.", &kept.Spilled),
		total("whipcast_dvr_reads_total", "Segments read back from disk.", &kept.ReadBack),
		total("whipcast_dvr_lost_segments_total", "Segments lost because the disk did not take them in time.", &kept.Lost),
		total("whipcast_dvr_errors_total", "Errors of the disk.", &kept.Failures),
		{Name: "whipcast_hls_held_requests", Help: "HLS requests that wait for what comes next.", Read: func() float64 { return float64(g.origin.Stats().Held) }},
		{Name: "whipcast_hls_playlists_total", Help: "Playlist versions made ready to serve.", Total: true, Read: func() float64 { return float64(g.origin.Stats().Prepared) }},
		{Name: "whipcast_rtc_sessions", Help: "WHIP and WHEP sessions.", Read: func() float64 { all, _ := g.sessions.Counts(); return float64(all) }},
		{Name: "whipcast_rtc_pending_sessions", Help: "Sessions that are not connected yet.", Read: func() float64 { _, pending := g.sessions.Counts(); return float64(pending) }},
	}
}

func total(name, help string, at *atomic.Uint64) api.Metric {
	return api.Metric{Name: name, Help: help, Total: true, Read: func() float64 { return float64(at.Load()) }}
}
