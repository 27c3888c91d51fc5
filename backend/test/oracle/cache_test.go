//go:build e2e

package oracle

import (
	"encoding/json"
	"maps"
	"math/rand"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resolve"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// cached asks a gateway with a cache the same again and again, each time a bit
// later, over a longer or shorter time, or in another phase.
func (w *world) cached(t *testing.T, strategy tier.Strategy, hot, cold, oracle string, held coverage, seed int64, count int, beyond time.Duration, edges []time.Time, pinned []*labels.Matcher, seen *tally) {
	t.Helper()
	g := w.gateway(t, hot, cold, func(settings *config.Config) {
		settings.Routing.Strategy = string(strategy)
		settings.Routing.Threshold = config.Duration(splitThreshold)
	})
	const rounds = 4
	first := w.ranges(seed, max(count/rounds, 1), beyond, edges, pinned, 0)
	w.compare(t, g.URL, oracle, held, first, seen)
	random := rand.New(rand.NewSource(seed))
	all := &tally{}
	for round := range rounds - 1 {
		waitForProbes(t, g.URL, 2)
		again := make([]question, 0, len(first))
		for _, asked := range first {
			again = append(again, later(random, asked, w.now))
		}
		result := w.compare(t, g.URL, oracle, held, again, seen)
		all.cacheable, all.fromCache = all.cacheable+result.cacheable, all.fromCache+result.fromCache
		t.Logf("round %d: %d answers may use the cache, %d do", round+2, result.cacheable, result.fromCache)
	}
	require.GreaterOrEqual(t, 2*all.fromCache, all.cacheable, "at least half of what is asked again comes at least partly from the cache")
	require.NotZero(t, all.fromCache)
}

// later is a question as it is asked some steps later, or slightly changed.
func later(random *rand.Rand, asked question, now time.Time) question {
	number := func(name string) float64 {
		value, _ := strconv.ParseFloat(asked.values.Get(name), 64) // It was written here.
		return value
	}
	changed := asked
	changed.values = maps.Clone(asked.values)
	start, end, step := number("start"), number("end"), number("step")
	switch random.Intn(12) {
	case 0: // Another phase.
		start, end = start-step/2, end-step/2
	case 1: // A longer time.
		start -= step * float64(1+random.Intn(20))
	case 2: // A shorter one.
		start += step * float64(random.Intn(3))
	case 3: // The past of it.
		end -= step * float64(random.Intn(5))
	case 4: // Another step.
		step *= 2
	default: // The next refresh.
		shift := step * float64(random.Intn(4))
		start, end = start+shift, end+shift
	}
	if end > float64(now.Unix()) {
		end = float64(now.Unix())
	}
	if start > end {
		start = end
	}
	for name, value := range map[string]float64{"start": start, "end": end, "step": step} {
		changed.values.Set(name, strconv.FormatFloat(value, 'f', 3, 64))
	}
	return changed
}

// waitForProbes waits for some probes of both tiers, after which what was answered
// may be kept, and what has changed is known.
func waitForProbes(t *testing.T, base string, count int) {
	t.Helper()
	checks := func() (hot, cold time.Time) {
		health := healthAt(t, base)
		return health.Tiers["hot"].LastCheck, health.Tiers["cold"].LastCheck
	}
	for range count {
		hotBefore, coldBefore := checks()
		require.Eventually(t, func() bool {
			hot, cold := checks()
			return (hot.After(hotBefore) || hot.IsZero()) && cold.After(coldBefore) // Of several hot tiers, each has a time of its own.
		}, 30*time.Second, 10*time.Millisecond, "both tiers are probed: %+v", healthAt(t, base))
	}
}

// healthAt is what a datasource of a gateway says of itself; nothing where it says
// why not.
func healthAt(t *testing.T, base string) resolve.Health {
	t.Helper()
	var health resolve.Health
	_, body, err := stack.Get(t.Context(), base+"/api/v1/datasources/health", nil)
	if err == nil {
		err = json.Unmarshal(body, &health)
	}
	if err != nil {
		t.Logf("the health at %s: %s: %s", base, err, body)
	}
	return health
}

// storesComeAndGo asks a gateway with a cache while a store of cold is there,
// just gone, gone for a while, and back.
func (w *world) storesComeAndGo(t *testing.T, seed int64, count int, seen *tally) {
	t.Helper()
	cold := w.thanos(t, "cached", map[string][]string{"all": pairs(hotLabels)})
	labelled := w.prometheus(t, "whole-labelled", "labelled", nil)
	hot := w.prometheus(t, "hot", "hot", hotLabels)
	g := w.gateway(t, hot.URL, cold.Query.URL, func(settings *config.Config) {
		settings.Routing.Threshold = config.Duration(splitThreshold)
	})
	questions := w.ranges(seed, count, hour, []time.Time{w.boundary, w.now}, nil, 0)
	fresh := w.ranges(seed+1, count, hour, []time.Time{w.boundary, w.now}, nil, 0)
	w.differences(t, g.URL, labelled.URL, everything, questions, seen, false)
	require.NoError(t, cold.Store.Stop())
	w.differences(t, g.URL, labelled.URL, everything, fresh, seen, true) // Some are asked before anybody has noticed.
	require.Eventually(t, func() bool {
		return strings.Contains(g.manager.Health().Tiers["cold"].Error, "cannot reach its store")
	}, 30*time.Second, 100*time.Millisecond)
	w.differences(t, g.URL, labelled.URL, everything, append(questions, fresh...), seen, true)
	require.NoError(t, cold.RestartStore(t.Context(), w.thanosPath))
	require.Eventually(t, func() bool {
		got, err := ask(t.Context(), cold.Query.URL, question{endpoint: "query", values: url.Values{"query": {"up"}, "time": {seconds(w.now.Add(-hour))}}})
		return err == nil && g.manager.Health().Tiers["cold"].Error == "" && len(got.warnings) == 0
	}, 60*time.Second, 100*time.Millisecond, "the store is back")
	waitForProbes(t, g.URL, 2)
	w.differences(t, g.URL, labelled.URL, everything, append(questions, fresh...), seen, false)
}
