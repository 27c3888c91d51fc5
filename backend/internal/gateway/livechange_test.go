package gateway

import (
	"context"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/live"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/perses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promapi"
)

// After a change, what is known of a datasource differs between callers for some seconds. Their
// streams must not wake each other without a pause.
func TestLiveStream_CallersThatSeeDifferentSpecs(t *testing.T) {
	t.Parallel()
	g := startLive(t, nil).gateway
	reference := perses.Reference{Name: "metrics"}
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	var checks atomic.Int64
	var serving sync.WaitGroup
	for _, generation := range []string{"old", "new"} {
		saved := &perses.Datasource{Reference: reference, Generation: generation}
		s := &liveStream{gateway: g, events: newEventWriter(httptest.NewRecorder()), target: liveTarget{saved: saved, lookUp: func(context.Context) (*perses.Datasource, error) {
			checks.Add(1)
			g.specs.see(saved)
			return saved, nil
		}}}
		var err error
		s.stream, err = g.core.Live.Subscribe(1, live.Query{
			Key: generation, Step: time.Second, Range: time.Minute,
			Evaluate: func(context.Context, time.Time, time.Time, bool) (*live.Answer, error) {
				return nil, promapi.Errorf(503, promapi.ErrorUnavailable, "down")
			},
		}, 0)
		require.NoError(t, err)
		s.watch()
		s.plan(time.Now().Add(time.Hour))
		serving.Go(func() {
			defer s.close()
			s.serve(ctx)
		})
	}
	serving.Wait()
	require.NotZero(t, checks.Load(), "the first one learns that there is another spec")
	require.LessOrEqual(t, checks.Load(), int64(8))
}
