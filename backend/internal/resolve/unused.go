package resolve

import (
	"cmp"
	"fmt"
	"time"

	"github.com/prometheus/common/model"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
)

// What to change about a hot tier that would get no query.
const (
	remedyOfTenant   = "set hot.tenant, or tenant of its entry in destinations, if hot holds this tenant. Otherwise, remove the hot tier from the datasource"
	remedyOfCoverage = "let it keep the metric up, or another one that it scrapes all the time"
	// remedyOfRetention is added if the configured retention would help.
	remedyOfRetention = ", or set hot.retention to declare that it has all samples since its start, at most for so long"
	remedyOfLookback  = "wait until hot has collected more samples. If hot keeps fewer, increase its retention, or hot.retention"
	remedyOfLabels    = "let the gateway read /api/v1/status/config of hot, or set hot.external_labels. If hot has every series, set hot.complete"
)

// defaultLookback is how far back an instant selector reads if the tier does not say.
const defaultLookback = 5 * time.Minute

// findUnused finds out whether a hot tier that can be used would get no query nevertheless: its coverage is
// shorter than what queries read, or no query can name its series.
func (t *TierReport) findUnused(cold *TierReport, declared declaration, aside []string, now time.Time) {
	if t.State != StateOK || t.Unused != "" || t.CoverageStart == nil {
		return
	}
	lookback := cmp.Or(max(t.lookback, cold.lookback), defaultLookback)
	if held := now.Sub(*t.CoverageStart).Truncate(time.Second); held < lookback {
		t.Unused = fmt.Sprintf("hot covers only the last %s, and queries read at least %s: they go to cold", model.Duration(held), model.Duration(lookback))
		t.Remedy = remedyOfLookback
		return
	}
	labels := declared.externalLabels
	if labels == nil {
		labels = t.ExternalLabels
	}
	if declared.complete || len(t.tiers) == 0 || t.tiers[0].ListsStores() || len(promql.WithoutLabels(labels, aside)) > 0 {
		return
	}
	if sources := cold.sources(aside); len(sources) > 1 {
		t.Unused = fmt.Sprintf("hot does not report its external labels, and cold has %d sources: queries for metrics that cold has go to cold", len(sources))
		t.Remedy = remedyOfLabels
	}
}

// sources returns the external labels of the sources of a cold tier that lists its stores.
func (t *TierReport) sources(aside []string) []map[string]string {
	if t.State != StateOK || len(t.tiers) == 0 {
		return nil
	}
	return catalog.SourcesOf(t.tiers[0].Status().Stores, aside)
}
