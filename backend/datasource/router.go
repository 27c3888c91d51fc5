package datasource

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/prometheus/common/model"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/engine"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// Router answers queries of Go programs with the default datasource, over the
// same path as those that come over HTTP.
type Router struct {
	manager *Manager
}

// MetricQuery is one PromQL query. With a Step it is a range query from Start
// to End; without one it is an instant query at End, or now when End is the
// zero time.
type MetricQuery struct {
	// Query is the PromQL text.
	Query string
	// Start and End bound the evaluation times of a range query.
	Start, End time.Time
	// Step is the distance of two evaluation times, or zero.
	Step time.Duration
	// Namespace confines the query to the series of this namespace: those whose
	// label enforcement.label of the configuration has this value. Empty: no
	// confinement but that of the configuration.
	Namespace string
}

// QueryResult is the answer to a MetricQuery.
type QueryResult struct {
	// Value is a model.Vector, model.Matrix, *model.Scalar or *model.String.
	Value model.Value
	// Warnings say why the answer may not be complete; the gateway's own come
	// first. Infos are hints on the query.
	Warnings, Infos []string
	// Tier is the tier that answered, hot or cold, and Reason why it was
	// chosen, as in the X-Tier and X-Tier-Reason headers. Tier is empty where no
	// tier was asked.
	Tier, Reason string
}

// QueryError is why a query was not answered.
type QueryError struct {
	// Status and Type are the HTTP status and the errorType that the
	// Prometheus API has for this error, such as 400 and bad_data.
	Status int
	Type   string
	// Message says what is wrong.
	Message string
	// Tier and Reason are empty when no tier was chosen.
	Tier, Reason string
	// RetryAfter is when it is worth to ask again, where the tier has too many
	// queries already; zero otherwise.
	RetryAfter time.Duration

	cause error
}

// Error returns the message.
func (e *QueryError) Error() string { return e.Message }

// Unwrap returns what lies behind the error, such as context.Canceled.
func (e *QueryError) Unwrap() error { return e.cause }

// ExecuteQuery evaluates a query at the tier that can answer it.
//
// It returns a *QueryError: with status 400, wrapping ValidationErrors where it was
// seen here, for a query that has to be changed; 403 for a namespace that the
// configuration does not allow; 422 for one whose evaluation failed; 502 when the
// tier could not be reached; and 503 when it did not answer in time, has too many
// queries already, or when the Manager is not running.
func (r *Router) ExecuteQuery(ctx context.Context, query *MetricQuery) (_ *QueryResult, err error) {
	if query == nil {
		query = &MetricQuery{}
	}
	var mistakes ValidationErrors
	if query.Query == "" {
		mistakes.add("query", "is empty: set a PromQL expression")
	}
	query.checkTimes(&mistakes, time.Duration(r.manager.config.Query.MaxRange))
	if err := mistakes.asError(); err != nil {
		return nil, queryError(err)
	}
	request, err := query.request(time.Now())
	if err != nil {
		return nil, queryError(err)
	}
	end, err := r.manager.begin(request.Endpoint)
	if err != nil {
		return nil, queryError(err)
	}
	defer end()
	endpoint := request.Endpoint
	defer func() { r.manager.metrics.countExecuted(ctx, endpoint, err) }()
	own, err := r.manager.settled(ctx, r.manager.ownSource)
	var made engine.Query
	planned := func() {}
	if err == nil {
		made, planned, err = r.manager.prepare(ctx, own, engine.Query{Request: request, Datasource: own.engine, Caller: libraryCaller()}, query.Namespace)
	}
	if err != nil {
		return nil, queryError(err)
	}
	defer planned()
	made.OnPlanned = planned
	response, err := r.manager.engine.Do(ctx, made)
	if err != nil {
		return nil, queryError(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.Tier != "" {
		r.manager.metrics.count(response.Tier, response.Reason, outcomeOf(response.Status))
	}
	answer, err := response.Decode(ctx)
	if err != nil {
		return nil, queryError(&engine.CallError{Tier: response.Tier, Reason: response.Reason, Err: err})
	}
	return &QueryResult{
		Value: answer.Value, Warnings: answer.Warnings, Infos: answer.Infos,
		Tier: string(response.Tier), Reason: string(response.Reason),
	}, nil
}

// newEngine returns the engine of the gateway. It keeps answers until lifetime ends.
func (m *Manager) newEngine(lifetime context.Context) *engine.Engine {
	return engine.New(engine.Options{
		Timeout: time.Duration(m.config.Query.Timeout), Freshness: time.Duration(m.config.Routing.Freshness),
		PieceBytes: int64(m.config.Query.SpliceBytes), Decoded: m.pool.decoded, Cache: m.cache, Lifetime: lifetime,
		OnRetry: m.metrics.retried, OnCacheUse: m.metrics.observeCache,
	})
}

// request makes the request for a query that has been checked.
func (q *MetricQuery) request(now time.Time) (*promapi.Request, error) {
	parameters := url.Values{"query": {q.Query}}
	if q.Step == 0 {
		if !q.End.IsZero() {
			parameters.Set("time", promapi.FormatTime(q.End))
		}
		return promapi.NewRequest(promapi.Query, "/api/v1/query", parameters, now)
	}
	parameters.Set("start", promapi.FormatTime(q.Start))
	parameters.Set("end", promapi.FormatTime(q.End))
	parameters.Set("step", strconv.FormatFloat(q.Step.Seconds(), 'f', -1, 64))
	return promapi.NewRequest(promapi.QueryRange, "/api/v1/query_range", parameters, now)
}

func queryError(err error) error {
	result := &QueryError{Status: http.StatusInternalServerError, Type: string(promapi.ErrorInternal), Message: err.Error(), cause: err}
	var callError *engine.CallError
	if errors.As(err, &callError) {
		result.Tier, result.Reason = string(callError.Tier), string(callError.Reason)
	}
	var apiError *promapi.Error
	if errors.As(err, &apiError) {
		result.Status, result.Type, result.Message = apiError.Status, string(apiError.Type), apiError.Message
		result.RetryAfter = apiError.RetryAfter
	}
	return result
}
