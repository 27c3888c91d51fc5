//go:build e2e

package oracle

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
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

func TestOracle(t *testing.T) {
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
		g := w.gateway(t, hot.URL, whole.URL, nil)
		questions := w.questions(seed(t), total*35/100, []time.Time{w.boundary, w.now, w.now}, nil, nil)
		result := w.compare(t, g.URL, whole.URL, questions, seen)
		require.GreaterOrEqual(t, result.hotShare(), 0.4, "hot answers too little")
	})
	t.Run("b: cold is a Thanos that lags", func(t *testing.T) {
		w.write(t, "lagging", w.series, w.now.Add(-400*hour), w.now.Add(-lag), nil)
		whole := w.prometheus(t, "whole-labelled", "labelled", nil)
		hot := w.prometheus(t, "hot", "hot", hotLabels)
		cold := w.thanos(t, "b", map[string][]string{"lagging": pairs(hotLabels)})
		g := w.gateway(t, hot.URL, cold.Query.URL, nil)
		questions := w.questions(seed(t)+1, total*25/100, []time.Time{w.boundary, w.now.Add(-lag), w.now}, pins(labelsInCold), foreign())
		w.compare(t, g.URL, whole.URL, questions, seen)
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
		result := w.compare(t, g.URL, whole.URL, questions, seen)
		require.GreaterOrEqual(t, result.hotShare(), 0.4, "hot answers too little")
	})
	complete := t.Run("d: faults", func(t *testing.T) { w.faults(t, seed(t)+3, total*10/100, seen) })
	t.Logf("all setups together:\n%s", seen)
	if !complete || t.Failed() || flag.Lookup("test.run").Value.String() != "" {
		return // Not everything was asked.
	}
	for _, reason := range tier.Reasons() {
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

func pins(set map[string]string) []*labels.Matcher {
	var matchers []*labels.Matcher
	for _, name := range slices.Sorted(maps.Keys(set)) {
		matchers = append(matchers, labels.MustNewMatcher(labels.MatchEqual, name, set[name]))
	}
	return matchers
}

func foreign() []*labels.Matcher {
	return []*labels.Matcher{
		labels.MustNewMatcher(labels.MatchEqual, "cluster", "other"),
		labels.MustNewMatcher(labels.MatchRegexp, "cluster", "lab|other"),
		labels.MustNewMatcher(labels.MatchNotEqual, "cluster", "other"),
		labels.MustNewMatcher(labels.MatchNotEqual, "cluster", "lab"),
		labels.MustNewMatcher(labels.MatchEqual, "cluster", "lab"),
		labels.MustNewMatcher(labels.MatchEqual, "cluster", ""),
	}
}

// questions are those of Prometheus' test data, with enough of them all, and
// random ones.
func (w *world) questions(seed int64, count int, edges []time.Time, pinned, foreign []*labels.Matcher) []question {
	random := rand.New(rand.NewSource(seed))
	var evals []question
	for _, block := range w.blocks {
		base := w.placed[block]
		for _, each := range block.evals {
			asked := question{endpoint: "query", origin: block.file, values: url.Values{"query": {each.query}, "time": {seconds(base.Add(each.end))}}}
			if each.step > 0 {
				asked.endpoint = "query_range"
				asked.values = url.Values{
					"query": {each.query}, "start": {seconds(base.Add(each.start))}, "end": {seconds(base.Add(each.end))},
					"step": {strconv.FormatFloat(each.step.Seconds(), 'f', -1, 64)},
				}
			}
			evals = append(evals, asked)
		}
	}
	random.Shuffle(len(evals), func(i, j int) { evals[i], evals[j] = evals[j], evals[i] })
	evals = evals[:min(len(evals), count*7/10)]
	var series []labels.Labels
	for _, each := range w.shop("", nil) {
		series = append(series, each.labels)
	}
	g := newGenerator(seed, w.now, edges, series)
	g.pinned, g.foreign = pinned, foreign
	evals = append(evals, w.atEdges(edges)...)
	evals = append(evals, now()...)
	count += len(evals) - min(len(evals), count*7/10)
	for len(evals) < count {
		evals = append(evals, g.next())
	}
	return evals
}

// atEdges asks for what begins and ends exactly at the edges, or some samples
// beside them, in every way in which a query can reach there.
func (w *world) atEdges(edges []time.Time) []question {
	var list []question
	for _, edge := range slices.CompactFunc(slices.Clone(edges), time.Time.Equal) {
		for _, beside := range []time.Duration{-3 * scrapeInterval, -3 * scrapeInterval / 2, -scrapeInterval, -time.Millisecond, 0, time.Millisecond, scrapeInterval, 2 * scrapeInterval, 3 * minute} {
			at := edge.Add(beside)
			for query, after := range map[string]time.Duration{
				`count_over_time(node_load1[10m])`:           10 * minute,
				`count_over_time(node_load1[10m] offset 7m)`: 17 * minute,
				`sum_over_time(node_load1[10m:30s])`:         10 * minute,
				`sum_over_time(sparse[10m:30s] offset 3m)`:   13 * minute,
				`sparse`:                                                       0,
				`timestamp(sparse)`:                                            2 * minute,
				`timestamp(sparse offset 20m)`:                                 21 * minute,
				`timestamp(node_load1 offset -6m)`:                             -6 * minute,
				`timestamp(node_load1)`:                                        0,
				`count_over_time(node_load1[5m])`:                              0,
				fmt.Sprintf(`timestamp(sparse @ %s)`, seconds(at)):             hour,
				fmt.Sprintf(`sum_over_time(node_load1[5m] @ %s)`, seconds(at)): hour,
			} {
				asked := at.Add(after)
				if asked.After(w.now) {
					continue
				}
				list = append(list, question{endpoint: "query", values: url.Values{"query": {query}, "time": {seconds(asked)}}, origin: originEdge})
			}
		}
	}
	// What depends on the defaults of the server, where cold answers.
	for i := range 12 {
		at := edges[0].Add(-hour + time.Duration(i)*37*time.Second)
		for _, query := range []string{`avg_over_time(node_load1[30m:])`, `sparse{phase="4"}`} {
			list = append(list, question{endpoint: "query", values: url.Values{"query": {query}, "time": {seconds(at)}}, origin: originDefaults})
		}
	}
	return list
}

// now asks without a time.
func now() []question {
	var list []question
	for _, query := range []string{
		`vector(time())`, `timestamp(node_load1)`, `sum by (job) (rate(http_requests_total[5m]))`, `count_over_time(node_load1[3h])`,
		`count_over_time(up[30h])`, `count by (cluster) (node_load1) + 0 * time()`, `label_replace(vector(time()), "node", "a", "", "")`,
	} {
		list = append(list, question{endpoint: "query", values: url.Values{"query": {query}}, origin: originNow})
	}
	return list
}

// evaluatedAt is the time that an answer with samples says of itself.
func evaluatedAt(got reply) (string, bool) {
	object, _ := got.data.(map[string]any)
	result, _ := object["result"].([]any)
	if len(result) == 0 {
		return "", false
	}
	one, _ := result[0].(map[string]any)
	value, _ := one["value"].([]any)
	if len(value) == 0 {
		return "", false
	}
	at, isNumber := value[0].(float64)
	return strconv.FormatFloat(at, 'f', 3, 64), isNumber
}

// The origins of questions that are asked for a tier's sake.
const (
	originNow      = "now"
	originEdge     = "edge"
	originDefaults = "defaults"
)

// tally counts who answered and why.
type tally struct {
	mutex sync.Mutex
	total int
	// usual are those of the test data and the random ones.
	usual, usualHot int
	tiers           map[string]int
	reasons         map[string]int
	both            map[string]int
	warned          int // answers with a warning of the gateway
	// Differences by why they are none of the gateway.
	excused  int // it said so in a warning
	unsure   int // two runs on the oracle differ as well
	refused  int // cold does not know the language so well
	versions int // cold evaluates it in another way: see mayDiffer
}

func (s *tally) add(asked question, got reply) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.tiers == nil {
		s.tiers, s.reasons, s.both = map[string]int{}, map[string]int{}, map[string]int{}
	}
	s.total++
	if !slices.Contains([]string{originNow, originEdge, originDefaults}, asked.origin) {
		s.usual++
		if got.tier == string(tier.Hot) {
			s.usualHot++
		}
	}
	s.tiers[got.tier]++
	s.reasons[got.reason]++
	s.both[fmt.Sprintf("%-8s %s", got.tier, got.reason)]++
	if got.hasOwnWarning() {
		s.warned++
	}
}

