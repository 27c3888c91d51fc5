package diagnosis

import (
	"fmt"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/catalog"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// sources adds findings on a server of hot that lists its stores, such as a Thanos Query.
func (d *diagnosis) sources(subject string, hot *catalog.Tier, both *catalog.Catalog) {
	status, evidence := hot.Status(), both.Snapshot().Evidence
	if len(status.Sources) == 0 || evidence == nil {
		return
	}
	switch why, isAll := evidence.Unused(); {
	case isAll && evidence.Refusal != (tier.Note{}):
		d.add(subject, SeverityError, "hot answers no queries: "+why.Detail,
			"let hot read the sidecars or receivers from which cold gets its series, or give them the same external labels. hot.external_labels and hot.complete do not apply to a server that lists its stores")
	case isAll:
		d.add(subject, SeverityError, "hot answers no queries: "+why.Detail, "give both Thanos Queries the same flags --query.replica-label")
	case why != (tier.Note{}):
		d.add(subject, SeverityWarning, "hot answers no queries that may read some of its sources: "+why.Detail, "give both Thanos Queries the same flags --query.replica-label")
	}
	if evidence.Inseparable != "" && len(evidence.Others()) > 0 {
		d.add(subject, SeverityWarning, "hot answers only queries that name its sources, because "+evidence.Inseparable, "give all sources one external label whose value no other source has, such as cluster")
	}
	for _, source := range evidence.HotSources {
		if evidence.Refusal == (tier.Note{}) && !promql.ContainsLabels(evidence.Sources, source) {
			d.add(subject, SeverityWarning, fmt.Sprintf("cold has no source %s, which hot has: queries that may read it lack its older samples", promql.FormatLabels(source)), "let cold read the same sidecars or receivers as hot, with the same external labels")
		}
	}
	followed := 0
	for _, source := range status.Sources {
		problem := source.Error
		if len(source.Notes) > 0 {
			problem = source.Notes[0].Detail
		}
		if problem != "" {
			d.add(subject, SeverityWarning, problem+". Queries that may read this source go to cold", "restore the store, and look at /api/v1/stores of hot")
		}
		if source.IsFollowed {
			followed++
		}
	}
	text := fmt.Sprintf("hot lists its stores: they have %d sources", len(status.Sources))
	if followed < len(status.Sources) {
		text += fmt.Sprintf(", of which %d are followed at a time. Queries that may read more go to cold", followed)
	}
	d.add(subject, SeverityNote, text, "")
}
