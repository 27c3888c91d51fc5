package datasource

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/admission"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
)

// planningQueue is how many costly queries wait to be planned.
const planningQueue = 100

// newPlanningQueue returns the queue of queries that are costly to plan. Half of
// the processors plan them, so that they delay no other query.
func newPlanningQueue(config Config) *admission.Queue {
	return admission.NewQueue(admission.Limits{
		Concurrent: max(runtime.GOMAXPROCS(0)/2, 1), Queue: planningQueue, Wait: time.Duration(config.Limits.QueueWait),
	}, nil)
}

// prepare checks what a request costs, waits for its turn where that is much,
// and confines it. Nothing parses a request before. The caller calls planned when
// the request is planned, and may call it again.
//
// It returns an Error with status 400 for PromQL that costs too much to be read
// at all, with status 503 where too many such requests wait, and the errors of
// confine.
func (m *Manager) prepare(ctx context.Context, asked *source, request *promapi.Request, namespace string) (_ *promapi.Request, planned func(), err error) {
	isCostly := false
	for _, name := range []string{"query", "match[]"} {
		isCostlyOne, err := promql.Check(m.config.Query.MaxLength, request.Parameters[name]...)
		if err != nil {
			return nil, nil, promapi.InvalidParameter(name, err)
		}
		isCostly = isCostly || isCostlyOne
	}
	planned = func() {}
	if isCostly {
		release, err := m.planning.Acquire(ctx, request.Caller)
		if overload, is := errors.AsType[*admission.OverloadError](err); is {
			return nil, nil, &promapi.Error{Status: http.StatusServiceUnavailable, Type: promapi.ErrorUnavailable, Cause: err, RetryAfter: overload.RetryAfter,
				Message: "too many queries wait that take long to read: try again later, or shorten the query"}
		}
		planned = sync.OnceFunc(release)
	}
	confined, err := m.confine(asked, request, namespace)
	if err != nil {
		planned()
		return nil, nil, err
	}
	return confined, planned, nil
}
