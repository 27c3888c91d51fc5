//go:build e2e

package stores

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/history"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/running"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// clusterLabel is the external label of hot where cold has several clusters.
const clusterLabel, ownCluster, otherCluster = "cluster", "lab", "other"

// external are hot's external labels.
func external() map[string]any { return map[string]any{clusterLabel: ownCluster} }

// inCold returns what cold has where it has several clusters.
func inCold(own []group) []group {
	return append(labelled(own, clusterLabel, ownCluster), labelled(elsewhere(), clusterLabel, otherCluster)...)
}

// ofPrometheus returns a world of two Prometheus servers, of a program each.
func ofPrometheus(hot, cold string) func(*testing.T) *world {
	return func(t *testing.T) *world {
		w := newWorld()
		groups := shop(w.now)
		w.startOracle(t, groups)
		w.hotPrometheus(t, groups, prometheusOptions{program: hot})
		w.coldPrometheus(t, groups, prometheusOptions{program: cold})
		w.feed(t)
		return w
	}
}

// startVictoriaMetrics starts a VictoriaMetrics, and returns where it takes samples.
func startVictoriaMetrics(t *testing.T) (*stack.Server, string) {
	t.Helper()
	started, err := stack.VictoriaMetrics{Dir: t.TempDir()}.Start(t.Context(), program(t, "victoria-metrics"))
	require.NoError(t, err)
	t.Cleanup(started.Kill)
	return started, started.URL + "/api/v1/write"
}

// coldVictoriaMetrics has a VictoriaMetrics with two clusters as cold.
func coldVictoriaMetrics(t *testing.T) *world {
	w := newWorld()
	groups := shop(w.now)
	w.startOracle(t, inCold(groups))
	w.hotPrometheus(t, groups, prometheusOptions{external: external()})
	started, target := startVictoriaMetrics(t)
	w.cold = server{base: started.URL, isVictoriaMetrics: true}
	w.fill(t, sender{url: target, groups: inCold(groups)}, reach)
	w.feed(t)
	return w
}

// hotVictoriaMetrics has a VictoriaMetrics as hot, and a Prometheus as cold.
func hotVictoriaMetrics(t *testing.T) *world {
	w := newWorld()
	groups := shop(w.now)
	w.startOracle(t, groups)
	started, target := startVictoriaMetrics(t)
	w.hot, w.stopHot = server{base: started.URL, isVictoriaMetrics: true}, started.Kill
	w.fill(t, sender{url: target, groups: groups}, hotReach)
	w.coldPrometheus(t, groups, prometheusOptions{})
	w.feed(t)
	return w
}

// coldCortex has a Cortex with two tenants as cold. The other tenant has the same series with other
// values, and its own.
func coldCortex(t *testing.T) *world {
	w := newWorld()
	w.secret = "other-tenant"
	groups := shop(w.now)
	w.startOracle(t, inCold(groups))
	w.hotPrometheus(t, groups, prometheusOptions{external: external()})
	started, err := stack.Cortex{Dir: t.TempDir()}.Start(t.Context(), program(t, "cortex"))
	require.NoError(t, err)
	t.Cleanup(started.Kill)
	own := map[string]string{stack.CortexTenantHeader: "own"}
	w.cold = server{base: started.URL + "/prometheus", header: own}
	w.tenantHeaders = fmt.Sprintf("%q:%q", stack.CortexTenantHeader, "own")
	w.settings = func(settings *config.Config) { settings.Hot.Tenant = "own" }
	w.fill(t, sender{url: started.URL + "/api/v1/push", header: own, groups: inCold(groups)}, reach)
	w.fill(t, sender{
		url: started.URL + "/api/v1/push", header: map[string]string{stack.CortexTenantHeader: w.secret},
		groups: labelled(inCold(shop(w.now)), "owner", w.secret),
	}, 2*hour)
	w.feed(t)
	return w
}

