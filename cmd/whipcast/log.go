package main

import (
	"io"
	"log/slog"
	"strings"

	"github.com/whipcast/whipcast/configs"
)

// newLog returns the logger of the process.
func newLog(config configs.Log, w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(config.Level)) // the words of log.level are slog's; they were checked
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: redact}
	if config.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// redact is the last line of defence against secrets in the log (specs X4):
// nothing logs any on purpose.
func redact(_ []string, a slog.Attr) slog.Attr {
	switch strings.ToLower(a.Key) {
	case "token", "key", "access_token", "authorization", "credential", "password":
		return slog.String(a.Key, "(not shown)")
	}
	return a
}
