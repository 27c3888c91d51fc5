package engine

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// completeness returns whether hot is complete for a metric that is read now.
func (p *cachedTiers) completeness(t *testing.T, metric string) tier.Completeness {
	t.Helper()
	selector, err := promql.ParseSelector(metric)
	require.NoError(t, err)
	needed := p.both.Snapshot().Evidence.Requires(promql.KeyOf(metric), func() ([]promql.Selector, error) { return []promql.Selector{selector}, nil })
	now := time.Now().UnixMilli()
	is, _ := p.both.Completeness(t.Context(), needed, now-time.Minute.Milliseconds(), now)
	return is
}

// Between two learnings, an hour apart, each probe of cold looks for the metrics that queries
// read, and for sources that it did not have before.
func TestPlan_NoticesNewMetricsInCold(t *testing.T) {
	p := newCachedTiers(t)
	before := p.both.Snapshot()
	require.Len(t, before.Evidence.Sources, 2)
	tell := func(names, stores string) {
		newest := fmt.Sprintf(`{"resultType":"vector","result":[{"metric":{},"value":[1,"%d"]}]}`, time.Now().Unix())
		p.cold.HandleProbes(told{"/stores": stores, "max(timestamp(": newest, "others": names}.handler())
	}
	require.Equal(t, tier.Complete, p.completeness(t, "up"))
	tell("other up", bothStores)
	require.Eventually(t, func() bool { return p.completeness(t, "up") == tier.Incomplete }, 10*time.Second, time.Millisecond)
	require.Equal(t, before.LearnedAt, p.both.Snapshot().LearnedAt)

	// A metric that another source had counts as one of its metrics for a day.
	tell("", bothStores)
	p.probes(t, 3)
	require.Equal(t, tier.Incomplete, p.completeness(t, "up"))

	tell("other", strings.Replace(bothStores, `"sidecar":[`, `"sidecar":[{"name":"c","lastError":null,"labelSets":[{"cluster":"c"}],"maxTime":9223372036854775807},`, 1))
	require.Eventually(t, func() bool { return len(p.both.Snapshot().Evidence.Sources) == 3 }, 10*time.Second, time.Millisecond)
	require.True(t, p.both.Snapshot().LearnedAt.After(before.LearnedAt), "everything is learned again")
}