// hotShare is the part of the test data and the random questions that hot
// answered; those that lead to a certain tier on purpose do not count.
func (s *tally) hotShare() float64 { return float64(s.usualHot) / float64(max(s.usual, 1)) }

// String lists them.
func (s *tally) String() string {
	var text strings.Builder
	for _, key := range slices.Sorted(maps.Keys(s.both)) {
		fmt.Fprintf(&text, "%6d  %s\n", s.both[key], key)
	}
	fmt.Fprintf(&text, "%5.1f%%  of the test data and the random questions are answered by hot\n", 100*s.hotShare())
	fmt.Fprintf(&text, "%6d  questions, %d answers with a warning of the gateway. Differences: %d excused by it, %d between two runs on the oracle, %d refused by cold, %d by the version of cold",
		s.total, s.warned, s.excused, s.unsure, s.refused, s.versions)
	return text.String()
}

// compare asks the gateway and the oracle the same, and fails for every
// difference.
func (w *world) compare(t *testing.T, gateway, oracle string, questions []question, all *tally) *tally {
	t.Helper()
	result := w.differences(t, gateway, oracle, questions, all, false)
	t.Logf("\n%s", result)
	return result
}

// differences is compare for setups in which a warning may excuse a difference.
func (w *world) differences(t *testing.T, gateway, oracle string, questions []question, all *tally, excused bool) *tally {
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
			mutex.Lock()
			defer mutex.Unlock()
			result.add(asked, got)
			all.add(asked, got)
			switch {
			case found == "":
			case found == unsure:
				result.unsure++
				all.unsure++
			case refuses(got):
				result.refused++
				all.refused++
				t.Logf("cold refuses %s\n      %s", asked, got.message)
			case mayDiffer(asked, got):
				result.versions++
				all.versions++
			case excused && got.status >= http.StatusBadGateway:
				result.excused++ // It says that it cannot answer.
				all.excused++
			case got.hasOwnWarning() && (excused || straddles(got)):
				result.excused++
				all.excused++
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

const unsure = "differs between two runs on the oracle"

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
	if found == "" {
		return got, "", nil
	}
	again, err := ask(ctx, oracle, plain)
	if err == nil && difference(expected, again) != "" {
		found = unsure
	}
	return got, found, err
}

// straddles tells whether an answer carries the warning that no single tier
// holds all that the query reads: older than hot and newer than cold.
func straddles(got reply) bool {
	return (got.reason == string(tier.ReasonOlderThanHot) || got.reason == string(tier.ReasonNotInHot)) && slices.ContainsFunc(got.warnings, func(warning string) bool {
		return strings.Contains(warning, "the cold tier answered, whose data ends at")
	})
}

// refuses tells whether cold refuses a query that the oracle answers, or
// refuses for another reason: Thanos evaluates with an engine of its own version. An error is no wrong answer, and
// errors are passed on as they are.
func refuses(got reply) bool {
	return got.tier == string(tier.Cold) &&
		(got.status == http.StatusBadRequest || got.status == http.StatusUnprocessableEntity)
}

// versionDifferences are what Thanos 0.42 evaluates in another way than
// Prometheus 3.16. No routing can cure them; when Thanos is upgraded, they can
// be tried out again.
var versionDifferences = []struct{ part, why string }{
	{"info(", "info() is experimental, and what it joins has changed"},
	{"resets(", "Thanos corrects counter resets while it deduplicates"},
	{"type_and_unit.test", "the labels __type__ and __unit__ are newer than Thanos' engine"},
	{"quantile without(point)", "quantile() of infinities has been corrected since"},
}

// mayDiffer tells whether an answer of cold differs because of its version.
func mayDiffer(asked question, got reply) bool {
	for _, each := range versionDifferences {
		if got.tier == string(tier.Cold) && strings.Contains(asked.origin+" "+asked.values.Get("query"), each.part) {
			return true
		}
	}
	return false
}
