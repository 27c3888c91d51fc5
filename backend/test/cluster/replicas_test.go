//go:build e2e

package cluster

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resolve"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/certificates"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/history"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/panel"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/running"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// TestReplicas_APanelGetsTheAnswerOfOne refreshes a panel many times.
func TestReplicas_APanelGetsTheAnswerOfOne(t *testing.T) {
	p := newReplicaPair(t)
	g := p.startAll(t)
	end := time.Now().Truncate(minute).Add(-2 * minute)
	long := panel.RangeQuery(`sum by (job) (increase(http_requests_total[5m]))`, end, 70*minute, minute)

	// A check of a datasource sees what the gateway sees: the replica that covers most.
	state, from := g.checkHot(t)
	require.Equal(t, "ok", state)
	require.WithinDuration(t, *g.Health().Tiers["hot"].CoverageStart, *from, 2*minute)
	require.WithinDuration(t, *g.Health().Tiers["hot"].Replicas[0].CoverageStart, *from, 2*minute)
	require.Greater(t, g.Health().Tiers["hot"].Replicas[1].CoverageStart.Sub(*from), 2*minute, "the other one has a later gap")

	// Otherwise the test would show nothing.
	direct := func(one *pod) string {
		got, err := (&runningGateway{url: one.server.URL}).ask(t.Context(), "query_range", long)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, got.status)
		return string(got.Data)
	}
	require.NotEqual(t, direct(p.list[0]), direct(p.list[1]), "the replicas have different gaps")

	answers := map[string]int{}
	for range 1000 {
		got, err := g.ask(t.Context(), "query_range", long)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, got.status, got.body)
		answers[string(got.Data)]++
	}
	require.Len(t, answers, 1, "1,000 refreshes")
	// It reads what one of the replicas may lack.
	got, err := g.ask(t.Context(), "query_range", long)
	require.NoError(t, err)
	require.Len(t, got.Warnings, 1)
	require.Contains(t, got.Warnings[0], "what lies between is missing")

	replicas := map[string]int{}
	for _, query := range panels(20) {
		// Both replicas hold all that it reads.
		recent := panel.RangeQuery(query, end, 2*minute, minute)
		got, err := g.ask(t.Context(), "query_range", recent)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, got.status, got.body)
		require.Empty(t, got.Warnings)
		replicas[g.replicaOf(t, recent)]++
	}
	t.Logf("20 panels went to %v", replicas)
	require.Len(t, replicas, 2, "panels are spread over the replicas")

	// What the first replica holds without a gap, and the second does not, is
	// answered by the first.
	covered := panel.RangeQuery(`sum by (job) (rate(http_requests_total[4m]))`, end, 35*minute, minute)
	for _, query := range panels(8) {
		covered.Set("query", query)
		got, err := g.ask(t.Context(), "query_range", covered)
		require.NoError(t, err)
		require.Equal(t, "prometheus-k8s-0", g.replicaOf(t, covered), query)
		require.Empty(t, got.Warnings)
	}
}

// checkHot has a datasource checked that names no tiers, and returns the state of
// hot and from when on it would be asked.
func (g *runningGateway) checkHot(t *testing.T) (state string, from *time.Time) {
	t.Helper()
	const spec = `{"proxy":{"kind":"HTTPProxy","spec":{"url":"http://tierproxy:9190/proxy/globaldatasources/metrics"}}}`
	response, err := http.Post(g.url+"/api/v1/datasources/check", "application/json", strings.NewReader(spec))
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	var report struct {
		Data struct {
			Tiers map[string]struct {
				State         string     `json:"state"`
				CoverageStart *time.Time `json:"coverage_start"`
			} `json:"tiers"`
		} `json:"data"`
	}
	require.NoError(t, json.NewDecoder(response.Body).Decode(&report))
	return report.Data.Tiers["hot"].State, report.Data.Tiers["hot"].CoverageStart
}

