package datasource

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/engine"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
)

// planningQueue is how many costly queries wait to be planned.
const planningQueue = 100

// newPlanningQueue returns the queue of queries that are costly to plan. Half of
// the processors plan them, so that they delay no other query.
func newPlanningQueue(config Config) *upstream.AdmissionQueue {
	return upstream.NewAdmissionQueue(upstream.Limits{
		Concurrent: max(runtime.GOMAXPROCS(0)/2, 1), Queue: planningQueue, Wait: time.Duration(config.Limits.QueueWait),
	})
}

// prepare checks what a query costs, waits for its turn where that is much,
// and confines it. Nothing parses a request before. The caller calls planned when
// the request is planned, and may call it again.
//
// It returns an Error with status 400 for PromQL that costs too much to be read
// at all, with status 503 where too many such requests wait, and the errors of
// confine.
func (m *Manager) prepare(ctx context.Context, asked *source, query engine.Query, namespace string) (_ engine.Query, planned func(), err error) {
	isCostly := false
	for _, name := range []string{"query", "match[]"} {
		isCostlyOne, err := promql.Check(m.config.Query.MaxLength, query.Request.Parameters[name]...)
		if err != nil {
			return query, nil, promapi.InvalidParameter(name, err)
		}
		isCostly = isCostly || isCostlyOne
	}
	planned = func() {}
	if isCostly {
		release, err := m.planning.Admit(ctx, query.Caller)
		if overload, is := errors.AsType[*upstream.OverloadError](err); is {
			return query, nil, &promapi.Error{Status: http.StatusServiceUnavailable, Type: promapi.ErrorUnavailable, Cause: err, RetryAfter: overload.RetryAfter,
				Message: "too many queries wait that take long to read: try again later, or shorten the query"}
		}
		planned = sync.OnceFunc(release)
	}
	confined, confinement, err := m.confine(asked, query.Request, namespace)
	if err != nil {
		planned()
		return query, nil, err
	}
	query.Request, query.ConfinedTo, query.ReadsNothing = confined, confinement.Values, confinement.ReadsNothing
	return query, planned, nil
}
