//go:build e2e

package oracle

import (
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/running"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// youngShard is since when the second shard of cluster x has samples.
const youngShard = 150 * minute

// fanOutWorld has two clusters whose servers a Thanos Query reads by their sidecars: that is hot. The
// targets of x are divided between two shards, of which one is younger; y has one server. Cold is
// another Thanos with a store, which has the past of these, and cluster z as well.
type fanOutWorld struct {
	*clusterWorld
	query    *stack.ThanosPart
	sidecars map[string]*stack.ThanosPart // by name of the server
}

// ofShard returns the series of one of two shards.
func ofShard(series []loadedSeries, shard int) []loadedSeries {
	return slices.DeleteFunc(slices.Clone(series), func(each loadedSeries) bool {
		instance := each.labels.Get("instance")
		sum := 0
		for _, character := range []byte(instance) {
			sum += int(character)
		}
		return sum%2 != shard
	})
}

func newFanOutWorld(t *testing.T) *fanOutWorld {
	t.Helper()
	w := &fanOutWorld{
		clusterWorld: &clusterWorld{world: shopWorld(t), hot: map[string]*stack.Server{}}, sidecars: map[string]*stack.ThanosPart{},
	}
	w.hotIsThanos = true
	w.clusters = map[string]map[string]string{"x": {"cluster": "x"}, "y": {"cluster": "y"}, "z": {"cluster": "z"}}
	w.begins = map[string]time.Time{"x": w.now.Add(-youngShard), "y": w.boundary}
	w.edges = []time.Time{w.boundary, w.now.Add(-youngShard), w.now}
	from, end := w.now.Add(-clustersReach), w.now.Add(future)
	sources, endpoints := map[string][]string{}, []string{"--query.replica-label=replica", "--query.default-evaluation-interval=30s"}
	for i, cluster := range slices.Sorted(maps.Keys(w.clusters)) {
		series := tenant("", time.Duration(i)*3*hour, from, end)
		w.write(t, "oracle", series, from, end, w.clusters[cluster])
		for _, each := range series {
			w.labels = append(w.labels, withLabels(each.labels, w.clusters[cluster]))
		}
		parts := map[string][]loadedSeries{cluster + "-0": series}
		if cluster == "x" {
			parts = map[string][]loadedSeries{"x-0": ofShard(series, 0), "x-1": ofShard(series, 1)}
		}
		for name, series := range parts {
			external := withReplica(w.clusters[cluster], name)
			w.write(t, "cold-"+name, series, from, end, nil)
			sources["cold-"+name] = pairs(external)
			if cluster == "z" {
				continue
			}
			begins := w.boundary
			if name == "x-1" {
				begins = w.now.Add(-youngShard)
			}
			w.write(t, "hot-"+name, series, begins, end, nil)
			w.hot[name] = w.prometheus(t, "hot-"+name, "hot-"+name, external)
			w.sidecars[name] = w.sidecar(t, name)
			endpoints = append(endpoints, "--endpoint="+w.sidecars[name].GRPC)
		}
	}
	w.oracle = w.prometheus(t, "oracle", "oracle", nil).URL
	w.cold = w.thanos(t, "thanos", sources, "--query.default-evaluation-interval=30s", "--query.lookback-delta=5m").Query.URL
	var err error
	w.query, err = stack.Thanos{Dir: w.dir}.StartPart(t.Context(), w.thanosPath, "query", endpoints...)
	require.NoError(t, err)
	t.Cleanup(w.query.Kill)
	running.AwaitStores(t, &w.query.Server, "cluster", len(w.sidecars))
	return w
}

// withReplica returns external labels with a replica label.
func withReplica(external map[string]string, replica string) map[string]string {
	labelled := maps.Clone(external)
	labelled["replica"] = replica
	return labelled
}

// sidecar starts the sidecar beside a server.
func (w *clusterWorld) sidecar(t *testing.T, name string) *stack.ThanosPart {
	t.Helper()
	sidecar, err := stack.Thanos{Dir: w.dir}.StartPart(t.Context(), w.thanosPath, "sidecar", "--tsdb.path", filepath.Join(w.dir, "hot-"+name), "--prometheus.url", w.hot[name].URL)
	require.NoError(t, err)
	t.Cleanup(sidecar.Kill)
	return sidecar
}

// TestFanOut_EqualsOnePrometheus asks while all stores of a hot Thanos Query are there, and after it
// has lost one shard of a cluster.
func TestFanOut_EqualsOnePrometheus(t *testing.T) {
	t.Parallel() // It waits most of the time.
	w := newFanOutWorld(t)
	g := w.gateway(t, nil, w.query.URL)
	w.awaitOwn(t, g, "x", "y")
	t.Run("all stores are there", func(t *testing.T) { w.ask(t, g, w.questions(seed(t)+90, count(t)*4/10, w.edges...), false) })
	t.Run("a shard is lost", func(t *testing.T) {
		delete(w.begins, "x")
		w.sidecars["x-1"].Kill()
		require.Eventually(t, func() bool {
			got, err := ask(t.Context(), g.URL, question{endpoint: "query", values: url.Values{"query": {`sum(up{cluster="x"})`}, "time": {seconds(w.now)}}})
			return err == nil && got.tier == string(tier.Cold) && got.reason != string(tier.ReasonHotFailed)
		}, time.Minute, 50*time.Millisecond, "the gateway knows it")
		w.ask(t, g, w.questions(seed(t)+91, count(t)*2/10, w.edges...), false)
	})
}
