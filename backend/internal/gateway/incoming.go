package gateway

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/sirupsen/logrus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resolve"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tracing"
)

// maxRequestIDBytes bounds the request ids that are taken over from callers.
const maxRequestIDBytes = 64

// identify gives a request the id by which it is found again: in the header of
// its answer, in the body of an error, and in the log. A plain one that came
// along stays.
func identify(w http.ResponseWriter, incoming *http.Request) string {
	id := incoming.Header.Get(promapi.HeaderRequestID)
	if !isPlainID(id) {
		var random [8]byte
		_, _ = rand.Read(random[:]) // It never fails.
		id = hex.EncodeToString(random[:])
	}
	w.Header()[promapi.HeaderRequestID] = []string{id}
	return id
}

func isPlainID(id string) bool {
	if id == "" || len(id) > maxRequestIDBytes {
		return false
	}
	for i := range len(id) {
		letter := id[i]
		isPlain := letter == '-' || letter == '_' || letter == '.' ||
			(letter >= '0' && letter <= '9') || (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z')
		if !isPlain {
			return false
		}
	}
	return true
}

// traced serves a request with a span, if there is somebody to tell.
func (g *Gateway) traced(w http.ResponseWriter, incoming *http.Request, id string, next func(http.ResponseWriter, *http.Request)) {
	if g.core.Tracers == nil {
		next(w, incoming)
		return
	}
	ctx, span := tracing.Serve(g.core.Tracers, incoming, id)
	defer span.End()
	recorder := &statusRecorder{ResponseWriter: w, status: http.StatusOK}
	defer func() {
		span.SetAttributes(attribute.Int("http.response.status_code", recorder.status))
		for attributeName, header := range map[string]string{"tierproxy.tier": headerTier, "tierproxy.reason": headerReason} {
			if value := w.Header().Get(header); value != "" {
				span.SetAttributes(attribute.String(attributeName, value))
			}
		}
		if recorder.status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, http.StatusText(recorder.status))
		}
	}()
	next(recorder, incoming.WithContext(ctx))
}

// statusRecorder notes the status of an answer.
type statusRecorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (r *statusRecorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController flush.
func (r *statusRecorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// What becomes of a query, in the log. Each query has one line at most.
const (
	messageSlow     = "a query was slow"
	messageCanceled = "the client went away"
)

// requestFields returns what the log says of a request: never its query, unless
// log.query_text is set. asked and request are nil where they are not known yet.
func (g *Gateway) requestFields(ctx context.Context, id string, asked *resolve.Resolved, request *promapi.Request) logrus.Fields {
	fields := logrus.Fields{"request_id": id}
	if trace := tracing.IDOf(ctx); trace != "" {
		fields["trace_id"] = trace
	}
	if asked != nil {
		fields["datasource"] = asked.Label
	}
	if request == nil {
		return fields
	}
	fields["endpoint"] = string(request.Endpoint)
	text := queryOf(request)
	if text == "" {
		return fields
	}
	fields["fingerprint"] = fingerprint(text)
	if g.core.Config.Log.QueryText {
		fields["query"] = text
	}
	return fields
}

// answeredBy returns what the log says of the tier that a query went to. replica is
// empty where the tier is one server.
func answeredBy(name tier.Name, reason tier.Reason, replica string) logrus.Fields {
	fields := logrus.Fields{"tier": string(name), "reason": string(reason)}
	if replica != "" {
		fields["replica"] = replica
	}
	return fields
}

// queryOf returns the PromQL of a request; its selectors where it has no query.
func queryOf(request *promapi.Request) string {
	if query := request.Parameters.Get("query"); query != "" {
		return query
	}
	return strings.Join(request.Parameters["match[]"], " ")
}

// fingerprint tells one query from another without telling what it is.
func fingerprint(text string) string {
	sum := strconv.FormatUint(xxhash.Sum64String(text), 16)
	return strings.Repeat("0", 16-len(sum)) + sum
}

// isSlow reports whether a query took as long as log.slow_queries, or longer.
func (g *Gateway) isSlow(took time.Duration) bool {
	limit := time.Duration(g.core.Config.Log.SlowQueries)
	return limit > 0 && took >= limit
}
