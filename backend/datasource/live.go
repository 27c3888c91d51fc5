package datasource

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"time"

	"github.com/prometheus/common/model"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/core"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/live"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// LiveOptions say what part of a live query its caller follows.
type LiveOptions struct {
	// Range is the length of the window, which ends now. Zero: one hour.
	Range time.Duration
	// ResumeAfter is Settled of the last update of an earlier stream of the same query. The first
	// update then has the steps that follow it. The zero time: the first update is a snapshot.
	ResumeAfter time.Time
}

// LiveUpdate are steps of a live query that are new or have changed.
type LiveUpdate struct {
	// IsSnapshot is set if the update has all steps of the window, and replaces everything before.
	// Otherwise it replaces the steps from Start to End, both inclusive: a series that it lacks has
	// no samples there.
	IsSnapshot bool
	Start, End time.Time
	// Settled is the last step that can no longer change: see LiveOptions.ResumeAfter.
	Settled time.Time
	// QueryResult has the steps, as a model.Matrix, and who answered the newest one.
	QueryResult
}

// ErrLiveEnded is wrapped by the last error of Live if the gateway ended the stream.
var ErrLiveEnded = errors.New("the live query has ended")

const (
	defaultLiveRange = time.Hour
	minLiveStep      = time.Second
)

// ValidateLive parses a live query and checks it against limits. It returns all mistakes, or nil.
// Start and End have to be zero, because the window ends now, and Step at least one second.
func (q *MetricQuery) ValidateLive(options LiveOptions, limits config.QueryConfig) ValidationErrors {
	var mistakes ValidationErrors
	q.checkQuery(&mistakes, limits.MaxLength)
	for field, at := range map[string]time.Time{"start": q.Start, "end": q.End} {
		mistakes.addIf(!at.IsZero(), field, "does not belong to a live query: set a range, and the window ends now")
	}
	mistakes.addIf(q.Step < minLiveStep || q.Step%time.Millisecond != 0, "step", "must be at least 1s, and a whole number of milliseconds")
	mistakes.addIf(options.Range < 0, "range", "must not be negative")
	if q.Step < minLiveStep || options.Range < 0 {
		return mistakes
	}
	now := time.Now()
	window := MetricQuery{Start: now.Add(-cmp.Or(options.Range, defaultLiveRange)), End: now, Step: q.Step}
	var ofWindow ValidationErrors
	window.checkTimes(&ofWindow, time.Duration(limits.MaxRange))
	for _, mistake := range ofWindow {
		if mistake.Field == "start" {
			mistake = Mistake{Field: "range", Message: fmt.Sprintf("is longer than the limit of %s", model.Duration(limits.MaxRange))}
		}
		mistakes = append(mistakes, mistake)
	}
	return mistakes
}

// Live follows a query. It yields a snapshot of the window at once, then each new step within a second,
// together with steps that have changed. Live queries with the same text and step share one evaluation
// for each step.
//
// An update without an error may be used until the next one. Every error is a *QueryError. After one
// that wraps ErrLiveEnded, after one of the first evaluation that says that the query is invalid, and
// after the end of ctx, nothing follows. After any other error, the next updates follow when the
// evaluation succeeds again.
func (r *Router) Live(ctx context.Context, query *MetricQuery, options LiveOptions) iter.Seq2[*LiveUpdate, error] {
	return func(yield func(*LiveUpdate, error) bool) {
		stream, err := r.subscribe(ctx, query, options)
		if err != nil {
			yield(nil, queryError(err))
			return
		}
		defer stream.Close()
		for {
			update, err := stream.Next(ctx)
			switch {
			case ctx.Err() != nil:
				return
			case err != nil:
				yield(nil, queryError(&promapi.Error{
					Status: http.StatusServiceUnavailable, Type: promapi.ErrorUnavailable, Message: err.Error(), Cause: ErrLiveEnded,
				}))
				return
			}
			decoded, err := decodeUpdate(update)
			update.Release()
			if err != nil {
				err = queryError(err)
			}
			if !yield(decoded, err) {
				return
			}
		}
	}
}

// subscribe returns a stream of the query.
func (r *Router) subscribe(ctx context.Context, query *MetricQuery, options LiveOptions) (*live.Stream, error) {
	if query == nil {
		query = &MetricQuery{}
	}
	if mistakes := query.ValidateLive(options, r.core.Config.Query); len(mistakes) > 0 {
		return nil, &promapi.Error{Status: http.StatusBadRequest, Type: promapi.ErrorBadData, Message: mistakes.Error(), Cause: mistakes}
	}
	caller := core.LibraryCaller()
	prepared, err := r.core.PrepareLive(ctx, core.LiveQuery{
		Query: query.Query, Step: query.Step, Range: cmp.Or(options.Range, defaultLiveRange), Namespace: query.Namespace,
		Datasource: caller.Datasource, Resolve: r.core.Resolver.WaitDefault,
	})
	if err != nil {
		return nil, err
	}
	resumeAfter := int64(0)
	if !options.ResumeAfter.IsZero() {
		resumeAfter = options.ResumeAfter.UnixMilli()
	}
	return r.core.Live.Subscribe(caller.ID, prepared, resumeAfter)
}

// decodeUpdate returns an update, or the error that it is.
func decodeUpdate(update *live.Update) (*LiveUpdate, error) {
	if update.Kind == live.Failed {
		return nil, update.Err
	}
	answer, err := promapi.DecodeAnswer(http.StatusOK, bytes.NewReader(update.Body))
	if err != nil {
		return nil, err
	}
	said := update.About
	return &LiveUpdate{
		IsSnapshot: update.Kind == live.Snapshot, Start: time.UnixMilli(int64(said.Start)).UTC(), End: time.UnixMilli(int64(said.End)).UTC(),
		Settled:     time.UnixMilli(update.ID).UTC(),
		QueryResult: QueryResult{Value: answer.Value, Warnings: answer.Warnings, Infos: answer.Infos, Tier: said.Tier, Reason: said.Reason, Source: said.Source},
	}, nil
}
