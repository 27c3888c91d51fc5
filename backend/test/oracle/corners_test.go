//go:build e2e

package oracle

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
)

// steadySeries is a series of a value that follows the time of day, from one time to another.
func steadySeries(from, to time.Time, set ...string) loadedSeries {
	made := loadedSeries{labels: labels.FromStrings(set...)}
	for at := from.Truncate(scrapeInterval); at.Before(to); at = at.Add(scrapeInterval) {
		made.samples = append(made.samples, loadedSample{at: at.UnixMilli(), value: float64(at.Unix() % 86400)})
	}
	return made
}

// requireEqualTo asks both servers, twice, so that the second answer may come from the cache.
func requireEqualTo(t *testing.T, whole, gateway string, asked question) {
	t.Helper()
	for range 2 {
		expected, err := ask(t.Context(), whole, asked)
		require.NoError(t, err)
		got, err := ask(t.Context(), gateway, asked)
		require.NoError(t, err)
		require.Empty(t, difference(expected, got), "%s (%s) %s", got.tier, got.reason, got.message)
	}
}

// TestOracle_QuestionsThatNoGeneratorAsks has questions that people found.
func TestOracle_QuestionsThatNoGeneratorAsks(t *testing.T) {
	w := shopWorld(t)
	end := w.now.Add(future)
	series := append(w.shop("", func(name string) bool { return name == "up" || name == "http_requests_total" }),
		// Two versions of an application overlap while it is rolled out.
		steadySeries(w.now.Add(-20*hour), w.now.Add(-60*minute), "__name__", "app_info", "job", "app", "version", "1"),
		steadySeries(w.now.Add(-70*minute), end, "__name__", "app_info", "job", "app", "version", "2"),
		steadySeries(w.now.Add(-20*hour), end, "__name__", "app_load", "job", "app"))
	w.write(t, "labelled", series, w.now.Add(-30*hour), end, labelsInCold)
	w.write(t, "all", series, w.now.Add(-30*hour), end, nil)
	w.write(t, "hot", series, w.boundary, end, nil)
	whole := w.prometheus(t, "whole", "labelled", nil)
	hot := w.prometheus(t, "hot", "hot", hotLabels)
	cold := w.thanos(t, "cold", map[string][]string{"all": pairs(hotLabels)})
	g := w.gateway(t, hot.URL, cold.Query.URL, func(settings *config.Config) { settings.Routing.Threshold = config.Duration(splitThreshold) })

	at := func(ago time.Duration) string { return seconds(w.now.Add(-ago)) }
	instant := func(query string) question {
		return question{endpoint: "query", values: url.Values{"query": {query}, "time": {at(minute)}}}
	}
	ranged := func(query string, from, to time.Duration, step string) question {
		return question{endpoint: "query_range", values: url.Values{"query": {query}, "start": {at(from)}, "end": {at(to)}, "step": {step}}}
	}
	const join = `app_load * on (job) group_left (version) app_info`
	for name, asked := range map[string]question{
		"cut after a rollout":           ranged(join, 54*minute, minute, "30"),
		"cold alone after a rollout":    ranged(`count(app_load offset 6h) + on () group_right () (`+join+`)`, 54*minute, 20*minute, "30"),
		"within a rollout":              ranged(join, 65*minute, minute, "30"),
		"11,000 steps of cold":          ranged(`sum(up)`, 3*hour+11000*time.Second, 3*hour, "1"),
		"11,000 steps of both tiers":    ranged(`sum(rate(http_requests_total[30m]))`, minute+11000*time.Second, minute, "1"),
		"a label in parentheses":        instant(`sum by (job) (label_join(up, "job", "-", "job", ("cluster")))`),
		"another label in parentheses":  instant(`count by (where) (label_replace(up, "where", "$1", ("cluster"), "(.*)"))`),
		"label names up to a limit":     {endpoint: "labels", values: url.Values{"match[]": {"up"}, "limit": {"3"}, "start": {at(10 * minute)}, "end": {at(minute)}}},
		"label names of both, limited":  {endpoint: "labels", values: url.Values{"match[]": {"up"}, "limit": {"3"}, "start": {at(12 * hour)}, "end": {at(minute)}}},
		"a comparison that looks glued": instant(`(up>bool.5)`),
	} {
		t.Run(name, func(t *testing.T) { requireEqualTo(t, whole.URL, g.URL, asked) })
	}
}

