package main

import (
	"fmt"
	"io"
	"log/slog"
	"regexp"
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

const notShown = "(not shown)"

// redact is the last line of defence against secrets in the log (specs X4):
// nothing logs any on purpose. Attributes are known by their names; in texts, such
// as errors that quote a URL, by what stands around a secret.
func redact(_ []string, a slog.Attr) slog.Attr {
	switch strings.ToLower(a.Key) {
	case "token", "key", "access_token", "authorization", "credential", "password", "secret", "signature":
		return slog.String(a.Key, notShown)
	}
	var text string
	switch value := a.Value.Any().(type) {
	case string:
		text = value
	case error:
		text = value.Error()
	case fmt.Stringer:
		if a.Value.Kind() != slog.KindAny {
			return a // a time, a duration
		}
		text = value.String()
	default:
		return a
	}
	if safe := scrub(text); safe != text {
		return slog.String(a.Key, safe)
	}
	return a
}

// secretForms are what secrets look like in texts: parameters of a query or a fragment,
// headers, the token of an HLS path, JSON Web Tokens anywhere.
var secretForms = regexp.MustCompile(`(?i)((?:token|access_token|key|credential|signature|password)=|bearer\s+|/~)[^\s"'&/<>]+|()eyJ[\w-]+\.[\w-]+\.[\w-]*`)

func scrub(text string) string { return secretForms.ReplaceAllString(text, "$1"+notShown) }
