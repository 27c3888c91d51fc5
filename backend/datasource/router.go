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

// Router answers queries with the tiers of the configuration. It routes them as the HTTP server
// does. It is safe for concurrent use.
type Router struct {
	core *core.Core
}

// MetricQuery is a PromQL query. With a Step, it is a range query from Start to End. Without a
// Step, it is an instant query at End, or at the current time if End is the zero time.
type MetricQuery struct {
	// Query is the PromQL text.
	Query string
	// Start and End bound the evaluation times of a range query.
	Start, End time.Time
	// Step is the time between two evaluations, or zero for an instant query.
	Step time.Duration
	// Namespace confines the query to series of this namespace. The setting enforcement.label
	// names the label that holds the namespace. Empty: only the configuration confines the
	// query.
	Namespace string
}

// QueryResult is the answer to a MetricQuery.
type QueryResult struct {
	// Value is a model.Vector, model.Matrix, *model.Scalar or *model.String.
	Value model.Value
	// Warnings say why the answer may be incomplete. Those of the gateway come before those of
	// the tier. Infos are hints about the query.
	Warnings, Infos []string
	// Tier is the tier that answered: hot, cold, or hot,cold for a query that was split. Reason
	// is why it was chosen, as in the header X-Tier-Reason. Tier is empty if no tier was
	// queried.
	Tier, Reason string
	// Source are the external labels of the source of hot that answered, as in the header
	// X-Tier-Source. It is empty if cold alone answered, or if they are unknown.
	Source string
}

// QueryError is the error of a query.
type QueryError struct {
	// Status is the HTTP status of this error in the Prometheus API, such as 400, and Type its
	// errorType, such as bad_data.
	Status int
	Type   string
	// Message says what is wrong.
	Message string
	// Tier and Reason are the tier that was queried, and why. They are empty if no tier was
	// chosen.
	Tier, Reason string
	// RetryAfter is how long to wait before a retry if the tier is overloaded, and zero
	// otherwise.
	RetryAfter time.Duration

	cause error
}

// Error returns the message.
func (e *QueryError) Error() string { return e.Message }

// Unwrap returns the cause of the error, such as context.Canceled or ValidationErrors.
func (e *QueryError) Unwrap() error { return e.cause }

// ExecuteQuery routes a query to a tier and returns its result. Every error is a *QueryError.
// The usual statuses are:
//   - 400: the query is invalid. The error wraps ValidationErrors if ExecuteQuery found the
//     mistakes before it sent the query.
//   - 403: the configuration does not allow the namespace.
//   - 422: the evaluation failed.
//   - 502: the tier is unreachable.
//   - 503: the tier timed out or is overloaded, or the Manager is not running.
func (r *Router) ExecuteQuery(ctx context.Context, query *MetricQuery) (_ *QueryResult, err error) {
	if query == nil {
		query = &MetricQuery{}
	}
	var mistakes ValidationErrors
	mistakes.addIf(query.Query == "", "query", "is empty: set a PromQL expression")
	query.checkTimes(&mistakes, time.Duration(r.core.Config.Query.MaxRange))
	if len(mistakes) > 0 {
		return nil, queryError(&promapi.Error{Status: http.StatusBadRequest, Type: promapi.ErrorBadData, Message: mistakes.Error(), Cause: mistakes})
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
	resolved, err := r.core.Resolver.WaitDefault(ctx)
	if err != nil {
		return nil, queryError(err)
	}
	admitted, err := r.core.Admit(ctx, engine.Query{Request: request, Caller: core.LibraryCaller()}, resolved, query.Namespace)
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
		Tier: string(response.Tier), Reason: string(response.Reason), Source: response.Source,
	}, nil
}

// statusOf returns the HTTP status for the result of a query.
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
	if callError, is := errors.AsType[*engine.CallError](err); is {
		result.Tier, result.Reason = string(callError.Tier), string(callError.Reason)
	}
	if apiError, is := errors.AsType[*promapi.Error](err); is {
		result.Status, result.Type, result.Message = apiError.Status, string(apiError.Type), apiError.Message
		result.RetryAfter = apiError.RetryAfter
	}
	return result
}