// coldReceive has a Thanos Query over a Receive as cold, to which hot sends its samples.
func coldReceive(t *testing.T) *world {
	w := newWorld()
	groups := shop(w.now)
	const tenantLabel, tenant = "tenant_id", "default-tenant"
	w.startOracle(t, labelled(inCold(groups), tenantLabel, tenant))
	thanos := program(t, "thanos")
	receive, target, err := stack.Thanos{Dir: t.TempDir()}.StartReceive(t.Context(), thanos, "--label", `receive="r0"`, "--tsdb.out-of-order.time-window", "10m")
	require.NoError(t, err)
	t.Cleanup(receive.Kill)
	query, err := stack.Thanos{Dir: t.TempDir()}.StartPart(t.Context(), thanos, "query", "--endpoint", receive.GRPC, "--query.replica-label=receive", "--query.replica-label=replica")
	require.NoError(t, err)
	t.Cleanup(query.Kill)
	w.cold = server{base: query.URL}
	labels := external()
	labels["replica"] = "a"
	w.hotPrometheus(t, groups, prometheusOptions{external: labels, remoteWrite: target})
	ofHot := labelled(groups, clusterLabel, ownCluster, "replica", "a")
	others := labelled(elsewhere(), clusterLabel, otherCluster, "replica", "a")
	// Hot does not send what is older than its start.
	require.NoError(t, sender{url: target, groups: slices.Concat(ofHot, others)}.send(t.Context(), w.now.Add(-reach), time.Now()))
	w.senders = append(w.senders, sender{url: target, groups: others})
	w.feed(t)
	return w
}

// ofThanosQueries has a Thanos Query over shards and an HA pair as hot, and one over a bucket as cold.
func ofThanosQueries(t *testing.T) *world {
	w := newWorld()
	groups := shop(w.now)
	const sharded, paired = "sharded", "paired"
	// The clusters share no series but up.
	ofPair := changed(groups, func(of history.Series) (history.Series, bool) {
		return of, of.Labels.Get("job") == "node" || of.Labels.Get("job") == "sensor"
	})
	ofShards := changed(groups, func(of history.Series) (history.Series, bool) {
		return of, of.Labels.Get("job") != "node" && of.Labels.Get("job") != "sensor"
	})
	w.startOracle(t, append(labelled(ofShards, clusterLabel, sharded), labelled(ofPair, clusterLabel, paired)...))
	thanos := program(t, "thanos")
	endpoints := []string{"--query.replica-label=replica"}
	bucket := stack.Thanos{Dir: t.TempDir(), Bucket: t.TempDir(), QueryArguments: []string{"--query.replica-label=replica"}}
	var stops []func()
	for i, each := range []struct {
		cluster string
		groups  []group
	}{{sharded, shard(ofShards, 0)}, {sharded, shard(ofShards, 1)}, {paired, ofPair}, {paired, ofPair}} {
		replica := strconv.Itoa(i)
		started := w.prometheus(t, "hot-"+replica, each.groups, hotReach, prometheusOptions{external: map[string]any{clusterLabel: each.cluster, "replica": replica}})
		w.senders = append(w.senders, sender{url: started.URL + "/api/v1/write", groups: each.groups})
		directory := t.TempDir()
		sidecar, err := stack.Thanos{Dir: directory}.StartPart(t.Context(), thanos, "sidecar", "--prometheus.url", started.URL, "--tsdb.path", filepath.Join(directory, "none"))
		require.NoError(t, err)
		t.Cleanup(sidecar.Kill)
		endpoints = append(endpoints, "--endpoint="+sidecar.GRPC)
		stops = append(stops, sidecar.Kill)
		blocks := t.TempDir()
		writeBlocks(t, blocks, each.groups, w.now.Add(-reach), w.now.Add(ahead))
		require.NoError(t, bucket.Upload(t.Context(), thanos, blocks, os.Stderr, fmt.Sprintf("%s=%q", clusterLabel, each.cluster), fmt.Sprintf("replica=%q", replica)))
	}
	cold, err := bucket.Start(t.Context(), thanos)
	require.NoError(t, err)
	t.Cleanup(cold.Stop)
	hot, err := stack.Thanos{Dir: t.TempDir()}.StartPart(t.Context(), thanos, "query", endpoints...)
	require.NoError(t, err)
	t.Cleanup(hot.Kill)
	running.AwaitStores(t, &hot.Server, clusterLabel, 4)
	running.AwaitStores(t, cold.Query, clusterLabel, 4)
	w.hot, w.cold = server{base: hot.URL}, server{base: cold.Query.URL}
	w.stopHot = func() {
		hot.Kill()
		for _, stop := range stops {
			stop()
		}
	}
	w.feed(t)
	return w
}
