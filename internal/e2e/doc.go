// Package e2e runs the real program with real clients: the built binary with
// the race detector, Debian's Chromium and FFmpeg, hls.js, a lossy network, and
// a probe that plays low-latency HLS and checks every playlist version.
//
// All of it is test code; traffic stays on loopback.
package e2e
