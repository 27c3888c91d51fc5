package promql

import (
	"context"
	"fmt"
	"math/rand"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cortexproject/promqlsmith"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/storage"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/randompromql"
)

var injected = map[string]string{"cluster": "lab$1", "prometheus": "k8s"}

func withInjected(text string, injected map[string]string) (string, error) {
	query, err := Parse(text)
	if err != nil {
		return "", err
	}
	if query, err = query.WithLabels(injected); err != nil {
		return "", err
	}
	return query.String(), nil
}

func TestWithLabels_LeavesAloneWhatTheyDoNotChange(t *testing.T) {
	for _, query := range []string{
		`sum(x)`, `sum by (namespace) (rate(x[5m]))`, `max without (cluster, prometheus) (x)`, `count(x) / scalar(y)`, `scalar(x)`,
		`histogram_quantile(0.9, sum by (le) (rate(x_bucket[5m])))`, `x * on (job) y`, `x / ignoring (cluster, prometheus) y`,
		`absent(x{job="a"})`, `absent_over_time(x[5m])`, `1`, `vector(1)`, `sum(x) or vector(0)`, `topk(3, sum by (job) (x))`,
		`sum by (job) (x) unless on (job) y`, `sum(x) * on () group_left () sum(y)`, `count_values("version", x)`, `-sum(x)`, `sum(x)[5m:1m]`,
	} {
		t.Run(query, func(t *testing.T) {
			text, err := withInjected(query, injected)
			require.NoError(t, err, query)
			require.Equal(t, query, text)
		})
	}
	text, err := withInjected("x", nil)
	require.NoError(t, err)
	require.Equal(t, "x", text)
}

func TestWithLabels_WrapsSelectorsInLabelReplace(t *testing.T) {
	wrap := func(text string) string {
		return `label_replace(label_replace(` + text + `, "cluster", "lab$$1", "", ""), "prometheus", "k8s", "", "")`
	}
	for query, expected := range map[string]string{
		`x`:                                           wrap(`x`),
		`x offset 5m`:                                 wrap(`x offset 5m`),
		`x @ end()`:                                   wrap(`x @ end()`),
		`rate(x[5m])`:                                 wrap(`rate(x[5m])`),
		`sum by (cluster, prometheus) (x)`:            `sum by (cluster, prometheus) (` + wrap(`x`) + `)`,
		`topk(1, x{cluster=~"lab.*"})`:                `topk(1, ` + wrap(`x`) + `)`,
		`-{cluster="lab$1"}`:                          `-` + wrap(`{__name__!=""}`),
		`timestamp(x)`:                                wrap(`timestamp(x)`),
		`timestamp((x))`:                              wrap(`timestamp((x))`),
		`quantile_over_time(0.5, x[5m])`:              wrap(`quantile_over_time(0.5, x[5m])`),
		`max_over_time(x[5m:1m])`:                     `max_over_time(` + wrap(`x`) + `[5m:1m])`,
		`absent(x{cluster="lab$1"})`:                  `label_replace(absent(x), "cluster", "lab$$1", "", "")`,
		`absent(x{cluster=~"lab.1|lab.*"})`:           `absent(x)`,
		`absent_over_time(x{prometheus="k8s"}[5m])`:   `label_replace(absent_over_time(x[5m]), "prometheus", "k8s", "", "")`,
		`{"http.requests", "a.b"="c"}`:                wrap(`{__name__="http.requests","a.b"="c"}`),
		`({"http.requests", cluster!="", "a.b"="c"})`: `(` + wrap(`{__name__="http.requests","a.b"="c"}`) + `)`,
		// The text is written anew from the tree.
		"sum without(job)( rate( x {b = '}', a!=\"1\", cluster=`lab$1`} [ 300 ] offset -1m )) # all": "sum without (job) (" + wrap("rate(x{b=\"}\",a!=\"1\"}[5m] offset -1m)") + ")",
		"x # {\n{cluster=\"lab$1\"} @ 1_000 + 0x10":                                                  wrap("x @ 1000.000") + " + 16",
		"日本{cluster=\"lab$1\"}":                                                                      wrap("日本"),
		"x{ロ=\"1\",cluster=\"lab$1\"}":                                                               wrap(`x{"ロ"="1"}`),
		`sum(cluster)`:                                                                               `sum(cluster)`,
		// The order of matchers counts for absent().
		`absent(x{a="1",a!="2",prometheus="k8s"})`:     `label_replace(absent(x{a="1",a!="2"}), "prometheus", "k8s", "", "")`,
		`absent(x{cluster="lab$1",cluster!="b"})`:      `absent(x)`,
		`absent(x{cluster!="b",cluster="lab$1"})`:      `absent(x)`,
		`absent(x{cluster!="",cluster="lab$1"})`:       `label_replace(absent(x), "cluster", "lab$$1", "", "")`,
		`absent(x{cluster="lab$1",cluster="lab$1"})`:   `absent(x)`,
		`absent(q{a="1",a!=""}) + on () group_right x`: `absent(q{a="1",a!=""}) + on () group_right () ` + wrap(`x`),
		`x + y`: wrap(`x`) + ` + ` + wrap(`y`),
	} {
		t.Run(query, func(t *testing.T) {
			text, err := withInjected(query, injected)
			require.NoError(t, err, query)
			require.Equal(t, expected, text, query)
		})
	}
}

