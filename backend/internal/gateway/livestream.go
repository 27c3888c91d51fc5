package gateway

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/core"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/live"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/perses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resolve"
)

const (
	// permissionInterval is the default of Gateway.permissionInterval.
	permissionInterval = time.Minute
	// permissionRetry is how often it is looked up while Perses does not answer.
	permissionRetry = 5 * time.Second
	// changeRetry is how often a stream looks at most for a spec that another request has found: what
	// is known of a datasource differs between callers for some seconds.
	changeRetry = time.Second
	// unconfirmedFor is how long a stream goes on while Perses does not answer.
	unconfirmedFor = time.Minute
)

// liveStream is a live query that is being served.
type liveStream struct {
	gateway *Gateway
	target  liveTarget
	query   core.LiveQuery
	events  *eventWriter
	stream  *live.Stream

	// changed ends when another spec of the datasource was seen. It is nil for the default
	// datasource.
	changed context.Context //nolint:containedctx // It is awaited together with the client's.
	unwatch func()
	// checkAt is when the permission is looked up again, and dueAt when it should have been at last.
	checkAt, dueAt time.Time
}

// open subscribes to the query. It returns an Error of the Prometheus API.
func (s *liveStream) open(incoming *http.Request) error {
	var err error
	if s.query.Forced, err = choice(incoming.Header.Values(headerChoice)); err != nil {
		return err
	}
	s.query.Datasource = s.target.caller.Datasource
	prepared, err := s.prepare(incoming.Context())
	if err != nil {
		return err
	}
	if s.stream, err = s.gateway.core.Live.Subscribe(s.target.caller.ID, prepared, lastEventID(incoming)); err != nil {
		return err
	}
	s.watch()
	s.plan(time.Now().Add(rand.N(s.gateway.permissionInterval))) //nolint:gosec // G404: it spreads requests.
	return nil
}

func (s *liveStream) close() {
	s.stream.Close()
	if s.unwatch != nil {
		s.unwatch()
	}
}

// prepare returns the query of the datasource as it is now.
func (s *liveStream) prepare(ctx context.Context) (live.Query, error) {
	resolver, saved := s.gateway.core.Resolver, s.target.saved
	if saved == nil {
		s.query.Resolve = resolver.WaitDefault
	} else {
		s.query.Generation = saved.Generation
		s.query.Resolve = func(ctx context.Context) (*resolve.Resolved, error) { return resolver.WaitSaved(ctx, saved) }
	}
	return s.gateway.core.PrepareLive(ctx, s.query)
}

// watch awaits another spec of the datasource.
func (s *liveStream) watch() {
	if s.unwatch != nil {
		s.unwatch()
	}
	if saved := s.target.saved; saved != nil {
		s.changed, s.unwatch = s.gateway.specs.watch(saved.Reference, saved.Generation)
	}
}

// plan sets when the permission is looked up again.
func (s *liveStream) plan(at time.Time) { s.checkAt, s.dueAt = at, at }

// serve sends updates until the client disconnects or the stream ends.
func (s *liveStream) serve(ctx context.Context) {
	s.events.begin()
	for {
		update, err := s.next(ctx)
		switch {
		case err == nil:
			err = s.send(update)
		case ctx.Err() != nil:
			return
		case errors.Is(err, context.DeadlineExceeded):
			err = s.events.keepAlive()
		case errors.Is(err, context.Canceled):
			err = nil // The datasource has changed.
		}
		if err == nil && s.target.saved != nil && (s.changed.Err() != nil || !time.Now().Before(s.checkAt)) {
			err = s.check(ctx)
		}
		if end, is := errors.AsType[*live.EndError](err); is {
			_ = s.events.end(end) // The client may have disconnected.
		}
		if err != nil {
			return
		}
	}
}

// next waits for the next update. It returns context.DeadlineExceeded when it is time for a sign of
// life or for a look at the permission, and context.Canceled when the datasource has changed.
func (s *liveStream) next(ctx context.Context) (*live.Update, error) {
	wake := time.Now().Add(aliveInterval)
	if s.target.saved != nil {
		if s.checkAt.Before(wake) {
			wake = s.checkAt
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(s.changed, cancel)()
	}
	ctx, cancel := context.WithDeadline(ctx, wake)
	defer cancel()
	return s.stream.Next(ctx)
}

// send sends an update.
func (s *liveStream) send(update *live.Update) error {
	defer update.Release()
	if update.Kind == live.Failed {
		return s.events.failed(update.Err)
	}
	err := s.events.update(update)
	if err == nil && update.Kind == live.Append {
		s.gateway.core.Metrics.Live.Lag.Observe(time.Since(time.UnixMilli(int64(update.About.End))).Seconds())
	}
	return err
}

// check looks up the datasource and the permission again. If the spec has changed, the stream goes on
// with the changed datasource. check returns an EndError if it cannot.
func (s *liveStream) check(ctx context.Context) error {
	saved, err := s.target.lookUp(ctx)
	now := time.Now()
	switch status := promapi.AsError(err).Status; {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil:
		s.plan(now.Add(s.gateway.permissionInterval))
		return s.follow(ctx, saved)
	case status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusNotFound:
		return &live.EndError{Reason: live.EndPermission, Message: promapi.MessageOf(err)}
	case status >= http.StatusInternalServerError && now.Sub(s.dueAt) < unconfirmedFor:
		s.checkAt = now.Add(permissionRetry)
		return nil
	case status >= http.StatusInternalServerError:
		return &live.EndError{Reason: live.EndPermission, Message: "Perses did not confirm the permission in time: connect again"}
	}
	return &live.EndError{Reason: live.EndDatasource, Message: promapi.MessageOf(err)}
}

// follow goes on with a datasource that may have another spec.
func (s *liveStream) follow(ctx context.Context, saved *perses.Datasource) error {
	if saved.Generation == s.target.saved.Generation {
		if s.changed.Err() != nil {
			s.unwatch()
			s.changed, s.unwatch = context.Background(), nil
			s.checkAt = time.Now().Add(changeRetry)
		} else if s.unwatch == nil {
			s.watch()
		}
		return nil
	}
	s.target.saved = saved
	prepared, err := s.prepare(ctx)
	if err != nil {
		return &live.EndError{Reason: live.EndDatasource, Message: promapi.MessageOf(err)}
	}
	s.watch()
	s.stream.Switch(prepared)
	return nil
}
