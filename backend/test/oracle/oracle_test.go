//go:build e2e

package oracle

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// External labels of hot where cold has them; replica is removed by cold.
var (
	hotLabels    = map[string]string{"cluster": "lab", "prometheus": "k8s", "replica": "a"}
	labelsInCold = map[string]string{"cluster": "lab", "prometheus": "k8s"}
	otherLabels  = map[string]string{"cluster": "other", "prometheus": "k8s"}
	usersLabels  = map[string]string{"cluster": "lab", "prometheus": "user-workload"}
)

// count is how many questions all setups together ask: E2E_QUERIES, or 1,000.
func count(t *testing.T) int {
	t.Helper()
	text := os.Getenv("E2E_QUERIES")
	if text == "" {
		return 1000
	}
	number, err := strconv.Atoi(text)
	require.NoError(t, err, "E2E_QUERIES must be a number")
	return number
}

// seed makes the questions the same in every run: E2E_SEED, or 1.
func seed(t *testing.T) int64 {
	t.Helper()
	text := os.Getenv("E2E_SEED")
	if text == "" {
		return 1
	}
	number, err := strconv.ParseInt(text, 10, 64)
	require.NoError(t, err, "E2E_SEED must be a number")
	return number
}

func TestOracle_GatewayEqualsPrometheus(t *testing.T) {
	w := newWorld(t)
	total := count(t)
	seen := &tally{}
	w.write(t, "all", w.series, w.now.Add(-400*hour), w.now.Add(future), nil)
	w.write(t, "hot-plain", w.series, w.boundary, w.now.Add(future), nil)
	w.write(t, "labelled", w.series, w.now.Add(-400*hour), w.now.Add(future), labelsInCold)
	require.NoError(t, os.CopyFS(w.dir+"/hot", os.DirFS(w.dir+"/hot-plain")))

	t.Run("a: hot has the last hours, cold is a Prometheus", func(t *testing.T) {
		whole := w.prometheus(t, "whole", "all", nil)
		hot := w.prometheus(t, "hot-plain", "hot-plain", nil)
		questions := w.questions(seed(t), total*35/100, []time.Time{w.boundary, w.now, w.now}, nil, nil)
		g := w.gateway(t, hot.URL, whole.URL, nil)
		result := w.compare(t, g.URL, whole.URL, everything, questions[:len(questions)*4/7], seen)
		require.GreaterOrEqual(t, result.hotShare(), 0.4, "hot answers too little")
		w.split(t, hot.URL, whole.URL, whole.URL, everything, seed(t)+10, total*15/100, 0, []time.Time{w.boundary, w.now}, nil, seen)
		w.cached(t, tier.StrategySplit, hot.URL, whole.URL, whole.URL, everything, seed(t)+12, total*25/100, 0, []time.Time{w.boundary, w.now}, nil, seen)
		w.cached(t, tier.StrategyRoute, hot.URL, whole.URL, whole.URL, everything, seed(t)+13, total*15/100, 0, []time.Time{w.boundary, w.now}, nil, seen)
		t.Run("route, without the cache", func(t *testing.T) {
			w.routed(t, hot.URL, whole.URL, questions[len(questions)*4/7:], seen)
		})
	})
	t.Run("b: cold is a Thanos that lags", func(t *testing.T) {
		w.write(t, "lagging", w.series, w.now.Add(-400*hour), w.now.Add(-lag), nil)
		whole := w.prometheus(t, "whole-labelled", "labelled", nil)
		hot := w.prometheus(t, "hot", "hot", hotLabels)
		cold := w.thanos(t, "b", map[string][]string{"lagging": pairs(hotLabels)})
		g := w.gateway(t, hot.URL, cold.Query.URL, nil)
		questions := w.questions(seed(t)+1, total*25/100, []time.Time{w.boundary, w.now.Add(-lag), w.now}, pins(labelsInCold), foreign())
		held := coverage{hotBegins: w.boundary, coldEnds: w.now.Add(-lag)}
		result := w.compare(t, g.URL, whole.URL, held, append(questions, w.acrossBoth()...), seen)
		require.GreaterOrEqual(t, result.neither, len(w.acrossBoth()))
		require.NotZero(t, result.neitherDiffers, "the warnings are for a reason")
		w.split(t, hot.URL, cold.Query.URL, whole.URL, held, seed(t)+11, total*15/100, lag, []time.Time{w.boundary, w.now.Add(-lag), w.now}, pins(labelsInCold), seen)
		w.cached(t, tier.StrategySplit, hot.URL, cold.Query.URL, whole.URL, held, seed(t)+14, total*25/100, lag, []time.Time{w.boundary, w.now}, pins(labelsInCold), seen)
	})
	t.Run("c: another cluster and user workloads share names with hot", func(t *testing.T) {
		w.write(t, "several", w.series, w.now.Add(-400*hour), w.now.Add(future), labelsInCold)
		w.write(t, "several", w.others, w.now.Add(-400*hour), w.now.Add(future), otherLabels)
		w.write(t, "several", w.users, w.now.Add(-400*hour), w.now.Add(future), usersLabels)
		w.write(t, "others", w.others, w.now.Add(-400*hour), w.now.Add(future), nil)
		w.write(t, "users", w.users, w.now.Add(-400*hour), w.now.Add(future), nil)
		whole := w.prometheus(t, "whole-several", "several", nil)
		hot := w.prometheus(t, "hot", "hot", hotLabels)
		cold := w.thanos(t, "c", map[string][]string{"all": pairs(hotLabels), "others": pairs(otherLabels, "replica", "a"), "users": pairs(usersLabels, "replica", "b")})
		g := w.gateway(t, hot.URL, cold.Query.URL, nil)
		questions := w.questions(seed(t)+2, total*30/100, []time.Time{w.boundary, w.now, w.now}, pins(labelsInCold), foreign())
		result := w.compare(t, g.URL, whole.URL, everything, questions, seen)
		require.GreaterOrEqual(t, result.hotShare(), 0.4, "hot answers too little")
	})
	t.Run("e: stores come and go, with a cache", func(t *testing.T) { w.storesComeAndGo(t, seed(t)+15, max(total*3/100, 10), seen) })
	complete := t.Run("d: faults", func(t *testing.T) { w.faults(t, seed(t)+3, total*10/100, seen) })
	t.Logf("all setups together:\n%s", seen)
	if !complete || t.Failed() || flag.Lookup("test.run").Value.String() != "" {
		return // Not everything was asked.
	}
	require.NotZero(t, seen.fromCache, "some answers come from the cache")
	for _, reason := range tier.Reasons() {
		if reason == tier.ReasonNotInCold {
			continue // Cold has everything here: see TestOracle_ColdDoesNotHoldEverything.
		}
		require.NotZero(t, seen.reasons[string(reason)], "no question was answered for the reason %s", reason)
	}
}

