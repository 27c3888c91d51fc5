package promql

import (
	"fmt"
	"math"
	"math/rand"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cortexproject/promqlsmith"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/teststorage"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/randompromql"
)

// describeSplit writes comparisons as "left > right", and reasons as "# reason".
func describeSplit(split Split) (lines []string) {
	for _, comparison := range split.Comparisons {
		lines = append(lines, strings.Join([]string{comparison.Left, comparison.Operator, comparison.Right}, " | "))
	}
	for _, reason := range split.Reasons {
		lines = append(lines, "# "+reason)
	}
	return lines
}

func TestThresholds_SplitsWhatHasToBeTrue(t *testing.T) {
	const alsoFires = "# the alert also fires for a part of the expression that is no threshold: "
	for text, expected := range map[string][]string{
		`rate(errors_total[5m]) > 0.5`:       {`rate(errors_total[5m]) | > | 0.5`},
		`((a)) >= ((b))`:                     {`a | >= | b`},
		"a\n  # why\n  >\n  b # more":        {`a | > | b`},
		`0.5 < a`:                            {`a | > | 0.5`},
		`0.5 >= a`:                           {`a | <= | 0.5`},
		`scalar(b) != a`:                     {`a | != | scalar(b)`},
		`time() > a`:                         {`a | < | time()`},
		`2 * 1024 ^ 3 < a`:                   {`a | > | 2 * 1024 ^ 3`},
		`vector(3) < on () group_right () a`: {`a | > | vector(3)`},
		`0.5 < bool scalar(a)`:               {`scalar(a) | > | 0.5`},
		`1 > bool 2`:                         {`1 | > | 2`},
		`scalar(a) > bool scalar(b)`:         {`scalar(a) | > | scalar(b)`},
		`a > bool 5`:                         {`a | > | 5`},
		`(a > bool 5) == 1`:                  {`a | > | 5`},
		`(a > bool b) * 1 == 1`:              {`(a > bool b) * 1 | == | 1`},
		`a > bool 5 == 0`:                    {`a > bool 5 | == | 0`},
		`a > bool 5 >= 0`:                    {`a > bool 5 | >= | 0`},
		`0.5 < a < 1`:                        {`a | > | 0.5`, `0.5 < a | < | 1`},
		`a > 5 and b > 3`:                    {`a | > | 5`, `b | > | 3`},
		`a > 5 and on (job) b`:               {`a | > | 5`},
		`a and on (job) (b == 0)`:            {`b | == | 0`},
		`a > 5 or b > 3`:                     {`a | > | 5`, `b | > | 3`},
		`a > 5 or absent(b)`:                 {`a | > | 5`, alsoFires + `the expression compares nothing`},
		`a > 5 unless b > 3`:                 {`a | > | 5`},
		`(a > 5 unless on (job) b) and ignoring (x) c < 1`: {`a | > | 5`, `c | < | 1`},
		`a unless b > 3`:              {`# it compares only on the right of unless`},
		`count(a > 5) > 0`:            {`count(a > 5) | > | 0`},
		`count by (job) (a > 5)`:      {`# it compares only what count() aggregates`},
		`absent(a > 5)`:               {`# it compares only within absent()`},
		`max_over_time((a > 5)[5m:])`: {`# it compares only within max_over_time()`},
		`absent(up)`:                  {`# the expression compares nothing`},
		`-a < -5`:                     {`-a | < | -5`},
		`-(a > 5)`:                    {`a | > | 5`},
		`label_replace(a > 5, "b", "$1", "c", "(.*)")`:    {`a | > | 5`},
		`(a > 5) * on (job) group_left (team) owner`:      {`a | > | 5`},
		`errors / (requests > 0) > 0.05`:                  {`errors / (requests > 0) | > | 0.05`},
		`a > on (job) group_left () b`:                    {`a | > | b`},
		`a > b offset 5m`:                                 {`a | > | b offset 5m`},
		`a > b @ 1600000000 offset -1m`:                   {`a | > | b @ 1600000000.000 offset -1m`},
		`a > b @ end() offset 5m`:                         {`a | > | b offset 5m`},
		`a > max_over_time(b[1h:5m] @ start())`:           {`a | > | max_over_time(b[1h:5m])`},
		`time() - a > 1h30m`:                              {`time() - a | > | 5400`},
		`{"a.b"} > {"größe",job="x"}`:                     {`{__name__="a.b"} | > | {__name__="größe",job="x"}`},
		`a.b > 1`:                                         {`a.b | > | 1`},
		`histogram_quantile(0.9, rate(x_bucket[5m])) > 1`: {`histogram_quantile(0.9, rate(x_bucket[5m])) | > | 1`},
		`a > fill_left (0) b`:                             {`a | > | b`},
		`(a > 5) + fill_left (0) (b > 3)`:                 {`b | > | 3`},
		`(a > 5) + fill (0) b`:                            {`# it compares only where fill() makes up values`},
		`a > fill (0) b`:                                  {`# the threshold b cannot be queried alone: fill() stands for values that no query returns`},
		`a > max_over_time((b @ end())[5m:1m])`:           {`# the threshold max_over_time((b @ end())[5m:1m]) cannot be queried alone: @ start() and @ end() within a subquery mean the time of the rule's evaluation`},
		`a > end()`:                                       {`# the threshold end() cannot be queried alone: its value would depend on the time range that is shown: end() would be that of a piece`},
		`a > 1 +`:                                         {`# Prometheus' parser refuses the expression: 1:8: parse error: unexpected end of input`},
		`rate(a[5m]) keep_metric_names > 1`:               {`# Prometheus' parser refuses the expression: 1:13: parse error: unexpected identifier "keep_metric_names"`},
	} {
		t.Run(text, func(t *testing.T) {
			require.Equal(t, expected, describeSplit(Thresholds(text, nil)))
			require.Equal(t, expected, describeSplit(Thresholds(text, nil)), "remembered")
		})
	}
}