// Cold has other clusters only: what hot's cluster sends has not come in yet, or is sent nowhere.
func TestOracle_ColdHasNothingOfHot(t *testing.T) {
	w := shopWorld(t)
	isKept := func(name string) bool { return name == "up" || name == "http_requests_total" }
	end, others := w.now.Add(future), w.shop("other_", isKept)
	series := append(w.shop("", isKept), steadySeries(w.now.Add(-20*hour), end, "__name__", "app_load", "job", "app"))
	w.write(t, "labelled", series, w.now.Add(-30*hour), end, labelsInCold)
	w.write(t, "labelled", others, w.now.Add(-30*hour), end, otherLabels)
	w.write(t, "others", others, w.now.Add(-30*hour), end, nil)
	w.write(t, "others-labelled", others, w.now.Add(-30*hour), end, otherLabels)
	w.write(t, "hot", series, w.boundary, end, nil)
	whole := w.prometheus(t, "whole", "labelled", nil)
	hot := w.prometheus(t, "hot", "hot", hotLabels)
	for kind, cold := range map[string]string{
		"a Thanos":     w.thanos(t, "cold", map[string][]string{"others": pairs(otherLabels, "replica", "a")}).Query.URL,
		"a Prometheus": w.prometheus(t, "cold-prometheus", "others-labelled", nil).URL,
	} {
		g := w.gateway(t, hot.URL, cold, func(settings *config.Config) { settings.Routing.Threshold = config.Duration(splitThreshold) })
		for query, isHots := range map[string]bool{
			`count by (cluster) (app_load)`: true, `count(up{cluster="lab"})`: kind == "a Thanos", `absent(up{cluster="lab",prometheus="k8s"})`: kind == "a Thanos",
			`count(up{cluster="lab",prometheus="k8s"})`: kind == "a Thanos", `count(up)`: false,
		} {
			t.Run(kind+" "+query, func(t *testing.T) {
				asked := question{endpoint: "query", values: url.Values{"query": {query}, "time": {seconds(w.now.Add(-minute))}}}
				expected, err := ask(t.Context(), whole.URL, asked)
				require.NoError(t, err)
				var got reply
				answered := func(is func() bool) {
					require.Eventually(t, func() bool {
						got, err = ask(t.Context(), g.URL, asked)
						require.NoError(t, err)
						require.Equal(t, http.StatusOK, got.status, got.message)
						require.True(t, difference(expected, got) == "" || len(got.warnings) > 0, "%s (%s) answered %s", got.tier, got.reason, short(got.data))
						return is()
					}, minute, 200*time.Millisecond, "%s (%s)", got.tier, got.reason)
				}
				if isHots {
					answered(func() bool { return got.tier == "hot" && len(got.warnings) == 0 })
					return
				}
				answered(func() bool { return got.tier == "cold" && len(got.warnings) > 0 })
			})
		}
	}
}

// Thanos removes a label as a replica label that series of an application have for another purpose.
func TestOracle_SeriesCarryTheReplicaLabelThemselves(t *testing.T) {
	w := shopWorld(t)
	end, start := w.now.Add(future), w.now.Add(-20*hour)
	series := append(w.shop("", func(name string) bool { return name == "up" || name == "http_requests_total" }),
		steadySeries(start, end, "__name__", "kafka_lag", "job", "kafka", "replica", "1"),
		steadySeries(start, end, "__name__", "kafka_lag", "job", "kafka", "replica", "2"))
	w.write(t, "labelled", series, w.now.Add(-30*hour), end, labelsInCold)
	w.write(t, "all", series, w.now.Add(-30*hour), end, nil)
	w.write(t, "hot", series, w.boundary, end, nil)
	whole := w.prometheus(t, "whole", "labelled", nil)
	hot := w.prometheus(t, "hot", "hot", hotLabels)
	cold := w.thanos(t, "cold", map[string][]string{"all": pairs(hotLabels)})
	g := w.gateway(t, hot.URL, cold.Query.URL, func(settings *config.Config) { settings.Routing.Threshold = config.Duration(splitThreshold) })
	at := func(ago time.Duration) string { return seconds(w.now.Add(-ago)) }
	ranged := func(query string, from time.Duration) question {
		return question{endpoint: "query_range", values: url.Values{"query": {query}, "start": {at(from)}, "end": {at(minute)}, "step": {"600"}}}
	}
	for _, query := range []string{`sum(kafka_lag)`, `sum by (replica) (kafka_lag)`, `kafka_lag`, `count({__name__=~"kafka.*"})`} {
		t.Run(query, func(t *testing.T) {
			for _, asked := range []question{{endpoint: "query", values: url.Values{"query": {query}, "time": {at(minute)}}}, ranged(query, hour)} {
				requireEqualTo(t, whole.URL, g.URL, asked)
			}
			for _, asked := range []question{{endpoint: "query", values: url.Values{"query": {query}, "time": {at(10 * hour)}}}, ranged(query, 12*hour)} {
				got, err := ask(t.Context(), g.URL, asked)
				require.NoError(t, err)
				require.Contains(t, strings.Join(got.warnings, "\n"), "the cold tier removes the label replica as a replica label, although series of hot carry it")
			}
		})
	}
	// Others are not concerned.
	asked := ranged(`sum(rate(http_requests_total[5m]))`, 12*hour)
	requireEqualTo(t, whole.URL, g.URL, asked)
	got, err := ask(t.Context(), g.URL, asked)
	require.NoError(t, err)
	require.Empty(t, got.warnings)
	// A selector of the label goes to cold, which has no series with it.
	got, err = ask(t.Context(), g.URL, question{endpoint: "query", values: url.Values{"query": {`kafka_lag{replica="2"}`}, "time": {at(minute)}}})
	require.NoError(t, err)
	require.NotEmpty(t, got.warnings)
}
