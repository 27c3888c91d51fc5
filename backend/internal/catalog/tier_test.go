package catalog

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog/ownrequest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/catalogtest"
)

func TestEndpointFor_LeavesOutThePath(t *testing.T) {
	cold := NewTier(TierOptions{Name: tier.Cold, Client: catalogtest.Client(t, "http://thanos:9090/tenants/shop")})
	require.Equal(t, "http://thanos:9090/tenants/shop", cold.EndpointFor(true))
	require.Equal(t, "http://thanos:9090", cold.EndpointFor(false), "the path may name a tenant")
}

func TestWith_SharesAllButTheSettings(t *testing.T) {
	base := NewTier(TierOptions{Name: tier.Hot, TierSettings: TierSettings{Retention: time.Hour, Lag: time.Minute}})
	require.Same(t, base, base.With(TierSettings{Retention: time.Hour, Lag: time.Minute}))
	now := time.UnixMilli(100_000_000)
	base.status.Store(&Status{Available: true, Oldest: 1000})
	view := base.With(TierSettings{Retention: time.Minute})
	require.Equal(t, tier.State{Configured: true, Available: true, Oldest: 99_940_000, Newest: 100_000_000}, view.State(now))
	require.Equal(t, tier.State{Configured: true, Available: true, Oldest: 96_400_000, Newest: 99_940_000}, base.State(now))
	require.Same(t, base, view.Base())
	require.Same(t, base, view.With(TierSettings{Retention: time.Hour, Lag: time.Minute}))
}

func TestProbe_SinceIsWhenTheTierBecameWhatItIs(t *testing.T) {
	cold := catalogtest.NewScripted(t, catalogtest.Answers{{"vector(1)", catalogtest.EmptyVector}})
	probed := NewTier(TierOptions{Name: tier.Cold, Client: catalogtest.Client(t, cold.URL), ProbeInterval: time.Hour})
	probe := func() Status { probed.probe(t.Context()); return probed.Status() }
	up := probe()
	require.Equal(t, up.CheckedAt, up.Since)
	again := probe()
	require.Equal(t, up.Since, again.Since)
	cold.Set(catalogtest.Answers{{"vector(1)", ""}})
	down := probe()
	require.False(t, down.Available)
	require.Equal(t, down.CheckedAt, down.Since)
	require.Equal(t, down.Since, probe().Since)
}

// No client is set: a probe would panic.
func TestTierRun_ProbesWaitForTheirProject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		probing := ownrequest.NewBudget(1, 0)
		require.True(t, probing.Acquire(t.Context()))
		waiting := NewTier(TierOptions{Name: tier.Cold, ProbeInterval: time.Hour, ProbeBudget: probing})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { waiting.Run(ctx); close(done) }()
		synctest.Wait()
		stop()
		<-done
		probing.Release()
	})
}
