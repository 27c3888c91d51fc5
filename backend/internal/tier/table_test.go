package tier

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/promql"
)

var update = flag.Bool("update", false, "write the generated part of docs/routing.md anew")

const (
	routingFile = "../../../docs/routing.md"
	tableBegin  = "<!-- The table is written by make generate. Do not edit it. -->\n"
	tableEnd    = "<!-- End of the table. -->\n"
)

// tableRow is a query over the last minutes or hours; without a span it is an
// instant query.
type tableRow struct {
	query  string
	span   time.Duration
	ago    time.Duration // of the end
	change func(*Input)
	where  string // what is different
}

var tableRows = []tableRow{
	{query: `sum by (namespace) (rate(container_cpu_usage_seconds_total[5m]))`, span: 5 * minute},
	{query: `sum by (namespace) (rate(container_cpu_usage_seconds_total[5m]))`, span: hour},
	{query: `container_memory_rss`, span: 15*minute - time.Millisecond},
	{query: `container_memory_rss`, span: 15 * minute},
	{query: `rate(container_cpu_usage_seconds_total[30m])`, span: 5 * minute},
	{query: `container_memory_rss`, span: 5 * minute, ago: 3 * hour},
	{query: `container_memory_rss`, span: 5 * minute, ago: 7 * day},
	{query: `container_memory_rss offset 1d`, span: 5 * minute},
	{query: `container_memory_rss offset -1h`, span: 5 * minute, ago: 2 * hour},
	{query: `container_memory_rss @ 1759000000`, span: 5 * minute},
	{query: `rate(container_cpu_usage_seconds_total[30d])`},
	{query: `max_over_time(container_memory_rss[6h:1m])`},
	{query: `vector(1)`, span: day},
	{query: `sum(up)`, span: 5 * minute},
	{query: `sum(up{cluster="lab"})`, span: 5 * minute},
	{query: `sum(up{cluster=~"lab|other"})`, span: 5 * minute},
	{query: `container_memory_rss{cluster="other"}`, span: 5 * minute},
	{query: `{__name__=~"container_.*"}`},
	{query: `{job="node"}`},
	{query: `shop_orders_total`, span: 5 * minute},
	{query: `info(container_memory_rss)`},
	{query: `container_memory_rss <| 1`, span: 5 * minute},
	{query: `container_memory_rss`, span: hour, where: "cold lags by 2h", change: func(in *Input) { in.Cold.Newest = before(2 * hour) }},
	{query: `container_memory_rss`, span: 12 * hour, where: "cold lags by 2h", change: func(in *Input) { in.Cold.Newest = before(2 * hour) }},
	{query: `container_memory_rss`, span: 3 * hour, where: "cold lacks an hour of it", change: func(in *Input) { in.Cold.Missing = hole }},
	{query: `container_memory_rss`, span: hour, where: "cold never got it", change: func(in *Input) { in.Cold.Missing = never }},
	{query: `container_memory_rss`, span: day, where: "cold never got it", change: func(in *Input) { in.Cold.Missing = never }},
	{query: `container_memory_rss`, span: 14 * minute, ago: 9 * minute, where: "hot has it for 20m only, cold for longer", change: func(in *Input) { in.Hot.Missing = beganLate }},
	{query: `container_memory_rss`, span: 5 * minute, where: "hot does not answer, or no samples come in", change: func(in *Input) { in.Hot.Available = false }},
	{query: `container_memory_rss`, span: hour, where: "cold does not answer", change: func(in *Input) { in.Cold.Available = false }},
	{query: `container_memory_rss`, span: day, where: "cold does not answer", change: func(in *Input) { in.Cold.Available = false }},
	{query: `sum(up)`, span: 5 * minute, where: "cold does not answer", change: func(in *Input) { in.Cold.Available = false }},
	{query: `container_memory_rss`, span: 5 * minute, where: "hot was restarted empty 4m ago", change: func(in *Input) { in.Hot.Oldest = before(4 * minute) }},
	{query: `container_memory_rss`, span: 5 * minute, where: "`X-Tier-Choice: cold`", change: func(in *Input) { in.Forced = Cold }},
	{query: `container_memory_rss`, span: 5 * minute, where: "`dedup=false`", change: func(in *Input) { in.ColdParameter = "dedup" }},
	{query: `container_memory_rss`, span: 5 * minute, where: "there is no hot tier", change: func(in *Input) { in.Hot = State{} }},
}

