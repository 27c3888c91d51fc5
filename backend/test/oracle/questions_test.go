//go:build e2e

package oracle

import (
	"fmt"
	"maps"
	"math/rand"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

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
			reaches := map[string]time.Duration{
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
			}
			for _, query := range slices.Sorted(maps.Keys(reaches)) {
				asked := at.Add(reaches[query])
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

// acrossBoth asks for what hot alone does not hold together with what cold does
// not hold yet, as when a dashboard compares today with last week.
func (w *world) acrossBoth() []question {
	var list []question
	back := int64(w.now.Sub(w.boundary.Add(-hour)).Seconds())
	for _, template := range []string{
		`sum by (job) (up) - sum by (job) (up offset %ds)`, `count_over_time(up[%ds])`, `max_over_time(sum(up)[%ds:10m])`, `node_load1 and node_load1 @ start() or up offset %ds`,
	} {
		query := fmt.Sprintf(template, back)
		list = append(list,
			question{endpoint: "query", values: url.Values{"query": {query}, "time": {seconds(w.now)}}, origin: originAcross},
			question{endpoint: "query_range", values: url.Values{"query": {query}, "start": {seconds(w.now.Add(-10 * minute))}, "end": {seconds(w.now)}, "step": {"60"}}, origin: originAcross})
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
	originAcross   = "across"
	originEdge     = "edge"
	originDefaults = "defaults"
)
