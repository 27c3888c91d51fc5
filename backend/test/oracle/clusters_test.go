//go:build e2e

package oracle

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/running"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// Where the servers of the clusters begin and end.
const (
	clustersReach = 12 * hour
	youngReplica  = 40 * minute // since when a's second replica has samples
	restarted     = 50 * minute // since when c's server has samples
	downtime      = 5 * minute  // for which nobody has samples of c, before that
	behind        = 6 * minute  // how far b's server is behind
)

// clusterWorld has clusters with the same metrics with the same labels, and other values. A Thanos is
// over all of them, and one Prometheus has everything.
type clusterWorld struct {
	*world
	clusters     map[string]map[string]string // external labels by name, replica labels aside
	oracle, cold string
	hot          map[string]*stack.Server // by name of the server
	labels       []labels.Labels          // of all series, as the oracle has them
	edges        []time.Time              // where the data of a server begin
	// begins is when the samples begin that a cluster's own servers hold; clusters without
	// a server that can answer are missing.
	begins map[string]time.Time
}

// newClusterWorld makes three clusters, of which only a has a region. Cluster a is an HA pair, and one
// replica is younger. The server of b is behind; the Thanos is not. The server of c was restarted
// without its data.
func newClusterWorld(t *testing.T) *clusterWorld {
	t.Helper()
	w := &clusterWorld{world: shopWorld(t), hot: map[string]*stack.Server{}}
	w.clusters = map[string]map[string]string{"a": {"cluster": "a", "region": "eu"}, "b": {"cluster": "b"}, "c": {"cluster": "c"}}
	w.begins = map[string]time.Time{"a": w.boundary, "c": w.now.Add(-restarted)}
	w.edges = []time.Time{w.boundary, w.now.Add(-restarted), w.now.Add(-youngReplica)}
	from, end := w.now.Add(-clustersReach), w.now.Add(future)
	sources := map[string][]string{}
	for i, cluster := range slices.Sorted(maps.Keys(w.clusters)) {
		series := tenant("", time.Duration(i)*3*hour, from, end)
		switch cluster {
		case "a":
			w.write(t, "hot-a-0", series, w.boundary, end, nil)
			w.write(t, "hot-a-1", series, w.now.Add(-youngReplica), end, nil)
		case "b":
			w.write(t, "hot-b", series, w.boundary, w.now.Add(-behind), nil)
		case "c":
			series = without(series, w.now, []stretch{{from: restarted + downtime, to: restarted}})
			w.write(t, "hot-c", series, w.now.Add(-restarted), end, nil)
		}
		w.write(t, "cold-"+cluster, series, from, end, nil)
		w.write(t, "oracle", series, from, end, w.clusters[cluster])
		sources["cold-"+cluster] = pairs(w.clusters[cluster], "replica", "0")
		for _, each := range series {
			w.labels = append(w.labels, withLabels(each.labels, w.clusters[cluster]))
		}
	}
	w.oracle = w.prometheus(t, "oracle", "oracle", nil).URL
	var endpoints []string
	for _, name := range []string{"a-0", "a-1", "b", "c"} {
		cluster, replica, _ := strings.Cut(name, "-")
		w.hot[name] = w.prometheus(t, "hot-"+name, "hot-"+name, withReplica(w.clusters[cluster], cmp.Or(replica, "0")))
		if replica != "" {
			endpoints = append(endpoints, "--endpoint="+w.sidecar(t, name).GRPC)
		}
	}
	cold := w.thanos(t, "thanos", sources, endpoints...)
	running.AwaitStores(t, cold.Query, "cluster", len(sources)+len(endpoints))
	w.cold = cold.Query.URL
	return w
}

func withLabels(set labels.Labels, more map[string]string) labels.Labels {
	builder := labels.NewBuilder(set)
	for name, value := range more {
		builder.Set(name, value)
	}
	return builder.Labels()
}

// gateway starts a gateway over some servers, configured by a file.
func (w *clusterWorld) gateway(t *testing.T, change func(*config.Config), hot ...string) *runningGateway {
	t.Helper()
	text := "hot: {url: " + hot[0] + "}\n"
	if len(hot) > 1 {
		text = "hot: [{url: " + strings.Join(hot, "}, {url: ") + "}]\n"
	}
	text += fmt.Sprintf("cold: {url: %s}\nrouting: {threshold: %s}\nprobe: {interval: 500ms, learn_interval: 2s}\n", w.cold, config.Duration(threshold))
	file := filepath.Join(w.dir, "tierproxy.yaml")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	settings, err := config.Load(file)
	require.NoError(t, err)
	if change != nil {
		change(&settings)
	}
	return serve(t, settings)
}

// ownCluster returns the only cluster that a question of pinned selectors reads, if its own servers
// hold what is read, and whether it does.
func (w *clusterWorld) ownCluster(ctx context.Context, asked question) (cluster string, held bool) {
	oldest, newest, reads := touched(ctx, asked)
	span := max(newest-oldest+1, asked.at("end").Sub(asked.at("start")).Milliseconds())
	cluster, pinned := strings.CutPrefix(asked.origin, pinnedTo)
	begins, answers := w.begins[cluster]
	held = pinned && answers && reads && oldest > begins.UnixMilli() && newest <= w.now.UnixMilli() && span < threshold.Milliseconds()
	return cluster, held
}

// ask asks questions and requires that all answers equal the oracle's. Of those that a cluster's
// own servers hold, they must answer 95 %.
func (w *clusterWorld) ask(t *testing.T, g *runningGateway, questions []question, excused bool) {
	t.Helper()
	held, own, others := 0, 0, map[string]int{}
	result := w.differences(t, g.URL, w.oracle, everything, questions, &tally{observe: func(asked question, got reply) {
		if !excused && got.warnsOfEnd() {
			t.Errorf("%s\n      cold holds everything, and %s answers for %s with %q", asked, got.tier, got.reason, got.warnings)
		}
		cluster, expected := w.ownCluster(t.Context(), asked)
		if got.status != http.StatusOK || !expected {
			return
		}
		held++
		if w.isOwn(got, cluster) {
			own++
			return
		}
		why := strings.Join([]string{got.tier, got.reason, got.source}, " ")
		if others[why]++; others[why] <= 3 {
			t.Logf("%s for %s %s: %s", got.tier, got.reason, got.source, asked)
		}
	}}, excused)
	t.Logf("%d of %d questions that a cluster's own servers hold are answered by them; others: %v\n%s", own, held, others, result)
	require.NotZero(t, held)
	require.GreaterOrEqual(t, float64(own), 0.95*float64(held), "a cluster's own servers answer too little")
}

// isOwn reports whether a cluster's own servers, and no others of hot, took part in an answer.
func (w *clusterWorld) isOwn(got reply, cluster string) bool {
	return isSource(got.source, w.clusters[cluster]) && strings.Contains(got.tier, string(tier.Hot))
}

// isSource reports whether a header X-Tier-Source names one source by its external labels.
func isSource(header string, external map[string]string) bool {
	matchers, err := parser.NewParser(parser.Options{}).ParseMetricSelector(header)
	named := map[string]string{}
	for _, matcher := range matchers {
		named[matcher.Name] = matcher.Value
	}
	return err == nil && maps.Equal(named, external)
}