// tableEvidence is the world of the table: two clusters, one of which is hot's.
var tableEvidence = NewSeriesEvidence(SeriesEvidence{
	HotLabels: map[string]string{"cluster": "lab"}, HotLabelsKnown: true, InjectedLabels: map[string]string{"cluster": "lab"}, Distinct: map[string]string{"cluster": "lab"},
	Sources: []map[string]string{{"cluster": "lab"}, {"cluster": "other"}}, SourcesKnown: true,
})

// tableNames are the metric names of both tiers.
var tableNames = map[string]NameEvidence{
	"up": {Hot: Present, Elsewhere: Present}, "container_memory_rss": {Hot: Present, Elsewhere: Absent},
	"container_cpu_usage_seconds_total": {Hot: Present, Elsewhere: Absent}, "shop_orders_total": {Hot: Absent, Elsewhere: Present},
}

func (r tableRow) render(t *testing.T) string {
	t.Helper()
	end := now.Add(-r.ago)
	in := input(nil)
	in.Threshold = 15 * minute
	in.Extent = promql.UnknownExtent(end.Add(-r.span), end)
	query, err := promql.Parse(r.query)
	if err == nil {
		in.Extent, err = query.Extent(promql.Evaluation{Start: end.Add(-r.span), End: end, Step: step(r.span)})
		require.NoError(t, err)
	}
	requirement := tableEvidence.Requires(promql.KeyOf(r.query), func() ([]promql.Selector, error) {
		if query == nil {
			_, err := promql.Parse(r.query)
			return nil, err
		}
		return query.Selectors(), nil
	})
	requirement = requirement.Expanded(t.Context(), slices.Sorted(maps.Keys(tableNames)), 100)
	is, why, _ := requirement.Completeness(func(name string) NameEvidence {
		return cmp.Or(tableNames[name], NameEvidence{Hot: Absent, Elsewhere: Absent})
	})
	in.Completeness, in.CompletenessWhy = is, why.Detail
	if requirement.Understood {
		if _, err := query.WithLabels(tableEvidence.InjectedLabels); err != nil {
			in.Unlabelled = err.Error()
		}
	}
	if r.change != nil {
		r.change(&in)
	}
	decision, err := Plan(in)
	require.NoError(t, err)
	span := "at one time"
	if r.span > 0 {
		span = strings.TrimSuffix(strings.TrimSuffix(r.span.String(), "0s"), "0m")
	}
	if r.ago > 0 {
		span += ", until " + strings.TrimSuffix(strings.TrimSuffix(r.ago.String(), "0s"), "0m") + " ago"
	}
	warning := ""
	if len(decision.Warnings) > 0 {
		warning = ", with a warning"
	}
	return fmt.Sprintf("| `%s` | %s | %s | %s%s | `%s` |\n", strings.ReplaceAll(r.query, "|", "\\|"), span, r.where, decision.Tier, warning, decision.Reason)
}

// TestPlan_EqualsTheTableOfTheDocumentation holds the table of docs/routing.md to what the rules say, or
// writes it with -update.
func TestPlan_EqualsTheTableOfTheDocumentation(t *testing.T) {
	var table strings.Builder
	table.WriteString("\n| query | range | where | tier | reason |\n| --- | --- | --- | --- | --- |\n")
	for _, row := range tableRows {
		table.WriteString(row.render(t))
	}
	table.WriteString("\n")
	text, err := os.ReadFile(routingFile)
	require.NoError(t, err)
	begin, rest, found := strings.Cut(string(text), tableBegin)
	require.True(t, found)
	_, end, found := strings.Cut(rest, tableEnd)
	require.True(t, found)
	rendered := begin + tableBegin + table.String() + tableEnd + end
	if *update {
		require.NoError(t, os.WriteFile(routingFile, []byte(rendered), 0o600))
		return
	}
	require.Equal(t, rendered, string(text), "docs/routing.md is stale: run make generate")
}