// TestReplicas_LossCostsNoQuery kills a replica and restarts the others one after
// the other. No query fails, although there is no cold tier.
func TestReplicas_LossCostsNoQuery(t *testing.T) {
	p := newReplicaPair(t)
	g := p.startAll(t)
	load := g.load(t.Context(), 4)
	first, second := p.list[0], p.list[1]

	// It dies, and the cluster notices later.
	first.server.Kill()
	g.waitFor(t, eventually, "the gateway has noticed", func(health resolve.Health) bool { return !health.Tiers["hot"].Replicas[0].Available })
	apply(t, p.slice(first))
	require.NoError(t, p.start(t.Context(), first))
	apply(t, p.slice())
	g.waitFor(t, eventually, "it is back", p.allAvailable)
	load.round(t)

	// A rolling restart, as a StatefulSet does it: the next one goes when the one
	// before is ready.
	for _, each := range []*pod{second, first} {
		apply(t, p.slice(each))
		require.NoError(t, each.server.Stop())
		delete(p.at, each)
		apply(t, p.slice())
		require.NoError(t, p.start(t.Context(), each))
		apply(t, p.slice())
		g.waitFor(t, eventually, each.name+" is back", p.allAvailable)
		load.round(t)
	}
	asked, failed := load.stop()
	t.Logf("%d queries while a replica was killed and both were restarted", asked)
	require.Empty(t, failed)
	require.Greater(t, asked, int64(100))
}

// TestReplicas_BesideACold checks that the other replica answers what a replica has lost,
// and cold what both have. Cold alone answers when both are gone.
func TestReplicas_BesideACold(t *testing.T) {
	p := newReplicaPair(t)
	for _, each := range p.list {
		require.NoError(t, p.start(t.Context(), each))
	}
	p.expose(t, "http")
	data := filepath.Join(p.dir, "cold")
	now := time.Now().Truncate(minute)
	require.NoError(t, history.Generator{Interval: minute}.WriteBlocks(t.Context(), data, now.Add(-2*reach), now.Add(future)))
	cold, err := stack.Prometheus{Name: "cold", Dir: p.dir, Data: data, Retention: "60d"}.Start(t.Context(), shared.prometheusPath)
	require.NoError(t, err)
	t.Cleanup(cold.Kill)
	base, err := url.Parse(cold.URL)
	require.NoError(t, err)
	p.pods.route("cold.example:80", base.Host)
	g := newGateway(t, p.pods, func(settings *config.Config) {
		settings.Cold.URL = "http://cold.example"
		settings.Routing.Threshold = config.Duration(6 * time.Hour)
	})
	g.waitFor(t, eventually, "all tiers are available", func(health resolve.Health) bool {
		return p.allAvailable(health) && health.Tiers["cold"].Available && health.Completeness != ""
	})
	end := now.Add(-2 * minute)
	for _, each := range []struct {
		span         time.Duration
		tier, reason string
		replica      string
	}{
		{5 * minute, "hot", "below-threshold", ""},
		{35 * minute, "hot", "below-threshold", "prometheus-k8s-0"},
		{70 * minute, "hot,cold", "split", ""},
	} {
		for _, query := range panels(6) {
			parameters := panel.RangeQuery(query, end, each.span, minute)
			got, err := g.ask(t.Context(), "query_range", parameters)
			require.NoError(t, err)
			require.Equal(t, http.StatusOK, got.status, got.body)
			require.Equal(t, each.tier+" "+each.reason, got.tier+" "+got.reason, each.span)
			if each.replica != "" {
				require.Equal(t, each.replica, g.replicaOf(t, parameters))
			}
		}
	}
	for _, each := range p.list {
		each.server.Kill()
	}
	for _, query := range panels(6) {
		got, err := g.ask(t.Context(), "query_range", panel.RangeQuery(query, end, 5*minute, minute))
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, got.status, got.body)
		require.Equal(t, "cold", got.tier)
		// What the second replica holds may not have been learned before it went.
		require.Contains(t, []string{"hot-failed", "hot-unavailable", "not-in-hot"}, got.reason)
	}
}

// TestReplicas_MayBeLeftToTheCluster switches the addressing of replicas off: the
// gateway asks the Service.
func TestReplicas_MayBeLeftToTheCluster(t *testing.T) {
	p := newReplicaPair(t)
	require.NoError(t, p.start(t.Context(), p.list[0]))
	p.expose(t, "http")
	base, err := url.Parse(p.list[0].server.URL)
	require.NoError(t, err)
	p.pods.route("prometheus-k8s."+monitoring+".svc:9091", base.Host)
	g := newGateway(t, p.pods, func(settings *config.Config) { settings.Cold.URL, settings.Discovery.Replicas = "", false })
	g.waitFor(t, eventually, "hot is available", func(health resolve.Health) bool {
		return health.Tiers["hot"].Available && len(health.Tiers["hot"].Replicas) == 0 && health.Services["hot"].Endpoints == 1
	})
	got, err := g.ask(t.Context(), "query", url.Values{"query": {"vector(1)"}})
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, got.status, got.body)
}

