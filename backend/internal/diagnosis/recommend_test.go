package diagnosis

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/engine"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// took returns what both tiers took for a range, in milliseconds.
func took(length time.Duration, hot, cold int) rangeLatency {
	of := func(milliseconds int) *latency {
		median := time.Duration(milliseconds) * time.Millisecond
		return &latency{median: median, fastest: median * 9 / 10}
	}
	return rangeLatency{length: length, step: time.Minute, hot: of(hot), cold: of(cold)}
}

func TestRecommendation_NamesTheThresholdThatIsFaster(t *testing.T) {
	const minute, hour, day = time.Minute, time.Hour, 24 * time.Hour
	gaveUp, noisy := took(6*hour, 40, 8000), took(6*hour, 40, 100)
	gaveUp.cold.gaveUp, noisy.cold.fastest = true, 35*time.Millisecond
	newest, kept := took(15*minute, 3, 20), took(6*hour, 50, 200)
	kept.isKept = true
	ofLongThreshold := took(6*hour, 104, 68)
	for name, test := range map[string]struct {
		recommendation

		severity        Severity
		message, remedy string
	}{
		"hot is faster up to 6h": {recommendation{threshold: 15 * minute, coverage: 15 * day, measured: []rangeLatency{took(15*minute, 5, 25), took(hour, 10, 60), took(6*hour, 50, 200), took(day, 210, 230)}},
			SeverityWarning, "hot is 4 to 6 × as fast as cold up to 6h, but queries that read 15m or more go to cold", "consider routing.threshold: 7h"},
		"hot is faster for a week": {recommendation{threshold: 15 * minute, coverage: 15 * day, measured: []rangeLatency{took(7*day, 100, 230)}},
			SeverityWarning, "hot is 2.3 × as fast as cold up to 7d, but", "consider routing.threshold: 8d"},
		"cold did not answer": {recommendation{threshold: 15 * minute, coverage: 15 * day, measured: []rangeLatency{took(hour, 10, 60), gaveUp}},
			SeverityWarning, "hot is at least 6 × as fast as cold up to 6h", "consider routing.threshold: 7h"},
		"hot hardly reaches further than the range": {recommendation{threshold: 15 * minute, coverage: 6*hour + 10*minute + time.Second, measured: []rangeLatency{took(6*hour, 50, 200)}},
			SeverityWarning, "hot is 4 × as fast", "consider routing.threshold: 6h10m"},
		"hot reaches as far as the range": {recommendation{threshold: 15 * minute, coverage: 6*hour + 10*time.Second, measured: []rangeLatency{took(6*hour, 50, 200)}},
			SeverityOK, "the threshold of 15m suits the measured times", ""},
		"the threshold suits": {recommendation{threshold: 2 * hour, coverage: 15 * day, measured: []rangeLatency{took(hour, 10, 60), took(6*hour, 200, 60)}},
			SeverityOK, "the threshold of 2h suits the measured times", ""},
		"cold is faster": {recommendation{threshold: 12 * hour, coverage: 15 * day, measured: []rangeLatency{took(15*minute, 10, 10), took(hour, 20, 15), took(6*hour, 300, 60), took(day, 900, 100)}},
			SeverityWarning, "cold is 5 × as fast as hot for 6h, but queries that read less than 12h go to hot", "consider routing.threshold: 1h15m"},
		"cold is faster from the shortest range on": {recommendation{threshold: 12 * hour, coverage: 15 * day, measured: []rangeLatency{took(hour, 200, 15)}},
			SeverityWarning, "cold is 13 × as fast as hot for 1h", "consider routing.threshold: 1h"},
		"cold is faster in between": {recommendation{threshold: 15 * minute, coverage: 15 * day, measured: []rangeLatency{took(15*minute, 5, 25), took(hour, 100, 20), took(6*hour, 50, 200)}},
			SeverityWarning, "hot is 5 × as fast as cold up to 15m", "consider routing.threshold: 20m"},
		"no difference": {recommendation{threshold: 15 * minute, coverage: 15 * day, measured: []rangeLatency{took(15*minute, 3, 5), took(hour, 100, 120)}},
			SeverityOK, "both tiers take about the same, so the threshold of 15m is as good as another one", ""},
		"a difference within cold's own": {recommendation{threshold: 15 * minute, coverage: 15 * day, measured: []rangeLatency{noisy}},
			SeverityOK, "both tiers take about the same", ""},
		"split, a range too recent to be kept and a longer one": {recommendation{threshold: 15 * minute, coverage: 15 * day, isSplit: true, newest: &newest, measured: []rangeLatency{took(15*minute, 5, 25), kept}},
			SeverityWarning, "hot is 5 × as fast as cold up to 15m, but queries that read 15m or more wait for cold, too", "consider routing.threshold: 20m"},
		"hot's part of a refresh takes long": {recommendation{threshold: 6 * hour, coverage: 15 * day, isSplit: true, isRefreshed: true, newest: &ofLongThreshold, measured: []rangeLatency{took(15*minute, 4, 8), kept}},
			SeverityNote, "a refresh of longer ranges waits for hot's newest 6h: 104ms. Hot takes 4ms for 15m", "if refreshes matter more than first loads, consider routing.threshold: 20m"},
		"kept, but not split": {recommendation{threshold: 15 * minute, coverage: 15 * day, newest: &newest, measured: []rangeLatency{kept}},
			SeverityNote, "and waits 20ms for the newest 15m", "if first loads matter more than refreshes, consider routing.threshold: 7h. Each refresh of 6h then takes hot 50ms"},
		"split and kept": {recommendation{threshold: 15 * minute, coverage: 15 * day, isSplit: true, newest: &newest, measured: []rangeLatency{took(15*minute, 7, 8), kept}},
			SeverityNote, "hot is 4 × as fast as cold up to 6h, at the first load. A refresh takes the older steps from the cache, and waits 3ms for the newest 15m",
			"if first loads matter more than refreshes, consider routing.threshold: 7h. Each refresh of 6h then takes hot 50ms"},
	} {
		t.Run(name, func(t *testing.T) {
			findings := test.findings()
			if !strings.Contains(name, " and a longer one") {
				require.Len(t, findings, 1)
			}
			finding := findings[0]
			require.Equal(t, test.severity, finding.Severity, finding)
			require.Contains(t, finding.Message, test.message)
			require.Equal(t, test.remedy, finding.Remedy)
		})
	}
}