// alerts evaluates rules over the shop, and thresholds that were queried before.
type alerts struct {
	*shops

	thresholds *teststorage.TestStorage
}

func newAlerts(t *testing.T) *alerts {
	t.Helper()
	return &alerts{newShops(t), teststorage.New(t)}
}

// steps are those of the panel: 40 minutes, at an odd step.
func steps() (list []time.Time) {
	for at := time.Unix(600, 0); at.Before(time.Unix(3000, 0)); at = at.Add(70 * time.Second) {
		list = append(list, at)
	}
	return list
}

// record queries the threshold as a panel does, and stores its series under a name. It
// returns an expression that reads them.
func (a *alerts) record(t *testing.T, name, threshold string) string {
	t.Helper()
	all := steps()
	evaluation, err := a.engine.NewRangeQuery(t.Context(), a.bare, nil, threshold, all[0], all[len(all)-1], all[1].Sub(all[0]))
	require.NoError(t, err, threshold)
	defer evaluation.Close()
	result := evaluation.Exec(t.Context())
	require.NoError(t, result.Err, threshold)
	matrix, err := result.Matrix()
	require.NoError(t, err)
	appender := a.thresholds.Appender(t.Context())
	for _, series := range matrix {
		values := map[int64]float64{}
		for _, sample := range series.Floats {
			values[sample.T] = sample.F
		}
		set := labels.NewBuilder(series.Metric).Set(model.MetricNameLabel, name).Labels()
		for _, at := range all {
			sample, exists := values[at.UnixMilli()]
			if !exists {
				sample = math.Float64frombits(value.StaleNaN)
			}
			_, err := appender.Append(0, set, at.UnixMilli(), sample)
			require.NoError(t, err)
		}
	}
	require.NoError(t, appender.Commit())
	parsed, err := lenientParser.ParseExpr(threshold)
	require.NoError(t, err)
	if parsed.Type() == parser.ValueTypeScalar {
		return "scalar(" + name + ")"
	}
	return name
}

