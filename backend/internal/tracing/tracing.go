// Package tracing creates the spans of a request, one for each step, and propagates their
// context to the tiers as W3C trace context. It imports no other package of this project.
package tracing

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// name is the name of the instrumentation.
const name = "github.com/tiered-prometheus/tiered-prometheus"

var (
	format propagation.TraceContext
	none   trace.Span = noop.Span{}
)

// Serve starts the span of an incoming request. It continues the trace of the request, if
// there is one. provider must not be nil.
func Serve(provider trace.TracerProvider, incoming *http.Request, id string) (context.Context, trace.Span) {
	ctx := format.Extract(incoming.Context(), propagation.HeaderCarrier(incoming.Header))
	return provider.Tracer(name).Start(ctx, "tierproxy request", trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
		attribute.String("http.request.method", incoming.Method),
		attribute.String("url.path", incoming.URL.Path),
		attribute.String("tierproxy.request_id", id),
	))
}

// Start starts the span of a step. If the request is not recorded, the span is empty.
func Start(ctx context.Context, step string) (context.Context, trace.Span) {
	return start(ctx, step, trace.SpanKindInternal)
}

// StartCall is Start for a call to a server.
func StartCall(ctx context.Context, step string) (context.Context, trace.Span) {
	return start(ctx, step, trace.SpanKindClient)
}

func start(ctx context.Context, step string, kind trace.SpanKind) (context.Context, trace.Span) {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return ctx, none
	}
	return parent.TracerProvider().Tracer(name).Start(ctx, step, trace.WithSpanKind(kind))
}

// End ends a span, with an error if err is not nil. describe returns the error without
// addresses and secrets.
func End(span trace.Span, err error, describe func(error) string) {
	if err != nil && span.IsRecording() {
		span.SetStatus(codes.Error, describe(err))
	}
	span.End()
}

// Inject adds the trace context of ctx to an outgoing request. Without one, the header of the
// caller stays.
func Inject(ctx context.Context, header http.Header) {
	if trace.SpanContextFromContext(ctx).IsValid() {
		format.Inject(ctx, propagation.HeaderCarrier(header))
	}
}

// IDOf returns the trace id of ctx for logs, or an empty string.
func IDOf(ctx context.Context) string {
	if known := trace.SpanContextFromContext(ctx); known.HasTraceID() {
		return known.TraceID().String()
	}
	return ""
}