// Where a part of a query does not depend on a label, its matchers are removed, and nothing else changes.
func TestWithLabels_WrapsWhatDependsOnALabel(t *testing.T) {
	wrap := func(text string) string { return `label_replace(` + text + `, "cluster", "lab$$1", "", "")` }
	for query, expected := range map[string]string{
		`sum(x{cluster="lab$1"})`:                                `sum(x)`,
		`sum by (job) (rate(x{cluster=~"lab.*",a="b"}[5m]))`:     `sum by (job) (rate(x{a="b"}[5m]))`,
		`topk(3, sum by (job) (x{prometheus="k8s"}))`:            `topk(3, sum by (job) (x))`,
		`limitk(2, sum by (job) (x{prometheus="k8s"}))`:          `limitk(2, sum by (job) (x))`,
		`sum({"http.requests", cluster!="", "a.b"="c"})`:         `sum({__name__="http.requests","a.b"="c"})`,
		`sum({cluster!=""})`:                                     `sum({__name__!=""})`,
		`absent(sum(x{cluster!=""}))`:                            `absent(sum(x))`,
		`count(x{cluster="lab$1"}) / scalar(y{cluster!=""})`:     `count(x) / scalar(y)`,
		`x{cluster="lab$1"} * on (job) y{prometheus="k8s"}`:      `x * on (job) y`,
		`sum(x{cluster="lab$1"})[5m:1m]`:                         `sum(x)[5m:1m]`,
		`sum by (cluster) (x)`:                                   `sum by (cluster) (` + wrap(`x`) + `)`,
		`x + on (cluster) y`:                                     wrap(`x`) + ` + on (cluster) ` + wrap(`y`),
		`sum(x{cluster="lab$1"}) or sum by (cluster) (y)`:        `sum(x) or sum by (cluster) (` + wrap(`y`) + `)`,
		`sum by (cluster) (x) + on () group_left () sum(y)`:      `sum by (cluster) (` + wrap(`x`) + `) + on () group_left () sum(y)`,
		`sum(topk(scalar(y{prometheus="k8s"}), x{cluster!=""}))`: `sum(topk(scalar(y), x))`,
	} {
		t.Run(query, func(t *testing.T) {
			text, err := withInjected(query, injected)
			require.NoError(t, err)
			require.Equal(t, expected, text)
		})
	}
}

func TestWithLabels_Refused(t *testing.T) {
	for query, why := range map[string]string{
		`x{cluster="other"}`:         `cluster="other" is not true of hot's series`,
		`x{cluster=""}`:              "is not true of hot's series",
		`sum(x{cluster!="lab$1"})`:   "is not true of hot's series",
		`info(x)`:                    "info()",
		`x[5m]`:                      "raw samples",
		`limitk(2, x)`:               "limitk",
		`sum(limitk(2, x{job="a"}))`: "limitk",
	} {
		t.Run(query, func(t *testing.T) {
			_, err := withInjected(query, injected)
			require.ErrorIs(t, err, ErrNotRewritable, query)
			require.ErrorContains(t, err, why, query)
		})
	}
	_, err := withInjected("sum(", injected)
	require.Error(t, err)
	require.NotErrorIs(t, err, ErrNotRewritable)
}