// fires returns the result of a rule at a time.
func (a *alerts) fires(t *testing.T, rule string, at time.Time) string {
	t.Helper()
	both := storage.QueryableFunc(func(oldest, newest int64) (storage.Querier, error) {
		shop, err := a.bare.Querier(oldest, newest)
		require.NoError(t, err)
		thresholds, err := a.thresholds.Querier(oldest, newest)
		require.NoError(t, err)
		return storage.NewMergeQuerier([]storage.Querier{shop, thresholds}, nil, storage.ChainedSeriesMerge), nil
	})
	evaluation, err := a.engine.NewInstantQuery(t.Context(), both, nil, rule, at)
	require.NoError(t, err, rule)
	defer evaluation.Close()
	result := evaluation.Exec(t.Context())
	require.NoError(t, result.Err, rule)
	return sortedSeries(result.Value)
}

// TestThresholds_AreWhatTheEngineComparesWith evaluates each rule at each step, and then
// the same rule with the series that a range query of its threshold has returned in place of the
// threshold: both have to fire for the same series at the same times.
func TestThresholds_AreWhatTheEngineComparesWith(t *testing.T) {
	for rule, rebuilt := range map[string]string{
		`x > 100`:                              `x > $0`,
		`300 < x`:                              `x > $0`,
		`x > bool y`:                           `x > bool $0`,
		`x > on (job, instance) y`:             `x > on (job, instance) $0`,
		`y > x - 1000`:                         `y > $0`,
		`x > on (job) group_left () z`:         `x > on (job) group_left () $0`,
		`z < on (job) group_right () x`:        `z < on (job) group_right () label_replace($0, "__name__", "x", "", "")`,
		`x > scalar(z) * 3`:                    `x > $0`,
		`x > time() / 10`:                      `x > $0`,
		`time() < x * 10`:                      `$0 < x * 10`,
		`vector(100) < on () group_right () x`: `$0 < on () group_right () x`,
		`300 < x < 900`:                        `$0 < x < $1`,
		`x > y offset 5m`:                      `x > $0`,
		`x > y offset -5m`:                     `x > $0`,
		`x > y @ 1200`:                         `x > $0`,
		`x > y @ end() offset 10m`:             `x > $0`,
		`x > 2 * avg_over_time(x[10m:1m] @ start() offset 5m)`: `x > $0`,
		`x > on (job, instance) avg_over_time(x[10m] @ end())`: `x > on (job, instance) $0`,
		`x > max_over_time(sum by (job, instance) (y)[20m:])`:  `x > $0`,
		`x > 20 and y < 5 unless z < 10`:                       `x > $0 and y < $1 unless z < 10`,
		`x > 200 or y < 5`:                                     `x > $0 or y < $1`,
		`(x > bool 100) == 1`:                                  `(x > bool $0) == 1`,
		`count by (job) (x > 100) >= on (job) z / 10`:          `count by (job) (x > 100) >= on (job) $0`,
		`label_replace(x > 100, "a", "b", "", "")`:             `label_replace(x > $0, "a", "b", "", "")`,
		`(x > 100) * on (job) group_left () z`:                 `(x > $0) * on (job) group_left () z`,
		`-x < -100`:                                            `-x < $0`,
		`scalar(z) > bool 10`:                                  `scalar(z) > bool $0`,
		`1 > bool 2`:                                           `1 > bool $0`,
		`histogram_quantile(0.9, rate(h_bucket[5m])) > 1e0`:    `histogram_quantile(0.9, rate(h_bucket[5m])) > $0`,
		`histogram_count(native) > 20`:                         `histogram_count(native) > $0`,
		`x == x`:                                               `x == $0`,
		`x != y`:                                               `x != $0`,
		`time() - x > 30m`:                                     `time() - x > $0`,
		`x > topk(2, y)`:                                       `x > $0`,
		`sum by (job) (x) > on (job) (z > 10)`:                 `sum by (job) (x) > on (job) $0`,
	} {
		t.Run(rule, func(t *testing.T) {
			a := newAlerts(t)
			split := Thresholds(rule, nil)
			require.NotEmpty(t, split.Comparisons)
			require.Empty(t, split.Reasons)
			for i, comparison := range split.Comparisons {
				placeholder := fmt.Sprintf("$%d", i)
				require.Contains(t, rebuilt, placeholder)
				rebuilt = strings.ReplaceAll(rebuilt, placeholder, a.record(t, fmt.Sprintf("threshold_%d", i), comparison.Right))
			}
			fired := 0
			for _, at := range steps() {
				expected := a.fires(t, rule, at)
				require.Equal(t, expected, a.fires(t, rebuilt, at), "%s at %s", rebuilt, at)
				if expected != "" {
					fired++
				}
			}
			require.Positive(t, fired, "a rule that never fires tests nothing")
		})
	}
}

