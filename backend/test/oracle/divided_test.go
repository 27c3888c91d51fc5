//go:build e2e

package oracle

import (
	"maps"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// dividedReach is how far back the data goes whose first loads are divided.
const dividedReach = 126 * hour

// TestOracle_DividedFirstLoads asks for long ranges that nothing is kept of. Cold says that it has
// many cores, so that most of them are divided.
func TestOracle_DividedFirstLoads(t *testing.T) {
	w := shopWorld(t)
	from, to := w.now.Add(-dividedReach), w.now.Add(future)
	all := scraped(from, to, 0, nil)
	w.write(t, "all", all, from, to, nil)
	w.write(t, "labelled", all, from, to, labelsInCold)
	w.write(t, "hot", all, w.boundary, to, nil)
	whole := w.prometheus(t, "whole", "labelled", nil)
	hot := w.prometheus(t, "hot", "hot", hotLabels)
	t.Setenv("GOMAXPROCS", "64")
	cold := w.thanos(t, "divided", map[string][]string{"all": pairs(hotLabels)})
	g := w.gateway(t, hot.URL, cold.Query.URL, func(settings *config.Config) {
		settings.Routing.Strategy, settings.Cache.Enabled = string(tier.StrategySplit), true
		settings.Routing.Threshold = config.Duration(splitThreshold)
	})
	w.differences(t, g.URL, whole.URL, everything, w.ranges(seed(t), 1, 0, []time.Time{w.now}, nil, 1), &tally{}, false)
	waitForProbes(t, g.URL, 2)

	questions := w.longRanges(seed(t)+30, max(count(t)*3/100, 10))
	before := divided(t, g.URL)
	result := w.compare(t, g.URL, whole.URL, everything, questions, &tally{})
	require.Equal(t, len(questions), result.total)
	found := divided(t, g.URL) - before
	t.Logf("%d of %d questions were divided", found, len(questions))
	require.GreaterOrEqual(t, found, len(questions)/2)
}

// longRanges are ranges over some days that end now or earlier.
func (w *world) longRanges(seed int64, count int) []question {
	list := w.ranges(seed, count, 0, []time.Time{w.now, w.now.Add(-10 * hour)}, nil, 0.3)
	for i, asked := range list {
		end, _ := strconv.ParseFloat(asked.values.Get("end"), 64) // It was written here.
		days := 2 + float64((i*37)%100)/100*2.9
		step := 480 + float64((i*53)%900) // From 25 min on, Thanos would use downsampled data.
		start := max(end-days*86400, float64(w.now.Add(-dividedReach+4*hour).Unix()))
		changed := asked
		changed.values = maps.Clone(asked.values)
		for name, value := range map[string]float64{"start": start, "step": step} {
			changed.values.Set(name, strconv.FormatFloat(value, 'f', 3, 64))
		}
		list[i] = changed
	}
	return list
}

var dividedQueries = regexp.MustCompile(`(?m)^tierproxy_divided_queries_total (\d+)$`)

// divided returns how many queries a gateway has divided so far.
func divided(t *testing.T, base string) int {
	t.Helper()
	_, text, err := stack.Get(t.Context(), base+"/metrics", nil)
	require.NoError(t, err)
	found := dividedQueries.FindSubmatch(text)
	require.NotNil(t, found, "%s", text)
	number, err := strconv.Atoi(string(found[1]))
	require.NoError(t, err)
	return number
}
