package enforcement

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cortexproject/promqlsmith"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/randompromql"
)

// strictParser is a Prometheus with its default names.
var strictParser = parser.NewParser(parser.Options{EnableExperimentalFunctions: true, EnableBinopFillModifiers: true})

const (
	sampleInterval = 30 * time.Second
	samples        = 120
)

// storageWith holds series of the given namespaces; "" stands for series without one.
func storageWith(t *testing.T, namespaces ...string) (*tsdb.DB, []labels.Labels) {
	t.Helper()
	db, err := tsdb.Open(t.TempDir(), slog.New(slog.DiscardHandler), prometheus.NewRegistry(), tsdb.DefaultOptions(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	appender := db.Appender(t.Context())
	var all []labels.Labels
	for _, namespace := range namespaces {
		for _, name := range []string{"up", "requests_total", "load"} {
			for _, job := range []string{"one", "two"} {
				builder := labels.NewBuilder(labels.FromStrings("__name__", name, "job", job, "instance", "i"))
				builder.Set("namespace", namespace)
				series := builder.Labels()
				all = append(all, series)
				for i := range samples {
					// No two series have the same value: which of them topk() takes is not defined.
					value := float64(i+1) * (1 + float64(series.Hash()%10_000)/100)
					_, err := appender.Append(0, series, int64(i)*sampleInterval.Milliseconds(), value)
					require.NoError(t, err)
				}
			}
		}
	}
	require.NoError(t, appender.Commit())
	return db, all
}

// random makes up queries, some of which name a namespace, rightly or wrongly.
func random(t *testing.T, seed int64, series []labels.Labels) func() string {
	t.Helper()
	source := rand.New(rand.NewSource(seed))
	expressions := randompromql.New(source, series, parser.Options{EnableExperimentalFunctions: true, EnableBinopFillModifiers: true}, randompromql.Functions(),
		promqlsmith.WithEnableVectorMatching(true), promqlsmith.WithEnableOffset(true), promqlsmith.WithEnableAtModifier(true))
	matchers := []*labels.Matcher{
		labels.MustNewMatcher(labels.MatchEqual, "namespace", "shop"), labels.MustNewMatcher(labels.MatchEqual, "namespace", "bank"),
		labels.MustNewMatcher(labels.MatchEqual, "namespace", ""), labels.MustNewMatcher(labels.MatchNotEqual, "namespace", "shop"),
		labels.MustNewMatcher(labels.MatchRegexp, "namespace", "shop|bank"), labels.MustNewMatcher(labels.MatchNotRegexp, "namespace", "b.*"),
	}
	return func() string {
		for {
			root := expressions.Expression(false)
			parser.Inspect(root, func(node parser.Node, _ []parser.Node) error {
				if selector, ok := node.(*parser.VectorSelector); ok && selector != nil && source.Intn(4) == 0 {
					selector.LabelMatchers = append(selector.LabelMatchers, matchers[source.Intn(len(matchers))])
				}
				return nil
			})
			text := root.String()
			if source.Intn(6) == 0 {
				text = fmt.Sprintf([]string{"absent(%s)", "absent_over_time(%s[5m:])", "count_values(\"namespace\", %s)"}[source.Intn(3)], text)
			}
			if source.Intn(6) == 0 {
				// What is left out depends on the series that there are: limit_ratio goes by
				// their labels, limitk by their order, which is only that of a selector.
				text = []string{
					"limit_ratio(0.4, " + text + ")", "limit_ratio(-0.4, " + text + ")", "limitk(3, load)",
					"sum by (namespace, job) (limitk by (job) (1, rate(requests_total[5m])))", `limitk(2, {__name__=~"up|load"}) or ` + text,
				}[source.Intn(5)]
			}
			if root, err := strictParser.ParseExpr(text); err == nil && len(text) < 2000 && !mayTie(root) {
				return text
			}
		}
	}
}

// mayTie reports whether topk() or bottomk() may have to choose among equal values:
// only the samples themselves are all different.
func mayTie(root parser.Expr) bool {
	found := false
	parser.Inspect(root, func(node parser.Node, _ []parser.Node) error {
		if aggregation, ok := node.(*parser.AggregateExpr); ok && (aggregation.Op == parser.TOPK || aggregation.Op == parser.BOTTOMK) {
			_, plain := aggregation.Expr.(*parser.VectorSelector)
			found = found || !plain
		}
		return nil
	})
	return found
}

// TestConfine_EqualsAPrometheusThatHoldsNothingElse asks the engine the same
// twice: the query itself over one namespace's series, and the confined one
// over those of all namespaces.
func TestConfine_EqualsAPrometheusThatHoldsNothingElse(t *testing.T) {
	all, series := storageWith(t, "shop", "bank", "till", "")
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1e7, Timeout: time.Minute, EnableAtModifier: true, EnableNegativeOffset: true,
		Parser: strictParser, NoStepSubqueryIntervalFn: func(int64) int64 { return time.Minute.Milliseconds() }})
	t.Cleanup(func() { _ = engine.Close() })
	for _, namespaces := range [][]string{{"shop"}, {"shop", "till"}} {
		only, _ := storageWith(t, namespaces...)
		confining := rule(t, ConflictEmpty, namespaces...)
		next := random(t, 7, series)
		nonEmpty, answeredHere := 0, 0
		for range 400 {
			query := next()
			confined, isEmpty, err := confining.query(query)
			require.NoError(t, err, query)
			expected := evaluate(t, engine, only, query)
			require.Equal(t, expected, evaluate(t, engine, all, confined), "%s\n%s", query, confined)
			if isEmpty {
				require.Empty(t, expected, query)
				answeredHere++
			}
			if expected != "" {
				nonEmpty++
			}
		}
		require.Greater(t, nonEmpty, 150, "the queries should find something")
		require.Positive(t, answeredHere, "some should find nothing for sure")
	}
}

// evaluate returns the answer of a range query as a text, its series sorted.
func evaluate(t *testing.T, engine *promql.Engine, db *tsdb.DB, text string) string {
	t.Helper()
	start := time.Unix(600, 0)
	query, err := engine.NewRangeQuery(context.Background(), db, promql.NewPrometheusQueryOpts(false, 0, nil), text, start, start.Add(45*time.Minute), 3*time.Minute)
	require.NoError(t, err, text)
	defer query.Close()
	result := query.Exec(t.Context())
	if result.Err != nil {
		// The words name the first series that is met.
		kind, _, _ := strings.Cut(result.Err.Error(), "{")
		return "error: " + kind
	}
	matrix, err := result.Matrix()
	require.NoError(t, err)
	lines := strings.Split(matrix.String(), "\n")
	if matrix.Len() > 0 {
		lines = nil
		for _, each := range matrix {
			lines = append(lines, each.String())
		}
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
