package datasource

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/prometheus/common/model"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/core"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/engine"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/telemetry"
)

// Router answers queries of Go programs with the default datasource, over the
// same path as those that come over HTTP.
type Router struct {
	core *core.Core
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
	query.checkTimes(&mistakes, time.Duration(r.core.Config.Query.MaxRange))
	if err := mistakes.asError(); err != nil {
		return nil, queryError(err)
	}
	request, err := core.NewRequest(query.Query, query.Start, query.End, query.Step, time.Now())
	if err != nil {
		return nil, queryError(err)
	}
	end, err := r.core.Begin(request.Endpoint)
	if err != nil {
		return nil, queryError(err)
	}
	defer end()
	defer func() { r.core.Metrics.CountExecuted(ctx, request.Endpoint, statusOf(err)) }()
	own, err := r.core.Resolver.WaitOwn(ctx)
	if err != nil {
		return nil, queryError(err)
	}
	admitted, err := r.core.Admit(ctx, core.Asked{Request: request, Resolved: own, Caller: core.LibraryCaller(), Namespace: query.Namespace})
	if err != nil {
		return nil, queryError(err)
	}
	defer admitted.OnPlanned()
	response, err := r.core.Engine.Do(ctx, admitted)
	if err != nil {
		return nil, queryError(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.Tier != "" {
		r.core.Metrics.Count(response.Tier, response.Reason, telemetry.OutcomeOf(response.Status))
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

// statusOf returns the HTTP status that stands for the outcome of a query.
func statusOf(err error) int {
	if err == nil {
		return http.StatusOK
	}
	if failed, is := errors.AsType[*QueryError](err); is {
		return failed.Status
	}
	return http.StatusInternalServerError
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