func TestWithLabels_Selector(t *testing.T) {
	for text, expected := range map[string]string{
		`x{cluster="lab$1",a="b"}`: `{__name__="x",a="b"}`,
		`{cluster!=""}`:            `{__name__!=""}`,
		`{cluster="lab$1",a=""}`:   `{__name__!="",a=""}`,
	} {
		t.Run(text, func(t *testing.T) {
			selector, err := ParseSelector(text)
			require.NoError(t, err)
			changed, err := selector.WithLabels(injected)
			require.NoError(t, err)
			require.Equal(t, expected, changed.String())
		})
	}
	selector, err := ParseSelector(`x{prometheus!~"k.*"}`)
	require.NoError(t, err)
	_, err = selector.WithLabels(injected)
	require.ErrorIs(t, err, ErrNotRewritable)

	query, err := anew(t, `rate(x{cluster="lab$1"}[5m]) / y`).WithLabelsInSelectors(injected)
	require.NoError(t, err)
	require.Equal(t, `rate(x[5m]) / y`, query.String())
}

// Every function of the language is one that was thought of: a new version of
// Prometheus may bring one that handles labels in its own way.
func TestFlowOf_KnowsEveryFunctionOfTheLanguage(t *testing.T) {
	var vectors []string
	for name, function := range parser.Functions {
		count := 0
		for _, kind := range function.ArgTypes {
			if kind == parser.ValueTypeVector || kind == parser.ValueTypeMatrix {
				count++
			}
		}
		if count > 1 {
			vectors = append(vectors, name)
		}
	}
	require.Equal(t, []string{"info"}, vectors, "functions of several vectors join them in ways of their own")
}

// shop is a small world of series, once with external labels and once without.
const shop = `
load 30s
	x{job="a",instance="1"} 0+10x200
	x{job="a",instance="2"} 0+20x200
	x{job="b",instance="1",cluster_name="c"} 5 4 3 _x20 2 stale 7+1x150
	y{job="a",instance="1"} 3+0x200
	y{job="b",instance="1"} 1 2 3 4 5 6 7 8 9+1x150
	z{job="a"} 1+0.5x200
	h_bucket{le="1",job="a"} 0+1x200
	h_bucket{le="5",job="a"} 0+3x200
	h_bucket{le="+Inf",job="a"} 0+4x200
	native{job="a"} {{schema:0 sum:5 count:4 buckets:[1 2 1]}}+{{schema:0 sum:1 count:1 buckets:[1]}}x200
	target_info{job="a",instance="1",version="v1"} 1x200
`

// shops is the shop in two storages and an engine.
type shops struct {
	bare, labelled storage.Queryable
	engine         *promql.Engine
}

func newShops(t testing.TB) *shops {
	t.Helper()
	var lines []string
	for line := range strings.Lines(shop) {
		if name, rest, found := strings.Cut(line, "{"); found && strings.HasPrefix(line, "\t") {
			line = fmt.Sprintf("%s{cluster=%q,prometheus=%q,%s", name, injected["cluster"], injected["prometheus"], rest)
		}
		lines = append(lines, line)
	}
	bare := promqltest.LoadedStorage(t, shop)
	labelled := promqltest.LoadedStorage(t, strings.Join(lines, ""))
	t.Cleanup(func() { require.NoError(t, bare.Close()); require.NoError(t, labelled.Close()) })
	return &shops{bare: bare, labelled: labelled, engine: promql.NewEngine(promql.EngineOpts{
		MaxSamples: 10_000_000, Timeout: 20 * time.Second, EnableAtModifier: true, EnableNegativeOffset: true, Parser: lenientParser,
		NoStepSubqueryIntervalFn: func(int64) int64 { return 60_000 },
	})}
}

func (p *shops) evaluate(ctx context.Context, queryable storage.Queryable, query string, isRange bool) (string, error) {
	at := time.Unix(3000, 0)
	evaluation, err := p.engine.NewInstantQuery(ctx, queryable, nil, query, at)
	if isRange {
		evaluation, err = p.engine.NewRangeQuery(ctx, queryable, nil, query, at.Add(-10*time.Minute), at, time.Minute)
	}
	if err != nil {
		return "", err
	}
	defer evaluation.Close()
	result := evaluation.Exec(ctx)
	if result.Err != nil {
		return "", result.Err
	}
	return sortedSeries(result.Value), nil
}