// TestReplicas_ShardsAreRefused checks that Prometheus servers that hold different
// series are no replicas.
func TestReplicas_ShardsAreRefused(t *testing.T) {
	p := newReplicaPair(t)
	p.list[1].labels["cluster"] = "another"
	for _, each := range p.list {
		require.NoError(t, p.start(t.Context(), each))
	}
	p.expose(t, "http")
	g := newGateway(t, p.pods, func(settings *config.Config) { settings.Cold.URL = "" })
	want := `prometheus-k8s-0 and prometheus-k8s-1 behind the service are not replicas of one Prometheus: their external labels are {cluster="lab"} and {cluster="another"}`
	refused := func(health resolve.Health) bool {
		hot := health.Tiers["hot"]
		return !hot.Available && len(hot.Replicas) > 0 && hot.Replicas[0].Error == want
	}
	g.waitFor(t, eventually, "they are refused", refused)
	state, from := g.checkHot(t)
	require.Equal(t, "unusable", state)
	require.Nil(t, from)
	got, err := g.ask(t.Context(), "query", url.Values{"query": {"up"}})
	require.NoError(t, err)
	require.Equal(t, http.StatusBadGateway, got.status, got.body)
	require.Contains(t, got.body, "not replicas of one Prometheus")

	// One of them going away does not make the other one a whole.
	p.list[1].server.Kill()
	delete(p.at, p.list[1])
	apply(t, p.slice())
	g.waitFor(t, eventually, "one is left", func(health resolve.Health) bool { return len(health.Tiers["hot"].Replicas) == 1 })
	require.True(t, refused(g.Health()))
}

// TestReplicas_CertificatesNameTheService dials pods over TLS. Their certificates
// have to name the Service.
func TestReplicas_CertificatesNameTheService(t *testing.T) {
	const name = "prometheus-k8s." + monitoring + ".svc"
	authority, stranger := certificates.NewAuthority(t), certificates.NewAuthority(t)
	file := filepath.Join(t.TempDir(), "service-ca.crt")
	certificates.Replace(t, file, authority.PEM)
	tomorrow := time.Now().Add(time.Hour)
	for title, each := range map[string]struct {
		by     *certificates.Authority
		until  time.Time
		hosts  []string
		skip   bool
		usable bool
	}{
		"right":            {by: authority, until: tomorrow, hosts: []string{name}, usable: true},
		"wrong name":       {by: authority, until: tomorrow, hosts: []string{"prometheus-k8s.elsewhere.svc"}},
		"the pod's own IP": {by: authority, until: tomorrow, hosts: []string{"10.0.1.1", "127.0.0.1"}},
		"unknown CA":       {by: stranger, until: tomorrow, hosts: []string{name}},
		"expired":          {by: authority, until: time.Now().Add(-time.Minute), hosts: []string{name}},
		"not verified":     {by: stranger, until: time.Now().Add(-time.Minute), hosts: []string{"nobody"}, skip: true, usable: true},
	} {
		t.Run(title, func(t *testing.T) {
			p := newReplicaPair(t)
			p.list = p.list[:1]
			p.list[0].certificate, p.list[0].key = each.by.Issue(each.until, each.hosts...).Write(t, p.dir)
			require.NoError(t, p.start(t.Context(), p.list[0]))
			p.expose(t, "https")
			g := newGateway(t, p.pods, func(settings *config.Config) {
				settings.Cold.URL = ""
				settings.Hot.HTTPConfig = running.HTTPConfig(t, fmt.Sprintf("tls_config: {ca_file: %s, insecure_skip_verify: %t}", file, each.skip))
			})
			g.waitFor(t, eventually, "it has been probed", func(health resolve.Health) bool {
				hot := health.Tiers["hot"]
				return hot.Available == each.usable && len(hot.Replicas) == 1 && (each.usable || strings.Contains(hot.Error, "its TLS certificate was not accepted"))
			})
			got, err := g.ask(t.Context(), "query", url.Values{"query": {"vector(1)"}})
			require.NoError(t, err)
			require.Equal(t, each.usable, got.status == http.StatusOK, got.body)
			loud := false
			for _, entry := range g.log.AllEntries() {
				loud = loud || strings.Contains(entry.Message, "THE TLS CERTIFICATE OF hot IS NOT VERIFIED")
			}
			require.Equal(t, each.skip, loud)
		})
	}
}
