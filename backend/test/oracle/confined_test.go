//go:build e2e

package oracle

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/history"
)

// confinedCount is how many questions are asked of confined datasources:
// E2E_CONFINED, or 2,000.
func confinedCount(t *testing.T) int {
	t.Helper()
	text := os.Getenv("E2E_CONFINED")
	if text == "" {
		return 2000
	}
	number, err := strconv.Atoi(text)
	require.NoError(t, err, "E2E_CONFINED must be a number")
	return number
}

// tenant is the web shop of package history in a namespace, or in none where
// that is empty. Each namespace has values of its own.
func tenant(namespace string, shift time.Duration, from, to time.Time) []loadedSeries {
	var all []loadedSeries
	for _, series := range (history.Generator{Interval: scrapeInterval}).All() {
		made := loadedSeries{labels: labels.NewBuilder(series.Labels).Set("namespace", namespace).Labels()}
		for at := from.Truncate(scrapeInterval); at.Before(to); at = at.Add(scrapeInterval) {
			sample, then := loadedSample{at: at.UnixMilli()}, at.Add(shift).UnixMilli()
			if series.Histogram != nil {
				sample.histogramI = series.Histogram(then)
			} else {
				sample.value = series.Value(then)
			}
			made.samples = append(made.samples, sample)
		}
		all = append(all, made)
	}
	return all
}

// TestConfined_EqualsAPrometheusOfTheNamespaces compares a gateway that is confined
// to namespaces with a Prometheus that holds only these. The tiers hold other
// namespaces too, and series without one.
func TestConfined_EqualsAPrometheusOfTheNamespaces(t *testing.T) {
	w := shopWorld(t)
	from := w.now.Add(-16 * hour)
	var everybody, shop, shopAndBank []loadedSeries
	for i, namespace := range []string{"shop", "bank", "shopping", ""} {
		series := tenant(namespace, time.Duration(i)*3*hour, from, w.now.Add(future))
		everybody = append(everybody, series...)
		switch namespace {
		case "shop":
			shop, shopAndBank = append(shop, series...), append(shopAndBank, series...)
		case "bank":
			shopAndBank = append(shopAndBank, series...)
		}
	}
	w.write(t, "everybody", everybody, from, w.now.Add(future), nil)
	w.write(t, "hot", everybody, w.boundary, w.now.Add(future), nil)
	matcher := func(kind labels.MatchType, value string) *labels.Matcher {
		return labels.MustNewMatcher(kind, "namespace", value)
	}
	foreign := []*labels.Matcher{
		matcher(labels.MatchEqual, "shop"), matcher(labels.MatchEqual, "bank"), matcher(labels.MatchEqual, ""), matcher(labels.MatchNotEqual, "shop"),
		matcher(labels.MatchRegexp, "shop.*"), matcher(labels.MatchRegexp, ".*"), matcher(labels.MatchNotRegexp, "b.*"),
	}
	ask := func(t *testing.T, gateway, oracle string, seed int64, pinned []*labels.Matcher) {
		t.Helper()
		var series []labels.Labels
		for _, each := range everybody {
			series = append(series, each.labels)
		}
		g := newGenerator(seed, w.now, []time.Time{w.boundary, w.now, w.now}, series)
		g.pinned, g.foreign = pinned, foreign
		var questions []question
		for len(questions) < confinedCount(t)/2 {
			questions = append(questions, g.next())
		}
		result := w.compare(t, gateway, oracle, everything, questions, &tally{})
		require.GreaterOrEqual(t, result.hotShare(), 0.2, "hot answers too little")
		require.LessOrEqual(t, result.hotShare(), 0.8, "cold answers too little")
	}
	confined := func(namespaces ...string) func(*datasource.Config) {
		return func(config *datasource.Config) { config.DefaultDatasource.Namespaces = namespaces }
	}
	t.Run("one namespace", func(t *testing.T) {
		w.write(t, "shop", shop, from, w.now.Add(future), nil)
		only := w.prometheus(t, "only-shop", "shop", nil)
		hot, cold := w.prometheus(t, "hot", "hot", nil), w.prometheus(t, "everybody", "everybody", nil)
		g := w.gateway(t, hot.URL, cold.URL, confined("shop"))
		ask(t, g.URL, only.URL, seed(t)+10, []*labels.Matcher{matcher(labels.MatchEqual, "shop")})
		require.NoError(t, hot.Stop())
		require.NoError(t, cold.Stop())
	})
	t.Run("two namespaces, and labels that hot lacks", func(t *testing.T) {
		w.write(t, "labelled", everybody, from, w.now.Add(future), labelsInCold)
		w.write(t, "shop-and-bank", shopAndBank, from, w.now.Add(future), labelsInCold)
		only := w.prometheus(t, "only-shop-and-bank", "shop-and-bank", nil)
		hot, cold := w.prometheus(t, "hot-labelled", "hot", labelsInCold), w.prometheus(t, "everybody-labelled", "labelled", nil)
		g := w.gateway(t, hot.URL, cold.URL, confined("shop", "bank"))
		ask(t, g.URL, only.URL, seed(t)+11, append(pins(labelsInCold), matcher(labels.MatchEqual, "bank")))
	})
}
