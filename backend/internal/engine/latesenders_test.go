package engine

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// storesOf is what a Thanos lists that has one store of a kind.
func storesOf(kind string) string {
	return `{"` + kind + `":[{"name":"a","lastError":null,"labelSets":[{"cluster":"b"}],"maxTime":9223372036854775807}]}`
}

func TestStepCache_LeavesOutWhatALateSenderCanChange(t *testing.T) {
	const prometheus, none = `{"yaml":"global: {scrape_interval: 30s}"}`, "x" // which is no list
	for name, test := range map[string]struct {
		cold  told
		query string
		fresh time.Duration // that is not kept, besides two scrape intervals
	}{
		"a sidecar has its own samples":               {told{"/stores": storesOf("sidecar")}, "up", 10 * time.Minute},
		"so has a ruler":                              {told{"/stores": storesOf("rule")}, "up", 10 * time.Minute},
		"a store gateway has finished blocks":         {told{"/stores": storesOf("store")}, "up", 10 * time.Minute},
		"a receiver does not list its senders":        {told{"/stores": storesOf("receive")}, "up", catalog.LateSender + 10*time.Minute},
		"hot is a sender like the others":             {told{"/stores": storesOf("receive")}, `up{cluster="b"}`, catalog.LateSender + 10*time.Minute},
		"a query behind a query may have a receiver":  {told{"/stores": storesOf("query")}, "up", catalog.LateSender + 10*time.Minute},
		"no list of stores":                           {told{"/stores": none}, "up", catalog.LateSender + 10*time.Minute},
		"a Prometheus refuses what is older":          {told{"/stores": none, "/status/config": prometheus}, "up", catalog.Appendable},
		"a Prometheus with a short out-of-order time": {told{"/stores": none, "/status/config": `{"yaml":"storage: {tsdb: {out_of_order_time_window: 30m}}"}`}, "up", catalog.Appendable},
		"a Prometheus with a long out-of-order time":  {told{"/stores": none, "/status/config": `{"yaml":"storage: {tsdb: {out_of_order_time_window: 3h}}"}`}, "up", 3 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			test.cold["/label/cluster"] = `["a","b"]`
			p := newCachedTiersThat(t, test.cold)
			query := func() asking {
				query := p.at(t, 0, 26*time.Hour, map[string][]string{"query": {test.query}})
				query.Strategy = tier.StrategyRoute
				return query
			}
			require.Eventually(t, func() bool { return p.do(t, query()).Cache.Cached > 0 }, 10*time.Second, 5*time.Millisecond)
			cached := time.Duration(p.do(t, query()).Cache.Cached) * time.Minute
			require.LessOrEqual(t, cached, 26*time.Hour-test.fresh+time.Minute)
			require.Greater(t, cached, 26*time.Hour-test.fresh-5*time.Minute)
		})
	}
}