// sortedSeries writes a result with its series sorted.
func sortedSeries(value parser.Value) string {
	var lines []string
	switch value := value.(type) {
	case promql.Vector:
		for _, sample := range value {
			lines = append(lines, sample.String())
		}
	case promql.Matrix:
		for _, series := range value {
			lines = append(lines, series.String())
		}
	default:
		lines = append(lines, value.String())
	}
	for i, line := range lines {
		lines[i] = fraction.ReplaceAllStringFunc(line, func(text string) string {
			value, err := strconv.ParseFloat(text, 64)
			if err != nil {
				return text
			}
			return strconv.FormatFloat(value, 'g', 9, 64)
		})
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// fraction is a number whose last digits depend on the order in which the
// engine adds.
var fraction = regexp.MustCompile(`\d+\.\d+(e[+-]\d+)?`)

// check holds a rewritten query on series without the labels to the original
// on series that carry them.
func (p *shops) check(t testing.TB, query string) {
	t.Helper()
	rewritten, err := withInjected(query, injected)
	if err != nil {
		return // It goes to cold.
	}
	for _, isRange := range []bool{false, true} {
		expected, expectedError := p.evaluate(t.Context(), p.labelled, query, isRange)
		got, err := p.evaluate(t.Context(), p.bare, rewritten, isRange)
		if err != nil && rewritten != query {
			continue // An error of a rewritten query leads to cold.
		}
		if (err != nil) != (expectedError != nil) {
			t.Errorf("%s\nbecame %s\nerror %v, expected %v", query, rewritten, err, expectedError)
		}
		if err == nil && got != expected && !isRandom(query) {
			t.Errorf("%s\nbecame %s (range: %t)\n%s\nexpected\n%s", query, rewritten, isRange, got, expected)
		}
	}
}

// isRandom reports whether a query may differ between two runs: ties are broken
// by the order of the series.
func isRandom(query string) bool {
	return strings.Contains(query, "topk") || strings.Contains(query, "bottomk") || strings.Contains(query, "limit")
}

func TestWithLabels_AgreesWithTheEngine(t *testing.T) {
	p := newShops(t)
	for _, query := range []string{
		`x`, `sum by (cluster) (x)`, `sum without (cluster) (x)`, `x * on (job, instance) group_left () y`, `x * on (job) group_left (cluster) z`,
		`sum by (job) (x) * on (job) group_right (cluster) x`, `x or y`, `sum(x) or x`, `x unless y{job="a"}`, `x and on (cluster) sum by (cluster) (y)`,
		`label_replace(x, "cluster", "$1", "job", "(.*)")`, `label_replace(x, "y", "$1", "cluster", "(l).*")`, `label_join(x, "z", "-", "cluster", "job")`,
		`absent(q{cluster="lab$1",job="q",job!="r"})`, `absent(q{job!="r",job="q",cluster="lab$1"})`, `absent(q{job="q",job=~"q.*"}) * on () group_right () x`,
		`absent(q{job="q",job!="",cluster="lab$1"})`, `absent(q{job!="",job="q",cluster="lab$1"})`, `absent(q{cluster="lab$1",cluster!=""})`, `absent(q{cluster!="",cluster="lab$1"})`,
		`absent(q{job="q",job=~"..?",prometheus="k8s"})`, `absent(q{job=~"..?",job="q",prometheus="k8s"})`, `absent(q{cluster=~".*",cluster="lab$1",job="q"})`,
		`absent(q{cluster!="b",cluster="lab$1"})`, `absent(q{cluster="lab$1",cluster!="b"})`, `absent_over_time(q{prometheus!="b",job="q",job!="p",prometheus="k8s"}[5m])`,
		`absent(x{cluster="lab$1",job="q"})`, `absent(x{cluster="lab$1",cluster=~"l.*",job="q"})`, `absent_over_time(q{prometheus="k8s"}[5m])`,
		`count_values("cluster", x)`, `count_values("v", y)`, `histogram_quantile(0.5, rate(h_bucket[5m]))`, `histogram_quantile(0.5, native)`,
		`timestamp(x)`, `timestamp(x * 1)`, `sort_by_label(x, "cluster")`, `max_over_time(sum by (cluster) (x)[5m:1m])`, `x{cluster=~"lab.+"} offset 5m @ end()`,
		`predict_linear(x[5m], scalar(y{cluster="lab$1",instance="1",job="a"}))`, `quantile_over_time(scalar(z{cluster="lab$1"}), x[5m])`,
		`x == on (job, instance) y`, `x > bool ignoring (cluster, prometheus) y`, `-x{prometheus!=""}`, `rate(x[5m]) / ignoring (cluster) rate(y[5m])`,
		`sum(x{cluster="lab$1"})`, `sum by (job) (rate(x{cluster=~"lab.*"}[5m]))`, `topk(9, sum by (job) (x{prometheus="k8s"}))`, `absent(sum(q{cluster!=""}))`, `absent(-q{cluster!=""})`,
		`sum(absent(q{cluster="lab$1"})) or x`, `x{cluster="lab$1"} * on (job, instance) y{prometheus="k8s"}`, `sum(x{cluster="lab$1"}) or sum by (cluster) (y)`,
		`sum by (cluster) (x) + on () group_left () sum(y)`, `count(x{cluster="lab$1"}) / scalar(y{cluster!="",instance="1",job="a"})`, `sum(topk(scalar(z{prometheus="k8s"}), x{cluster!=""}))`,
		`sum(x) * on () group_left (cluster) z`, `group by (cluster, job) ({job=~".+"})`, `sum({cluster="lab$1"})`, `limit_ratio(0.5, x)`,
	} {
		t.Run(query, func(t *testing.T) {
			p.check(t, query)
		})
	}
}

func TestWithLabels_AgreesWithTheEngineOnRandomQueries(t *testing.T) {
	p := newShops(t)
	series := []labels.Labels{}
	for _, text := range []string{
		`x{job="a",instance="1",cluster="lab$1",prometheus="k8s"}`, `x{job="b",instance="1",cluster="lab$1",prometheus="k8s"}`,
		`y{job="a",instance="1",cluster="lab$1",prometheus="k8s"}`, `z{job="a",cluster="lab$1",prometheus="k8s"}`,
		`h_bucket{le="1",job="a",cluster="lab$1",prometheus="k8s"}`,
	} {
		set, err := lenientParser.ParseMetric(text)
		require.NoError(t, err)
		series = append(series, set)
	}
	expressions := randompromql.New(rand.New(rand.NewSource(7)), series, parser.Options{}, promqlsmith.WithEnableVectorMatching(true), promqlsmith.WithEnableOffset(true))
	unchanged, rewritten := 0, 0
	for range 1500 {
		query := expressions.Expression(true).String()
		text, err := withInjected(query, injected)
		switch {
		case err != nil:
			continue
		case text == query:
			unchanged++
		default:
			rewritten++
		}
		p.check(t, query)
	}
	require.Greater(t, unchanged, 20)
	require.Greater(t, rewritten, 200)
}

func FuzzWithLabels(f *testing.F) {
	for _, query := range []string{
		`sum by (cluster) (x)`, `x * on (job) group_left (cluster) z`, `absent(x{cluster="lab$1"})`, `label_replace(x, "cluster", "$1", "job", "(.*)")`,
		`max_over_time(x[5m:1m] offset 1m)`, `x or on (cluster) y`, `count_values("cluster", x)`, `timestamp(x)`, `rate(x[5m] smoothed)`, `x + fill (0) y`,
		"absent(q{job=\"q\",job!=\"\",cluster=\"lab$1\"})", "absent_over_time(q{cluster!='',cluster=`lab$1`}[5m] # {\n)", `sum by(job)(x{cluster=~'l.+'}[5m:] @ 1e3 offset -1m)`, `{"x", cluster!=""}`,
	} {
		f.Add(query)
	}
	p := newShops(f)
	f.Fuzz(func(t *testing.T, query string) {
		if len(query) > 300 || strings.Contains(query, "time") || strings.Contains(query, "[") && strings.Count(query, "[") > 2 {
			return // Too slow, or not about labels.
		}
		p.check(t, query)
		parsed, err := Parse(query)
		if err != nil {
			return
		}
		_, _ = parsed.WithLabelsInSelectors(injected) // What they cannot write they refuse.
		_, _ = parsed.WithSteps(time.Minute)
		_, _ = parsed.Frozen(now, now)
		requireUnchanged(t, parsed)
	})
}