// TestThresholds_AreTheSameAtEachStep compares thresholds that are made up: what a range query
// of one has at a step is what the rule compares with at that time.
func TestThresholds_AreTheSameAtEachStep(t *testing.T) {
	p := newShops(t)
	series := []labels.Labels{labels.FromStrings("__name__", "x", "job", "a", "instance", "1"), labels.FromStrings("__name__", "z", "job", "a"),
		labels.FromStrings("__name__", "h_bucket", "job", "a", "le", "1")}
	expressions := randompromql.New(rand.New(rand.NewSource(11)), series, parser.Options{EnableExperimentalFunctions: true},
		randompromql.Functions(), promqlsmith.WithEnableVectorMatching(true), promqlsmith.WithEnableOffset(true), promqlsmith.WithEnableAtModifier(true))
	compared, skipped := 0, 0
	for range 400 {
		threshold := expressions.Expression(false).String()
		if isRandom(threshold) || strings.Contains(threshold, "info(") {
			continue
		}
		split := Thresholds("sum(x) > bool on () ("+threshold+")", nil)
		if len(split.Comparisons) == 0 {
			split = Thresholds("sum(x) > bool ("+threshold+")", nil)
		}
		if len(split.Comparisons) == 0 {
			skipped++
			continue
		}
		right := split.Comparisons[len(split.Comparisons)-1].Right
		expected := map[int64][]string{}
		for _, at := range steps() {
			evaluation, err := p.engine.NewInstantQuery(t.Context(), p.bare, nil, threshold, at)
			require.NoError(t, err, threshold)
			result := evaluation.Exec(t.Context())
			if result.Err != nil {
				expected = nil
				break
			}
			expected[at.UnixMilli()] = samplesOf(result.Value)
			evaluation.Close()
		}
		all := steps()
		evaluation, err := p.engine.NewRangeQuery(t.Context(), p.bare, nil, right, all[0], all[len(all)-1], all[1].Sub(all[0]))
		require.NoError(t, err, right)
		result := evaluation.Exec(t.Context())
		if result.Err == nil && expected != nil {
			compared++
			requireSameSteps(t, expected, result.Value, threshold+"\n"+right)
		}
		evaluation.Close()
	}
	require.Greater(t, compared, 100)
	t.Logf("%d compared, %d skipped", compared, skipped)
}

// samplesOf returns the samples of an instant query, as "labels value", sorted.
func samplesOf(result parser.Value) (list []string) {
	switch result := result.(type) {
	case promql.Vector:
		for _, sample := range result {
			list = append(list, sampleText(sample.Metric, sample.F, sample.H))
		}
	case promql.Scalar:
		list = append(list, sampleText(labels.EmptyLabels(), result.V, nil))
	}
	slices.Sort(list)
	return list
}

func sampleText(set labels.Labels, sample float64, histogram *histogram.FloatHistogram) string {
	if histogram != nil {
		return set.String() + " " + histogram.String()
	}
	return fmt.Sprintf("%s %.9g", set, sample)
}

// requireSameSteps compares the steps of a range query with instant queries.
func requireSameSteps(t *testing.T, expected map[int64][]string, result parser.Value, message string) {
	t.Helper()
	matrix, is := result.(promql.Matrix)
	require.True(t, is)
	got := map[int64][]string{}
	for _, series := range matrix {
		for _, sample := range series.Floats {
			got[sample.T] = append(got[sample.T], sampleText(series.Metric, sample.F, nil))
		}
		for _, sample := range series.Histograms {
			got[sample.T] = append(got[sample.T], sampleText(series.Metric, 0, sample.H))
		}
	}
	for at, samples := range expected {
		slices.Sort(got[at])
		require.Equal(t, samples, got[at], message)
	}
}

