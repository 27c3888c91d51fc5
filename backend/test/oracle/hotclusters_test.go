//go:build e2e

package oracle

import (
	"fmt"
	"math/rand"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
)

// TestClusters_EqualOnePrometheus asks about three clusters while one of their own servers becomes
// slow, and others stop.
func TestClusters_EqualOnePrometheus(t *testing.T) {
	t.Parallel()
	w := newClusterWorld(t)
	c := newUnwell(t, w.hot["c"].URL)
	servers := []string{w.hot["a-0"].URL, w.hot["a-1"].URL, w.hot["b"].URL, c.URL}
	g, cut := w.gateway(t, nil, servers...), w.gateway(t, cutMore, servers...)
	total := count(t)
	w.awaitOwn(t, g, "a", "c")
	w.awaitOwn(t, cut, "a", "c")
	t.Run("all are there", func(t *testing.T) { w.ask(t, g, w.questions(seed(t)+80, total*4/10, w.edges...), false) })
	t.Run("cut and cached", func(t *testing.T) {
		questions := w.questions(seed(t)+81, total*2/10, w.edges...)
		random := rand.New(rand.NewSource(seed(t)))
		seen := &tally{}
		for round := range 2 {
			w.differences(t, cut.URL, w.oracle, everything, questions, seen, false)
			waitForProbes(t, cut.URL, 2)
			for i, asked := range questions {
				if asked.endpoint == "query_range" && round == 0 {
					questions[i] = later(random, asked, w.now)
				}
			}
		}
		require.NotZero(t, seen.reasons[string(tier.ReasonSplit)], "some are cut\n%s", seen)
		require.NotZero(t, seen.fromCache, "and some come from the cache")
	})
	delete(w.begins, "c")
	t.Run("the server of c is slow", func(t *testing.T) {
		fault := slow(4 * time.Second)
		c.fault.Store(&fault)
		w.ask(t, g, w.questions(seed(t)+82, total*1/10, w.edges...), false)
		c.fault.Store(nil)
	})
	w.awaitOwn(t, g, "c")
	t.Run("the server of c stops", func(t *testing.T) {
		require.NoError(t, w.hot["c"].Stop())
		w.ask(t, g, w.questions(seed(t)+83, total*1/10, w.edges...), false)
	})
	t.Run("a replica of a stops", func(t *testing.T) {
		w.begins["a"] = w.now.Add(-youngReplica)
		require.NoError(t, w.hot["a-0"].Stop())
		w.ask(t, g, w.questions(seed(t)+84, total*2/10, w.edges...), true) // A sidecar of cold has no server then.
	})
}

// cutMore configures a gateway that cuts most range queries.
func cutMore(settings *config.Config) {
	settings.Routing.Threshold = config.Duration(splitThreshold)
}

// awaitOwn waits until clusters are answered by their own servers.
func (w *clusterWorld) awaitOwn(t *testing.T, g *runningGateway, names ...string) {
	t.Helper()
	for _, cluster := range names {
		require.Eventually(t, func() bool {
			got, err := ask(t.Context(), g.URL, question{endpoint: "query", values: url.Values{"query": {fmt.Sprintf("sum(up{cluster=%q})", cluster)}, "time": {seconds(w.now)}}})
			return err == nil && w.isOwn(got, cluster)
		}, time.Minute, 50*time.Millisecond, cluster)
	}
}
