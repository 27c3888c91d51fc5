package engine

import (
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// A Prometheus 2 reads one sample more than a Prometheus 3 where samples lie at the ends of a range.
func TestRangeEnds_TiersThatDiffer(t *testing.T) {
	const closed, open = `{"resultType":"vector","result":[{"metric":{},"value":[3600,"2"]}]}`, `{"resultType":"vector","result":[{"metric":{},"value":[3600,"1"]}]}`
	const warning = "evaluates as Prometheus 2"
	for name, test := range map[string]struct {
		hot, cold       string
		isCut           bool
		hotWarns, warns bool
	}{
		"both are like Prometheus 3": {hot: open, cold: open, isCut: true},
		"both are like Prometheus 2": {hot: closed, cold: closed, isCut: true},
		"hot is older":               {hot: closed, cold: open, hotWarns: true},
		"cold is older":              {hot: open, cold: closed, warns: true},
	} {
		t.Run(name, func(t *testing.T) {
			hot := told{"/label/__name__": `["up"]`, "/status/config": `{"yaml":"global: {evaluation_interval: 30s}"}`, "count_over_time(vector(1)": test.hot}
			p, both := laggingTiers(t, hot, told{"count_over_time(vector(1)": test.cold}, 0)
			p.hot.Handle(steps("a"))
			p.cold.Handle(steps("a"))
			tiers := &splitTiers{tiers: p, both: both, engine: New(Options{PieceBytes: 10 << 20})}
			planned, err := plan(t.Context(), tiers.rangeQuery(t, nil))
			require.NoError(t, err)
			require.Equal(t, test.isCut, planned.Cut != nil, planned.NotCut)
			if !test.isCut {
				require.Contains(t, planned.NotCut, "ranges include both of their ends in the ")
			}
			for choice, warns := range map[tier.Name]bool{tier.Hot: test.hotWarns, tier.Cold: test.warns} {
				query := tiers.rangeQuery(t, nil)
				query.Forced = choice
				response, err := do(t.Context(), query)
				require.NoError(t, err)
				require.Equal(t, !test.isCut, response.IsApart())
				require.Equal(t, choice, response.Tier)
				check := require.NotContains
				if warns {
					check = require.Contains
				}
				check(t, body(t, response), warning, choice)
				query = tiers.rangeQuery(t, url.Values{"query": {"vector(1)"}})
				query.Forced = choice
				response, err = do(t.Context(), query)
				require.NoError(t, err)
				require.NotContains(t, body(t, response), warning, "it reads no samples")
			}
		})
	}
}
