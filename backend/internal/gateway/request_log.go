package gateway

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/sirupsen/logrus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/engine"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resolve"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/telemetry"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tracing"
)

// plainID matches the callers' request ids that tierproxy keeps.
var plainID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// identify returns the request id, which appears in the response header, in the body of an
// error, and in the log. It keeps the caller's id if it is plain, and generates one otherwise.
func identify(w http.ResponseWriter, incoming *http.Request) string {
	id := incoming.Header.Get(promapi.HeaderRequestID)
	if id == "" || !plainID.MatchString(id) {
		var random [8]byte
		_, _ = rand.Read(random[:]) // It never fails.
		id = hex.EncodeToString(random[:])
	}
	w.Header()[promapi.HeaderRequestID] = []string{id}
	return id
}

// traced serves a request in a span, if tracing is on.
func (g *Gateway) traced(w http.ResponseWriter, incoming *http.Request, id string, next func(http.ResponseWriter, *http.Request)) {
	if g.core.Tracers == nil {
		next(w, incoming)
		return
	}
	ctx, span := tracing.Serve(g.core.Tracers, incoming, id)
	defer span.End()
	recorder := &telemetry.Writer{ResponseWriter: w}
	defer func() {
		status := cmp.Or(recorder.Status, http.StatusOK)
		span.SetAttributes(attribute.Int("http.response.status_code", status))
		for attributeName, header := range map[string]string{"tierproxy.tier": headerTier, "tierproxy.reason": headerReason} {
			if value := w.Header().Get(header); value != "" {
				span.SetAttributes(attribute.String(attributeName, value))
			}
		}
		if status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, http.StatusText(status))
		}
	}()
	next(recorder, incoming.WithContext(ctx))
}

// Log messages about a query. Each query has at most one line.
const (
	messageSlow     = "slow query"
	messageCanceled = "the client disconnected"
)

// requestFields returns the log fields of a request. They contain the query only if
// log.query_text is set. resolved and request are nil while they are unknown.
func (g *Gateway) requestFields(ctx context.Context, id string, resolved *resolve.Resolved, request *promapi.Request) logrus.Fields {
	fields := logrus.Fields{"request_id": id}
	if trace := tracing.IDOf(ctx); trace != "" {
		fields["trace_id"] = trace
	}
	if resolved != nil {
		fields["datasource"] = resolved.Label
	}
	if request == nil {
		return fields
	}
	fields["endpoint"] = string(request.Endpoint)
	text := cmp.Or(request.Parameters.Get("query"), strings.Join(request.Parameters["match[]"], " "))
	if text == "" {
		return fields
	}
	fields["fingerprint"] = fmt.Sprintf("%016x", xxhash.Sum64String(text)) // It does not reveal the text.
	if g.core.Config.Log.QueryText {
		fields["query"] = text
	}
	return fields
}

// answeredBy returns the log fields of the tier that a query went to. replica and source are empty
// for a tier without.
func answeredBy(name tier.Name, reason tier.Reason, replica, source string) logrus.Fields {
	fields := logrus.Fields{"tier": string(name), "reason": string(reason)}
	if replica != "" {
		fields["replica"] = replica
	}
	if source != "" {
		fields["source"] = source
	}
	return fields
}

// isSlow reports whether a query took at least log.slow_queries.
func (g *Gateway) isSlow(took time.Duration) bool {
	limit := time.Duration(g.core.Config.Log.SlowQueries)
	return limit > 0 && took >= limit
}

// fail responds with an error, logs it once, and counts it if a tier was chosen.
func (g *Gateway) fail(w http.ResponseWriter, incoming *http.Request, err error) {
	g.failed(w, incoming, nil, nil, time.Time{}, err)
}

// failed is fail for a query to a datasource. started is zero for other requests. request is
// nil if the gateway could not read it.
func (g *Gateway) failed(w http.ResponseWriter, incoming *http.Request, resolved *resolve.Resolved, request *promapi.Request, started time.Time, err error) {
	entry := g.core.Logger.WithFields(logrus.Fields{"method": incoming.Method, "path": incoming.URL.Path}).
		WithFields(g.requestFields(incoming.Context(), w.Header().Get(promapi.HeaderRequestID), resolved, request))
	slow := false
	if !started.IsZero() {
		took := time.Since(started)
		slow = g.isSlow(took)
		entry = entry.WithField("duration", took.String())
	}
	outcome := telemetry.OutcomeOf(promapi.AsError(err).Status)
	canceled := incoming.Context().Err() != nil && errors.Is(err, context.Canceled)
	if canceled {
		outcome = telemetry.OutcomeCanceled
	}
	if callError, is := errors.AsType[*engine.CallError](err); is {
		w.Header().Set(headerTier, string(callError.Tier))
		w.Header().Set(headerReason, string(callError.Reason))
		if callError.Source != "" {
			w.Header().Set(headerSource, callError.Source)
		}
		entry = entry.WithFields(answeredBy(callError.Tier, callError.Reason, callError.Replica, callError.Source))
		g.core.Metrics.Count(callError.Tier, callError.Reason, outcome)
	}
	entry = entry.WithField("outcome", outcome)
	switch {
	case canceled && slow:
		entry.Warn(messageSlow)
		return
	case canceled:
		entry.Debug(messageCanceled)
		return
	case promapi.AsError(err).RetryAfter > 0:
		// An overload produces many of these. Metrics count them.
		entry.WithError(err).Debug("rejected a query because of overload")
	case promapi.AsError(err).Status >= http.StatusInternalServerError:
		entry.WithError(err).Warn("a request failed")
	case slow:
		entry.WithError(err).Warn(messageSlow)
	default:
		entry.WithError(err).Debug("rejected a request")
	}
	promapi.WriteError(w, err)
}
