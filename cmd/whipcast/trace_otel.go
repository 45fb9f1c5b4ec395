//go:build otel

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/whipcast/whipcast/api/event"
	"github.com/whipcast/whipcast/storage"
)

// spans tell OpenTelemetry what takes how long: requests that make and change sessions,
// operations of the API, sessions, files that are stored, and webhooks. Nothing is told
// of packets, playlists and media. The standard variables OTEL_… configure it.
//
// No span has a token, a query, or the URL of a session.
type spans struct {
	provider *sdk.TracerProvider // nil: switched off
	tracer   trace.Tracer
}

// openSpans reads the variables. Nothing is sent before the first span.
func openSpans(ctx context.Context, log *slog.Logger) (*spans, error) {
	if strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") || os.Getenv("OTEL_TRACES_EXPORTER") == "none" {
		return &spans{}, nil
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("traces cannot be sent", "error", err) }))
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("open traces: %w", err)
	}
	about, err := resource.New(ctx,
		resource.WithTelemetrySDK(), resource.WithHost(),
		resource.WithAttributes(attribute.String("service.name", "whipcast"), attribute.String("service.version", buildVersion())),
		resource.WithFromEnv()) // the last one wins
	if err != nil && !errors.Is(err, resource.ErrPartialResource) {
		return nil, fmt.Errorf("open traces: %w", err)
	}
	provider := sdk.NewTracerProvider(sdk.WithBatcher(exporter), sdk.WithResource(about))
	return &spans{provider, provider.Tracer("github.com/whipcast/whipcast")}, nil
}

// close sends what is left.
func (s *spans) close(ctx context.Context) error {
	if s.provider == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := s.provider.Shutdown(ctx); err != nil {
		otel.Handle(err) // nobody waits for a collector
	}
	return nil
}

// handler makes a span of each request that makes or changes something.
func (s *spans) handler(next http.Handler) http.Handler {
	if s.provider == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		route, stream := routeOf(r)
		if route == "" {
			next.ServeHTTP(w, r)
			return
		}
		// Anybody can send a traceparent: it is linked to, and decides nothing.
		from := trace.SpanContextFromContext(propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header)))
		options := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindServer), trace.WithNewRoot(), trace.WithAttributes(
			attribute.String("http.request.method", r.Method), attribute.String("http.route", route), attribute.String("whipcast.stream", stream),
		)}
		if from.IsValid() {
			options = append(options, trace.WithLinks(trace.Link{SpanContext: from}))
		}
		ctx, span := s.tracer.Start(r.Context(), r.Method+" "+route, options...)
		defer span.End()
		seen := &answer{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(seen, r.WithContext(ctx))
		span.SetAttributes(attribute.Int("http.response.status_code", seen.status))
		if seen.status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, "")
		}
	})
}

// routeOf names what a request is for, without what names it: "" if no span is made.
func routeOf(r *http.Request) (route, stream string) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case r.Method == http.MethodOptions || len(parts) < 2:
		return "", ""
	case (parts[0] == "whip" || parts[0] == "whep") && r.Method == http.MethodPost:
		return "/" + parts[0] + "/{stream}", parts[1]
	case parts[0] == "session" && (r.Method == http.MethodPatch || r.Method == http.MethodDelete):
		return "/session/{session}", ""
	case parts[0] != "v1" || parts[1] == "events" || len(parts) == 4 && parts[3] == "latency": // these go on, or are many
		return "", ""
	}
	route = "/v1/" + parts[1]
	if len(parts) > 2 {
		route += "/{name}"
		if parts[1] == "streams" || parts[1] == "sources" {
			stream = parts[2]
		}
	}
	if len(parts) > 3 {
		route += "/" + parts[3]
	}
	if len(parts) > 4 {
		route += "/{name}"
	}
	return route, stream
}

// answer remembers the status of an answer.
type answer struct {
	http.ResponseWriter
	status int
}

func (a *answer) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// end ends a span with what came of it.
func end(span trace.Span, err error) {
	if err != nil {
		span.RecordError(err)
		span.SetStatus(codes.Error, "")
	}
	span.End()
}

// sink makes a span of each file that is stored.
func (s *spans) sink(place string, to storage.Sink) storage.Sink {
	if s.provider == nil {
		return to
	}
	return tracedSink{to, s.tracer, place}
}

type tracedSink struct {
	storage.Sink
	tracer trace.Tracer
	place  string
}

func (t tracedSink) Put(ctx context.Context, o storage.Object) error {
	ctx, span := t.tracer.Start(ctx, "storage put", trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		attribute.String("whipcast.storage", t.place), attribute.String("whipcast.key", o.Key), attribute.Int("whipcast.bytes", o.Body.Len()),
	))
	err := t.Sink.Put(ctx, o)
	end(span, err)
	return err
}

// calls makes a span of each call of a webhook.
func (s *spans) calls() func(http.RoundTripper) http.RoundTripper {
	if s.provider == nil {
		return nil
	}
	return func(by http.RoundTripper) http.RoundTripper { return tracedCalls{by, s.tracer} }
}

type tracedCalls struct {
	by     http.RoundTripper
	tracer trace.Tracer
}

func (t tracedCalls) RoundTrip(r *http.Request) (*http.Response, error) {
	// The path may have a secret.
	ctx, span := t.tracer.Start(r.Context(), "webhook", trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		attribute.String("http.request.method", r.Method), attribute.String("server.address", r.URL.Hostname()),
		attribute.String("whipcast.webhook_id", r.Header.Get("Webhook-Id")),
	))
	response, err := t.by.RoundTrip(r.WithContext(ctx))
	if err == nil {
		span.SetAttributes(attribute.Int("http.response.status_code", response.StatusCode))
	}
	end(span, err)
	return response, err
}

// CloseIdleConnections passes on what http.Client asks for.
func (t tracedCalls) CloseIdleConnections() {
	if by, ok := t.by.(interface{ CloseIdleConnections() }); ok {
		by.CloseIdleConnections()
	}
}

// tasks make a span of each session, once it has ended.
func (s *spans) tasks(events *event.Events) []task {
	if s.provider == nil {
		return nil
	}
	all := events.Subscribe(0)
	return []task{{"traces", func(ctx context.Context) error {
		begun := map[string]time.Time{} // as many as there are sessions
		for {
			e, err := all.Next(ctx)
			switch {
			case errors.Is(err, event.ErrMissed):
				clear(begun)
				continue
			case err != nil:
				return nil
			}
			s.session(begun, e)
		}
	}}}
}

func (s *spans) session(begun map[string]time.Time, e event.Event) {
	x, ok := e.Data.(event.Session)
	switch {
	case !ok:
	case e.Type == event.SessionBegun:
		begun[x.ID] = e.Time
	case e.Type == event.SessionEnded:
		at, known := begun[x.ID]
		delete(begun, x.ID)
		if !known {
			return
		}
		_, span := s.tracer.Start(context.Background(), x.Protocol+" session", trace.WithNewRoot(), trace.WithTimestamp(at), trace.WithAttributes(
			attribute.String("whipcast.stream", e.Stream), attribute.String("whipcast.session", x.ID), attribute.String("whipcast.kind", x.Kind),
			attribute.String("whipcast.reason", x.Reason),
		))
		span.End(trace.WithTimestamp(e.Time))
	}
}