func TestRemedyOfNotCut_SaysWhatTheOperatorCanDo(t *testing.T) {
	const split = tier.StrategySplit
	replicated := tier.Input{Completeness: tier.Complete, HotReplicated: true}
	for name, test := range map[string]struct {
		datasource engine.Datasource
		plan       engine.Plan
		remedy     string
	}{
		"the strategy is route": {plan: engine.Plan{Decision: tier.Decision{Rule: 7}}, remedy: "set routing.strategy: split"},
		"a pair of replicas":    {engine.Datasource{Strategy: split}, engine.Plan{Decision: tier.Decision{Rule: 7}, Input: replicated}, "set routing.split_across_replicas: true"},
		"an accepted pair":      {engine.Datasource{Strategy: split, ReplicasAccepted: true}, engine.Plan{Decision: tier.Decision{Rule: 7}, Input: replicated}, ""},
		"a lost store": {engine.Datasource{Strategy: split}, engine.Plan{Decision: tier.Decision{Rule: 7}, Input: tier.Input{Completeness: tier.Complete, Cold: tier.State{Notes: []tier.Note{tier.PublicNote("lost")}}}},
			"restore the store"},
		"series that hot lacks": {engine.Datasource{Strategy: split}, engine.Plan{Decision: tier.Decision{Rule: 4}, Input: tier.Input{Completeness: tier.Incomplete}}, "name the external labels of one source"},
		"below the threshold":   {engine.Datasource{Strategy: split}, engine.Plan{Decision: tier.Decision{Rule: 6}, Input: replicated}, ""},
		"all steps are old": {engine.Datasource{Strategy: split}, engine.Plan{Decision: tier.Decision{Rule: 7}, Input: replicated,
			NotCut: errors.Join(tier.ErrNothingToCut, errors.New("none is new")).Error()}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			remedy := RemedyOfNotCut(&test.datasource, &test.plan)
			require.Equal(t, test.remedy == "", remedy == "", remedy)
			require.Contains(t, remedy, test.remedy)
		})
	}
}

func TestPickJob_BoundsTheSeries(t *testing.T) {
	for name, test := range map[string]struct {
		jobs   map[string]int
		job    string
		series int
	}{
		"no series":                {map[string]int{}, "", 0},
		"all jobs":                 {map[string]int{"a": 200, "b": 300}, "", 500},
		"the largest that fits":    {map[string]int{"a": 10, "b": 400, "c": 501}, "b", 400},
		"none fits":                {map[string]int{"a": 501}, "", 0},
		"series without the label": {map[string]int{"": 400, "a": 200}, "a", 200},
	} {
		t.Run(name, func(t *testing.T) {
			job, series := pickJob(test.jobs)
			require.Equal(t, test.job, job)
			require.Equal(t, test.series, series)
		})
	}
}

func TestTypicalQuery_AsAPanelOfPersesAsks(t *testing.T) {
	query := typicalQuery{template: "rate(x[$__rate_interval]) + last_over_time(y[$__interval])"}
	for length, expected := range map[time.Duration]string{
		15 * time.Minute: "rate(x[4m]) + last_over_time(y[1m])", 24 * time.Hour: "rate(x[4m]) + last_over_time(y[2m])",
		7 * 24 * time.Hour: "rate(x[16m]) + last_over_time(y[15m])",
	} {
		require.Equal(t, expected, query.text(stepOf(length)))
	}
	require.ErrorContains(t, AdviceOptions{}.Validate(), "there are 0 ranges")
	require.ErrorContains(t, AdviceOptions{Ranges: []time.Duration{time.Second}}.Validate(), "the range 1s is shorter than a minute")
	require.ErrorContains(t, AdviceOptions{Ranges: []time.Duration{time.Hour}, Query: "up{"}.Validate(), "the query: ")
	require.NoError(t, AdviceOptions{Ranges: []time.Duration{time.Hour}, Query: query.template}.Validate())
}
