package catalog

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/catalogtest"
)

// Hot is asked once about the metrics of a request, and not at all where no series carries such a label.
func TestMerged_AsksAboutWhatIsRead(t *testing.T) {
	for name, test := range map[string]struct {
		hot      catalogtest.Answers
		query    string
		expected string
		asked    int // about metrics
	}{
		"no series has the label":        {catalogtest.Answers{{"label/replica/", `[]`}}, "lag", "", 0},
		"those of another metric have":   {catalogtest.Answers{{`limit=1&match[]={__name__="lag"}`, `[]`}, {"label/replica/", `["1"]`}}, "lag", "", 1},
		"those of the metric have":       {catalogtest.Answers{{"label/replica/", `["1"]`}}, "lag", "replica", 1},
		"one of two metrics has":         {catalogtest.Answers{{"label/replica/", `["1"]`}}, "lag + up", "replica", 1},
		"hot does not answer":            {catalogtest.Answers{{"match[]", ""}, {"label/replica/", `["1"]`}}, "lag", "replica", 2},
		"the selector names no metric":   {catalogtest.Answers{{"label/replica/", `["1"]`}}, `{job="x"}`, "replica", 0},
		"hot has no metric of such name": {catalogtest.Answers{{"label/replica/", `["1"]`}, {"label/__name__/", `[]`}}, `{__name__=~"no.+"}`, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			hot := catalogtest.NewScripted(t, append(test.hot, hotTold...))
			p := pairOf(t, hot, catalogtest.NewScripted(t, coldTold), Options{})
			p.options.Cold.status.Store(&Status{Available: true, Stores: twoSources})
			p.learn(t.Context())
			require.Empty(t, p.Snapshot().Error)
			query, err := promql.Parse(test.query)
			require.NoError(t, err)
			for range 2 {
				require.Equal(t, test.expected, p.Merged(t.Context(), query.Selectors(), hotOldest))
			}
			require.Len(t, hot.Requests("replica/values?limit=1&match"), test.asked)
		})
	}
}
