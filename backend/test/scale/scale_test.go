package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

func TestSeriesLabels_AreThoseOfTargets(t *testing.T) {
	names := map[string]int{}
	unique := map[uint64]bool{}
	const series = 4000
	for number := range series {
		set := seriesLabels(number, "east")
		names[set.Get("__name__")]++
		unique[set.Hash()] = true
	}
	require.Len(t, unique, series)
	require.Equal(t, series/perTarget, names["up"], "one for each target")
	require.Equal(t, series/perTarget*(wide-1), names["app_wide"])
	require.Equal(t, series/perTarget/kinds, names["app_metric_0123"])
	require.Equal(t, "lab_metric_0020", seriesLabels(9*perTarget+20, own).Get("__name__"), "a name that no other cluster has")
	require.Equal(t, seriesLabels(3*perTarget, own), up(3).Labels)
}

func TestBuilt_IsUsableForTheSameSizeOfTheSameDay(t *testing.T) {
	now := time.Now()
	made := built{Foreign: 30, Own: 20, At: now.Add(-time.Hour)}
	asked := options{foreign: 30, own: 20}
	require.True(t, made.usable(asked, now))
	require.False(t, made.usable(asked, now.Add(reusable)), "they are too old")
	require.False(t, made.usable(options{foreign: 31, own: 20}, now), "they are others")
	require.False(t, built{Foreign: 30, Own: 20}.usable(asked, now), "they are not complete")
}

func TestWorld_LeavesDirectoriesOfOthersAlone(t *testing.T) {
	w := &world{dir: t.TempDir()}
	_, err := w.found()
	require.NoError(t, err, "an empty directory")
	require.NoError(t, w.lockDirectory())
	defer w.stop()
	require.ErrorContains(t, (&world{dir: w.dir}).lockDirectory(), "another run uses")
	require.NoError(t, os.WriteFile(filepath.Join(w.dir, "thesis.txt"), nil, 0o600))
	_, err = w.found()
	require.ErrorContains(t, err, "no blocks of an earlier run")
}

func TestCounter_AddsTheRequestsOfAllServers(t *testing.T) {
	counts := map[string]float64{}
	for range 2 { // Of two gateways.
		require.NoError(t, byGateways.addFrom(counts, "own:", strings.NewReader(`# TYPE tierproxy_probe_requests_total counter
tierproxy_probe_requests_total{tier="cold",kind="names",outcome="success"} 3
tierproxy_probe_requests_total{tier="cold",kind="evidence",outcome="failed"} 1
# TYPE tierproxy_queries_in_flight gauge
tierproxy_queries_in_flight 7
`)))
	}
	require.Equal(t, map[string]float64{"own: cold names success": 6, "own: cold evidence failed": 2}, counts)
	clear(counts)
	require.NoError(t, atPrometheus.addFrom(counts, "at hot:", strings.NewReader(`# TYPE prometheus_http_requests_total counter
prometheus_http_requests_total{code="200",handler="/api/v1/query"} 3
prometheus_http_requests_total{code="400",handler="/api/v1/query"} 1
prometheus_http_requests_total{code="200",handler="/metrics"} 9
`)))
	require.Equal(t, map[string]float64{"at hot: /api/v1/query": 4}, counts)
}

func TestDirectly_AsksTheTiersThatAnswered(t *testing.T) {
	answered := make([]string, len(services))
	for i := range answered {
		answered[i] = "cold"
	}
	answered[16] = "hot"
	questions := dashboards["services"].directly(answered, "http://hot", "http://cold")
	require.Equal(t, question{"http://hot", `count by (job) (up == 1)`, 5 * time.Minute}, questions[16])
	require.Equal(t, question{"http://cold", `avg(up{cluster="lab",job="app"})`, 5 * time.Minute}, questions[17])
	require.Equal(t, `avg(up{job="app"})`, unpinned.Replace(services[17].query))
}

// goodResults are of gateways that cost their tiers nothing.
func goodResults() results {
	second := func(what string, cpu time.Duration) phase {
		spent := map[string]time.Duration{"store": cpu, "query": cpu, "hot": cpu}
		return phase{what: what, took: 100 * time.Second, spent: spent}
	}
	r := results{
		panels: dashboards["services"],
		alone:  second("alone", time.Second), unasked: second("unasked", time.Second), idle: second("idle", 2*time.Second),
		refreshing: second("refreshing", 11*time.Second), direct: second("direct", 11*time.Second),
		learned:  learned{took: 2 * time.Second, looks: 2, most: dashboards["services"].expected(), expected: dashboards["services"].expected()},
		answered: make([]string, len(services)), memory: []held{{"gateway 1", stack.Memory{Peak: mostMemory}}},
	}
	for i := range dashboards["services"].expected() {
		r.answered[i] = "hot"
	}
	return r
}

func TestResults_MissGoals(t *testing.T) {
	require.True(t, goodResults().met(), "%v", goodResults().goals())
	for name, spoil := range map[string]func(*results){
		"a tier is busy without queries": func(r *results) { r.idle.spent["store"] += 10 * time.Millisecond },
		"own questions":                  func(r *results) { r.refreshing.spent["query"] += time.Second },
		"hot is used late":               func(r *results) { r.learned.took = 11 * time.Second },
		"hot is used for too little":     func(r *results) { r.learned.most-- },
		"a panel failed":                 func(r *results) { r.answered[len(services)-1] = failed },
		"memory":                         func(r *results) { r.memory[0].Peak++ },
	} {
		t.Run(name, func(t *testing.T) {
			r := goodResults()
			spoil(&r)
			require.False(t, r.met())
			var out bytes.Buffer
			require.NoError(t, r.write(&out))
			require.Equal(t, 1, strings.Count(out.String(), "**missed**"), "%s", &out)
		})
	}
}

func TestResults_CompareThePanelsWithTheirCostAtTheTiers(t *testing.T) {
	r := goodResults()
	require.InDelta(t, 0, r.own(), 0.001)
	r.refreshing.spent["store"] += 3 * time.Second
	require.InDelta(t, 10, r.own(), 0.001, "3 s of 33 s, of which 3 s are spent without gateways")
}
