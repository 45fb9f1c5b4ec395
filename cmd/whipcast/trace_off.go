//go:build !otel

package main

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/whipcast/whipcast/api/event"
	"github.com/whipcast/whipcast/storage"
)

// spans would tell OpenTelemetry what takes how long. Only a program that is built with
// the tag otel does: see trace_otel.go.
type spans struct{}

func openSpans(context.Context, *slog.Logger) (*spans, error) { return &spans{}, nil }

func (*spans) handler(next http.Handler) http.Handler { return next }

func (*spans) sink(_ string, to storage.Sink) storage.Sink { return to }

func (*spans) calls() func(http.RoundTripper) http.RoundTripper { return nil }

func (*spans) tasks(*event.Events) []task { return nil }

func (*spans) close(context.Context) error { return nil }
