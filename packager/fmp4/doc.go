// Package fmp4 turns access units into the bytes of fragmented MP4 files, as
// HLS and CMAF want them.
//
//	Params  ──▶ Init            init-{hash}.mp4   ftyp moov
//	Samples ──▶ AppendFragment  p….m4s, s….m4s    moof mdat  moof mdat …
//	Events  ──▶ AppendFragment                    emsg moof mdat …
//	Params  ──▶ Codecs          "avc1.64001f"     for the multivariant playlist
//
// One track a file (specs L8). Everything is pure: no goroutine, no clock, no
// I/O. Fragments carry all they need and address relative to themselves, so a
// segment is the concatenation of its parts.
//
// Init segments are rare and are built with mp4ff. Fragments are made several
// times a second for each rendition and are written by hand, without
// allocation.
package fmp4
