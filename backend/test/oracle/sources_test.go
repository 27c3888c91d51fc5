//go:build e2e

package oracle

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// sourcesWorld has the web shop in hot, and another cluster that begins empty. Cold is a Thanos
// Query over both, by their sidecars. One Prometheus has everything.
type sourcesWorld struct {
	*world
	oracle, other *stack.Server
	sidecar       *stack.ThanosPart // of the other cluster
	gateway       *runningGateway
}

func newSourcesWorld(t *testing.T) *sourcesWorld {
	t.Helper()
	w := &sourcesWorld{world: shopWorld(t)}
	series, external := w.shop("", nil), map[string]string{"cluster": "lab"}
	w.write(t, "hot", series, w.boundary, w.now.Add(future), nil)
	w.write(t, "oracle", series, w.boundary, w.now.Add(future), external)
	hot := w.prometheus(t, "hot", "hot", external)
	withReceiver := func(name string, external map[string]string) *stack.Server {
		server, err := stack.Prometheus{
			Name: name, Dir: w.dir, Data: filepath.Join(w.dir, name), Retention: "10y", OutOfOrderWindow: outOfOrder.String(),
			Global:    map[string]any{"scrape_interval": "30s", "evaluation_interval": "30s", "external_labels": external},
			Arguments: []string{"--enable-feature=promql-experimental-functions", "--web.enable-otlp-receiver"},
		}.Start(t.Context(), w.prometheusPath)
		require.NoError(t, err)
		t.Cleanup(func() { _ = server.Stop() })
		return server
	}
	w.oracle, w.other = withReceiver("oracle", nil), withReceiver("other", map[string]string{"cluster": "other"})
	thanos := stack.Thanos{Dir: w.dir}
	part := func(name string, arguments ...string) *stack.ThanosPart {
		started, err := thanos.StartPart(t.Context(), w.thanosPath, name, arguments...)
		require.NoError(t, err)
		t.Cleanup(started.Kill)
		return started
	}
	ofHot := part("sidecar", "--tsdb.path", filepath.Join(w.dir, "hot"), "--prometheus.url", hot.URL)
	w.sidecar = part("sidecar", "--tsdb.path", filepath.Join(w.dir, "other"), "--prometheus.url", w.other.URL)
	query := part("query", "--endpoint", ofHot.GRPC, "--endpoint", w.sidecar.GRPC, "--enable-feature=promql-experimental-functions", "--query.default-evaluation-interval=30s")
	w.gateway = w.world.gateway(t, hot.URL, query.URL, func(settings *config.Config) {
		settings.Probe.Interval, settings.Routing.Threshold = config.Duration(time.Second), config.Duration(400*hour)
	})
	require.Eventually(t, func() bool { return reader(t, w.gateway)("sum(node_load1)") == "hot below-threshold" }, time.Minute, 100*time.Millisecond)
	return w
}

// TestOracle_EvidenceFollowsTheSources asks each question twice, while another cluster begins to
// have metrics that only hot had, and while its store does not answer.
func TestOracle_EvidenceFollowsTheSources(t *testing.T) {
	w := newSourcesWorld(t)
	seen := &tally{}
	questions := w.ranges(seed(t)+40, max(count(t)/8, 50), 0, []time.Time{w.boundary, w.now}, nil, ofDashboards)
	asked := 0
	ask := func(what string, excused bool) (second *tally) {
		t.Helper()
		first := w.differences(t, w.gateway.URL, w.oracle.URL, everything, questions, seen, excused)
		second = w.differences(t, w.gateway.URL, w.oracle.URL, everything, questions, seen, excused)
		asked += first.total + second.total
		t.Logf("%s: %d of %d questions answered by hot, and %d the second time", what, first.tiers["hot"], first.total, second.tiers["hot"])
		require.GreaterOrEqual(t, second.tiers["hot"], first.tiers["hot"], what)
		return second
	}
	before := ask("only hot has metrics", false)
	require.GreaterOrEqual(t, before.tiers["hot"], len(questions)/2, "hot answers too little\n%s", before)
	for _, metric := range []string{"node_load1", "http_requests_total"} {
		write(t, w.other.URL, metric, "")
		write(t, w.oracle.URL, metric, "other")
		require.Eventually(t, func() bool { return reader(t, w.gateway)("sum("+metric+")") == "cold not-in-hot" }, 6*time.Second, 50*time.Millisecond, metric)
		ask("the other cluster has "+metric, false)
	}
	w.sidecar.Kill()
	// Thanos drops the store, without a warning. Until the gateway has seen that, it has none either.
	require.Eventually(t, func() bool {
		return strings.Contains(w.gateway.manager.Health().Tiers["cold"].Error, "cannot reach its sidecar")
	}, time.Minute, 50*time.Millisecond)
	after := ask("the store of the other cluster is down", true)
	require.NotZero(t, after.tiers["hot"], "what only hot has")
	t.Logf("%d asked in all\n%s", asked, seen)
}
