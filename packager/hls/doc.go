// Package hls writes HLS playlists as text: media playlists with parts and
// without, delta updates, and the multivariant playlist. Sections named in
// comments are those of draft-pantos-hls-rfc8216bis.
//
// It is pure: no goroutine, no clock, no I/O, nothing of ours imported. URIs,
// durations and times come in, bytes go out.
//
//	           ┌ header ┬ date ranges ┬ history: append-only chunks ┬ tail ──────────────┐
//	LowLatency │ 6      │ shared by   │ shared by all versions      │ parts, hint, …     │
//	delta      │ 9 SKIP │ versions    │        (from the boundary)  │ the same memory    │
//	Plain      │ 6      │             │                             │ complete segments  │
//	           └────────┴─────────────┴─────────────────────────────┴────────────────────┘
//
// Date ranges stand before the segments because they come and go independently
// of them; their place in a playlist means nothing (§4.4.5).
//
// The invariant: bytes that were returned once never change. Handlers may keep
// writing an old version while the next one is made.
package hls
