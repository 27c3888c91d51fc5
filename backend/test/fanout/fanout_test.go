//go:build e2e

package fanout

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

const deduplicating = "--query.replica-label=replica"

// expectation is which tier answers a question, and why. The reason is empty for any.
type expectation struct {
	question
	tier, reason string
}

func (w *world) hold(t *testing.T, address string, list map[string]expectation) {
	t.Helper()
	for name, each := range list {
		t.Run(name, func(t *testing.T) {
			expected := w.ask(t, w.oracle, each.question)
			var found answer
			// Evidence of a name or of a source may not be there at once: cold answers meanwhile.
			require.Eventually(t, func() bool {
				found = w.ask(t, address, each.question)
				require.Empty(t, differences(expected.series, found.series), "%s: %s", found.tier, found.reason)
				require.Empty(t, found.warnings)
				return found.tier == each.tier && (each.reason == "" || found.reason == each.reason)
			}, 20*time.Second, 50*time.Millisecond, "%s", &found)
		})
	}
}

func TestQuery_HotIsAThanosOverSeveralSources(t *testing.T) {
	w := newWorld(t, deduplicating)
	routed := w.gateway(t, 5*hour, time.Second, tier.StrategyRoute)
	w.hold(t, routed, map[string]expectation{
		"one cluster":                          {question{`temp{cluster="a"}`, 0}, "hot", "below-threshold"},
		"its legend":                           {question{`sum by (cluster, instance) (rate(requests_total{cluster="a"}[5m]))`, hour}, "hot", "below-threshold"},
		"two clusters":                         {question{`sum(temp{cluster=~"a|b"})`, 30 * time.Minute}, "hot", "below-threshold"},
		"all but the one that hot lacks":       {question{`sum by (cluster) (temp{cluster!="c"})`, 30 * time.Minute}, "hot", "below-threshold"},
		"a metric of these clusters alone":     {question{`sum by (cluster) (recent)`, 30 * time.Minute}, "hot", "below-threshold"},
		"a metric that another cluster has":    {question{`sum by (cluster) (temp)`, 0}, "cold", "not-in-hot"},
		"the cluster that hot lacks":           {question{`temp{cluster="c"}`, 0}, "cold", "not-in-hot"},
		"a source that has it all":             {question{`sum(increase(requests_total{cluster="a"}[3h]))`, 0}, "hot", "below-threshold"},
		"a source with a younger shard":        {question{`sum(increase(requests_total{cluster="b"}[3h]))`, 0}, "cold", "older-than-hot"},
		"both":                                 {question{`sum(increase(requests_total{cluster=~"a|b"}[3h]))`, 0}, "cold", "older-than-hot"},
		"a metric of both, from before":        {question{`sum(recent)`, 3 * hour}, "cold", "older-than-hot"},
		"longer than the threshold":            {question{`temp{cluster="a"}`, 5*hour + 30*time.Minute}, "cold", "at-or-above-threshold"},
		"a source that is older than hot":      {question{`temp{cluster="a"}`, 8 * hour}, "cold", "older-than-hot"},
		"two selectors, one source":            {question{`sum(temp{cluster="a"}) / sum(up{cluster="a"})`, hour}, "hot", "below-threshold"},
		"two selectors, one of another source": {question{`sum(temp{cluster="a"}) / sum(up{cluster="c"})`, hour}, "cold", "not-in-hot"},
		"no cluster of this name":              {question{`temp{cluster="z"}`, 0}, "cold", ""},
	})
	split := w.gateway(t, 15*time.Minute, time.Second, tier.StrategySplit)
	w.hold(t, split, map[string]expectation{
		"a cut query of an HA pair":       {question{`temp{cluster="a"}`, 8 * hour}, "hot,cold", "split"},
		"a rate of an HA pair":            {question{`sum(rate(requests_total{cluster="a"}[5m]))`, 8 * hour}, "hot,cold", "split"},
		"of a source with a younger part": {question{`sum by (instance) (temp{cluster="b"})`, 8 * hour}, "hot,cold", "split"},
		"a metric of both":                {question{`sum by (cluster) (recent)`, 8 * hour}, "hot,cold", "split"},
		"a metric that another one has":   {question{`sum by (cluster) (temp)`, 8 * hour}, "cold", ""},
	})
}