func pairs(set map[string]string, more ...string) []string {
	var list []string
	for name, value := range set {
		list = append(list, fmt.Sprintf("%s=%q", name, value))
	}
	if len(more) > 0 {
		list = append(list, fmt.Sprintf("%s=%q", more[0], more[1]))
	}
	return list
}

// compare asks the gateway and the oracle the same, and fails for every
// difference, but for questions that read what neither tier holds.
func (w *world) compare(t *testing.T, gateway, oracle string, held coverage, questions []question, all *tally) *tally {
	t.Helper()
	result := w.differences(t, gateway, oracle, held, questions, all, false)
	t.Logf("\n%s", result)
	return result
}

// differences is compare for setups in which a warning may excuse a difference.
func (w *world) differences(t *testing.T, gateway, oracle string, held coverage, questions []question, all *tally, excused bool) *tally {
	t.Helper()
	result := &tally{}
	var (
		mutex   sync.Mutex
		shown   int
		differs int
	)
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(4)
	for _, asked := range questions {
		group.Go(func() error {
			got, found, err := w.judge(ctx, gateway, oracle, asked)
			if err != nil {
				return fmt.Errorf("%s: %w", asked, err)
			}
			// What is cut needs no tier that holds everything.
			neither := held.byNeither(ctx, asked) && got.reason != string(tier.ReasonSplit)
			mutex.Lock()
			defer mutex.Unlock()
			for _, each := range []*tally{result, all} {
				each.add(asked, got)
				if neither {
					each.neither++
				} else if !held.coldEnds.IsZero() && got.hasOwnWarning() {
					each.needless++
				}
			}
			if neither && got.status == http.StatusOK && !got.warnsOfEnd() {
				t.Errorf("%s\n      reads what neither tier holds, and %s answers for %s without saying so: %q", asked, got.tier, got.reason, got.warnings)
			}
			switch {
			case found == "":
			case found == unsure:
				result.unsure++
				all.unsure++
			case found == tied:
				result.tied++
				all.tied++
			case w.refuses(got):
				result.refused++
				all.refused++
				t.Logf("cold refuses %s\n      %s", asked, got.message)
			case w.mayDiffer(asked, got):
				result.versions++
				all.versions++
			case excused && (got.status >= http.StatusBadGateway || got.status != http.StatusOK && got.reason == string(tier.ReasonNotInHot)):
				result.excused++ // It says that it cannot answer.
				all.excused++
			case excused && (got.hasOwnWarning() || got.lacksStore()):
				result.excused++
				all.excused++
			case neither && got.status == http.StatusOK:
				result.neitherDiffers++ // Warned, as was seen above.
				all.neitherDiffers++
			default:
				differs++
				if shown++; shown <= 12 {
					t.Errorf("%s\n      %s for %s, warnings %q:\n      %s", asked, got.tier, got.reason, got.warnings, found)
				}
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	if differs > 0 {
		t.Errorf("%d of %d differ", differs, len(questions))
	}
	return result
}

const (
	unsure = "differs between two runs on the oracle"
	// tied is a difference in which of several equal values topk or bottomk takes. That
	// depends on the order in which a storage hands out series.
	tied = "takes another one of equal values"
)

// isTied reports whether replies hold the same values at each time, in other series.
func isTied(asked question, expected, got reply) bool {
	query := asked.values.Get("query")
	return (strings.Contains(query, "topk") || strings.Contains(query, "bottomk")) && slices.Equal(valuesOf(expected), valuesOf(got))
}

// valuesOf are all times and values of a reply, whatever series they are of.
func valuesOf(of reply) []string {
	var list []string
	object, _ := of.data.(map[string]any)
	result, _ := object["result"].([]any)
	for _, each := range result {
		one, _ := each.(map[string]any)
		values, _ := one["values"].([]any)
		for _, value := range values {
			list = append(list, fmt.Sprint(value))
		}
		if one["value"] != nil {
			list = append(list, fmt.Sprint(one["value"]))
		}
	}
	slices.Sort(list)
	return list
}

func (w *world) judge(ctx context.Context, gateway, oracle string, asked question) (got reply, found string, err error) {
	plain := asked
	plain.header = nil
	plain.values = maps.Clone(asked.values)
	for _, name := range []string{"dedup", "partial_response"} {
		plain.values.Del(name)
	}
	if got, err = ask(ctx, gateway, asked); err != nil {
		return got, "", err
	}
	if asked.origin == originNow && got.status == http.StatusOK {
		// The oracle is asked at the time that the answer says now was.
		at, found := evaluatedAt(got)
		if !found {
			return got, "the answer does not say when it was evaluated", nil
		}
		plain.values.Set("time", at)
	}
	expected, err := ask(ctx, oracle, plain)
	if err != nil {
		return got, "", err
	}
	if asked.endpoint != "query" && asked.endpoint != "query_range" {
		found, err = metadataDifference(ctx, oracle, plain, expected, got)
		return got, found, err
	}
	found = difference(expected, got)
	switch {
	case found == "":
		return got, "", nil
	case isTied(asked, expected, got):
		return got, tied, nil
	}
	again, err := ask(ctx, oracle, plain)
	if err == nil && difference(expected, again) != "" {
		found = unsure
	}
	return got, found, err
}

// refuses reports whether Thanos refuses a query that the oracle answers, or
// refuses for another reason: Thanos evaluates with an engine of its own version. An error is no wrong answer, and
// errors are passed on as they are.
func (w *world) refuses(got reply) bool {
	return (w.hotIsThanos || got.tier == string(tier.Cold)) &&
		(got.status == http.StatusBadRequest || got.status == http.StatusUnprocessableEntity)
}

// versionDifferences are what Thanos 0.42 evaluates in another way than
// Prometheus 3.16. No routing can cure them; when Thanos is upgraded, they can
// be tried out again.
var versionDifferences = []struct {
	differs func(asked question, got reply) bool
	why     string
}{
	{asks("info("), "info() is experimental, and what it joins has changed"},
	{asksForResets, "Thanos corrects counter resets while it deduplicates, before resets() or a subquery sees them"},
	{func(_ question, got reply) bool { return strings.Contains(fmt.Sprint(got.data), "__type__:") }, "operators that drop the name drop __type__ and __unit__ too; Thanos' engine does not know them"},
	{asks("type_and_unit.test"), "the same"},
	{asks("deg("), "deg() rounds in another way since, which count_values turns into labels"},
	{func(asked question, _ reply) bool {
		query := asked.values.Get("query")
		return strings.Contains(query, "count_values") && extrapolated.MatchString(query)
	}, "the same of what is extrapolated to the range"},
	{asks("rad("), "the same, which sin() and the like of large numbers enlarge"},
	{asks("quantile without(point)"), "quantile() of infinities has been corrected since"},
	{func(asked question, got reply) bool {
		return strings.Contains(asked.values.Get("query"), "quantile") && strings.Contains(fmt.Sprint(got.data), "NaN")
	}, "the same: it was NaN"},
}

// extrapolated are the functions that extrapolate to their range.
var extrapolated = regexp.MustCompile(`(rate|increase|delta)\(`)

func asks(part string) func(question, reply) bool {
	return func(asked question, _ reply) bool {
		return strings.Contains(asked.origin+" "+asked.values.Get("query"), part)
	}
}

// asksForResets reports whether a function that corrects counter resets gets a
// subquery, or counts them.
func asksForResets(asked question, _ reply) bool {
	root, err := parser.NewParser(parser.Options{}).ParseExpr(asked.values.Get("query"))
	if err != nil {
		return false
	}
	found := false
	parser.Inspect(root, func(node parser.Node, _ []parser.Node) error {
		call, ok := node.(*parser.Call)
		if !ok || !slices.Contains([]string{"rate", "irate", "increase", "resets"}, call.Func.Name) {
			return nil
		}
		_, overSubquery := call.Args[0].(*parser.SubqueryExpr)
		found = found || overSubquery || call.Func.Name == "resets"
		return nil
	})
	return found
}

// counterOverSubquery is a rate or an increase over a subquery. Thanos tells its
// storage that it reads a counter, and where it removes replica labels, that adds
// up what it takes for resets: of a gauge it makes a counter.
var counterOverSubquery = regexp.MustCompile(`(rate|increase)\([^\[]*\[[^\]]*:`)

// mayDiffer reports whether an answer of Thanos differs because of its version.
func (w *world) mayDiffer(asked question, got reply) bool {
	byThanos := w.hotIsThanos || strings.Contains(got.tier, string(tier.Cold))
	if byThanos && counterOverSubquery.MatchString(asked.values.Get("query")) {
		return true
	}
	for _, each := range versionDifferences {
		if byThanos && each.differs(asked, got) {
			return true
		}
	}
	return false
}
