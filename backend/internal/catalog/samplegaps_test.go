package catalog

import (
	"context"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/catalogtest"
)

func TestSampleGaps_OnlyWhatHotCoversIsCompared(t *testing.T) {
	c := pairOf(t, catalogtest.NewScripted(t, nil), catalogtest.NewScripted(t, nil), Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // Nothing is compared here.
	unmeasured := func(oldest, newest int64) *string {
		return c.SampleGaps(ctx, SamplesRead{
			Selectors: []promql.Selector{{labels.MustNewMatcher(labels.MatchEqual, "__name__", "x")}}, Oldest: oldest, Newest: newest,
			Each: func() []promql.Read { return nil },
		}).Unmeasured
	}
	require.Nil(t, unmeasured(0, hotOldest+1), "it is not known which series are hot's")
	c.learned.Store(&Snapshot{Evidence: tier.NewSeriesEvidence(tier.SeriesEvidence{})})
	require.Nil(t, unmeasured(0, hotOldest))
	require.Equal(t, "x", *unmeasured(0, hotOldest+1))
	c.options.Hot.status.Store(&Status{Available: true, Oldest: tier.NothingCovered})
	require.Nil(t, unmeasured(0, hotOldest+1))
}

// What begins before hot's coverage is cold's anyhow.
func TestSampleGaps_HotIsAskedForTheBeginningOfWhatItCovers(t *testing.T) {
	for _, test := range []struct {
		oldest   int64
		requests int
		younger  bool
	}{{hotOldest - 1, 0, true}, {hotOldest, 1, false}} {
		hot := catalogtest.NewScripted(t, catalogtest.Answers{{"/series", `[{}]`}})
		c := pairOf(t, hot, catalogtest.NewScripted(t, nil), Options{})
		c.learned.Store(&Snapshot{Evidence: tier.NewSeriesEvidence(tier.SeriesEvidence{})})
		found := c.SampleGaps(t.Context(), SamplesRead{
			Selectors: []promql.Selector{{labels.MustNewMatcher(labels.MatchEqual, "__name__", "x")}}, Oldest: test.oldest, Newest: hotOldest + 1,
			Each: func() []promql.Read { return nil },
		})
		require.NotNil(t, found.Unmeasured)
		require.Equal(t, test.younger, found.Younger != nil)
		require.Len(t, hot.Requests("/series"), test.requests)
	}
}
