// Package archtest holds the project to its import table: who may import whom.
//
// The table is that of ARCHITECTURE.md as code; a test keeps them equal. A package that is not in
// it fails the test, so that a new one gets its place on purpose.
package archtest

import "strings"

// Module is the path of this module.
const Module = "github.com/whipcast/whipcast"

// Rule says what one package may import of ours.
type Rule struct {
	Package string   // relative to the module; a pattern may end in /*
	May     []string // packages of ours, relative, with the same patterns
}

// Rules returns the import table. The first matching row counts.
func Rules() []Rule {
	return []Rule{
		{"stream", []string{"internal/watch"}},
		{"stage", []string{"stream", "internal/watch"}},
		{"stage/mix", []string{"stream", "internal/opus"}},
		{"storage/memory", []string{"storage"}},
		{"storage/storagetest", []string{"storage"}},
		{"storage/hybrid", []string{"storage"}},
		{"storage/*", []string{"storage", "internal/fault"}},
		{"storage", nil},
		{"packager/au", nil},
		{"packager/fmp4", []string{"packager/au"}},
		{"packager/hls", nil},
		{"packager/aac", []string{"internal/opus"}},
		{"packager/doctor", []string{"packager/au"}},
		{"packager", []string{"stream", "storage", "packager/*", "internal/latency"}},
		{"replay", []string{"storage", "packager/hls"}},
		{"internal/watch", nil},
		{"internal/opus", nil},
		{"internal/problem", nil},
		{"internal/latency", nil},
		{"internal/fault", nil},
		{"internal/certificate", nil},
		{"internal/forwarded", nil},
		{"internal/outbound", nil},
		{"internal/check", []string{"storage", "internal/fault"}},
		{"internal/archtest", nil},
		{"internal/hlscheck", nil},
		{"internal/testclip", nil},
		{"internal/testsource", []string{"internal/testclip"}},
		{"internal/limit", nil},
		{"internal/recent", nil},
		{"internal/rtc", []string{"internal/limit", "internal/problem", "internal/recent"}},
		{"internal/rtsp", []string{"internal/limit", "internal/problem", "internal/recent"}},
		{"internal/turn", []string{"internal/limit"}},
		{"ingest/rtsp", []string{"stream", "ingest", "internal/limit", "internal/outbound", "internal/rtsp", "internal/problem"}},
		{"egress/rtsp", []string{"stream", "internal/rtsp", "internal/problem"}},
		{"internal/rtc/rtctest", []string{"internal/rtc"}},
		{"ingest", []string{"stream", "internal/problem"}},
		{"ingest/whip", []string{"stream", "ingest", "internal/limit", "internal/rtc"}},
		{"egress/whep", []string{"stream", "internal/rtc", "internal/problem"}},
		{"egress/hls", []string{"storage", "internal/problem", "internal/latency"}},
		{"web", []string{"internal/problem"}},
		{"api", []string{"stream", "api/auth", "api/event", "internal/problem", "internal/latency"}},
		{"api/event", nil},
		{"api/auth", []string{"internal/problem", "internal/outbound"}},
		{"api/webhook", []string{"internal/outbound"}},
		{"configs", nil},
		{"cmd/*", []string{"*"}},
		{"internal/e2e", []string{"*"}},
	}
}

// Border says which packages of ours alone may import a third party's.
type Border struct {
	Path string   // import path or its beginning
	Only []string // packages of ours, with the patterns of Rule
}

// Borders returns the third parties that must not spread.
func Borders() []Border {
	return []Border{
		{"github.com/pion/webrtc", []string{
			"internal/rtc", "internal/rtc/*", "ingest/whip", "egress/whep", "internal/testsource", "internal/e2e",
		}},
		{"github.com/pion/turn", []string{"internal/turn"}},
		{"github.com/bluenviron/gortsplib", []string{"internal/rtsp", "ingest/rtsp", "egress/rtsp", "packager/au", "internal/e2e"}},
		{"github.com/tphakala", []string{"packager/aac"}}, // LGPL, behind the build tag noaac
		{"github.com/pion/opus", []string{"internal/opus", "stage/mix"}},
		{"github.com/aws", []string{"storage/s3", "internal/e2e"}},
		{"github.com/prometheus", []string{"api", "cmd/*"}},
		{"github.com/golang-jwt", []string{"api/auth"}},
		{"github.com/danielgtaylor/huma", []string{"api"}},
		{"go.opentelemetry.io", []string{"cmd/*"}}, // behind the build tag otel
	}
}

// MaxDepth is how many of our packages may stand in a chain of imports below cmd.
const MaxDepth = 4

// Match reports whether a package matches a pattern.
func Match(pattern, pkg string) bool {
	if pattern == "*" || pattern == pkg {
		return true
	}
	prefix, wild := strings.CutSuffix(pattern, "/*")
	rest, below := strings.CutPrefix(pkg, prefix+"/")
	return wild && below && !strings.Contains(rest, "/")
}