// TestThresholds_OfOneClusterAmongOthers compares a threshold at the Prometheus of a rule, which
// stores series without external labels, with the same one where series of two clusters are.
func TestThresholds_OfOneClusterAmongOthers(t *testing.T) {
	p := newShops(t)
	var lines []string
	for line := range strings.Lines(shop) {
		lines = append(lines, line)
		if name, rest, found := strings.Cut(line, "{"); found && strings.HasPrefix(line, "\t") {
			lines[len(lines)-1] = fmt.Sprintf("%s{cluster=\"lab\",%s", name, rest)
			other := strings.ReplaceAll(rest, "0+10x200", "7+90x200")
			lines = append(lines, fmt.Sprintf("%s{cluster=\"other\",%s", name, other))
		}
	}
	all := promqltest.LoadedStorage(t, strings.Join(lines, ""))
	t.Cleanup(func() { require.NoError(t, all.Close()) })
	for _, threshold := range []string{
		`y`, `scalar(z)`, `sum(x)`, `sum by (job) (x)`, `avg without (instance) (rate(x[5m]))`, `y{cluster=""}`, `y{job=~"a|b",cluster!="z"} * 2`,
		`max_over_time(x[5m:1m])`, `sum by (job) (x) / on (job) z`, `x + y`, `sum by (job) (x) + z`, `histogram_quantile(0.9, rate(h_bucket[5m]))`,
		`scalar(count({__name__=~".+"}))`, `count by (cluster) (x)`, `x offset 5m`, `x @ 1200`, `3`, `time()`,
	} {
		t.Run(threshold, func(t *testing.T) {
			split := Thresholds("q > "+threshold, map[string]string{"cluster": "lab"})
			require.Len(t, split.Comparisons, 1, split.Reasons)
			expected, err := p.evaluate(t.Context(), p.bare, threshold, true)
			require.NoError(t, err)
			got, err := p.evaluate(t.Context(), all, split.Comparisons[0].Right, true)
			require.NoError(t, err)
			require.Equal(t, expected, got, split.Comparisons[0].Right)
			require.NotEmpty(t, got)
			if strings.Contains(threshold, "cluster") {
				return
			}
			require.Equal(t, Thresholds("q > "+threshold, nil).Comparisons[0].Shown, split.Comparisons[0].Shown)
		})
	}
	for _, threshold := range []string{`y{cluster="lab"}`, `absent(y)`, `scalar(absent_over_time(y[5m]))`} {
		require.NotEmpty(t, Thresholds("q > "+threshold, map[string]string{"cluster": "lab"}).Reasons, threshold)
	}
}

func TestThresholds_OfHostileExpressions(t *testing.T) {
	chain := "x" + strings.Repeat(" > 1", 1999)
	for name, text := range map[string]string{
		"a long chain":              chain,
		"many alternatives":         "x > 1" + strings.Repeat(" or x > 1", 999),
		"nested parentheses":        strings.Repeat("(", MaxNesting) + "x > 1" + strings.Repeat(")", MaxNesting),
		"many alternatives of none": "x" + strings.Repeat(" or absent(x)", 900) + " or x > 1",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Check(64<<10, text)
			require.NoError(t, err)
			started := time.Now()
			split := Thresholds(text, nil)
			require.NotEmpty(t, split.Comparisons)
			require.LessOrEqual(t, len(split.Comparisons), MaxComparisons)
			require.LessOrEqual(t, len(split.Reasons), MaxComparisons)
			require.Less(t, time.Since(started), 10*time.Second)
		})
	}
	require.Contains(t, Thresholds(chain, nil).Reasons, "the expression has more than 50 comparisons: the others are left out")
}

func BenchmarkThresholds(b *testing.B) {
	for i := 0; b.Loop(); i++ {
		Thresholds(fmt.Sprintf(`sum by (namespace, pod) (rate(restarts_total{job="kube-state-metrics",x="%d"}[10m])) * 60 * 5 > 0 and on (namespace) kube_namespace_labels{label_team!=""} == 1`, i), nil)
	}
}
