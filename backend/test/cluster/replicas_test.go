//go:build e2e

package cluster

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/history"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

const (
	minute = time.Minute
	// reach is how far back the replicas hold samples, and future how far the
	// samples that are written beforehand reach beyond the start of a test.
	reach, future = 4 * time.Hour, 2 * time.Hour
)

// pod is a Prometheus that stands for a pod.
type pod struct {
	name    string
	data    string
	labels  map[string]any
	server  *stack.Server
	started int // how often

	certificate, key string // with which it speaks TLS, or empty
	more             []string
}

// pair are the replicas of one Prometheus behind the Service prometheus-k8s.
type pair struct {
	pods *network
	list []*pod
	dir  string
	next int // the last byte of the next address
	at   map[*pod]string
}

// newPair makes replicas with the samples of a history, each with a gap that
// the other has not: the first one from 60 to 50 minutes ago, the second one
// from 40 to 30.
func newPair(t *testing.T) *pair {
	t.Helper()
	dir, err := os.MkdirTemp(shared.dir, "pair-")
	require.NoError(t, err)
	p := &pair{pods: &network{}, dir: dir, next: 1, at: map[*pod]string{}}
	now := time.Now().Truncate(minute)
	generator := history.Generator{Interval: minute}
	for i, gap := range []time.Duration{60 * minute, 40 * minute} {
		name := fmt.Sprintf("prometheus-k8s-%d", i)
		one := &pod{name: name, data: filepath.Join(dir, name), labels: map[string]any{"cluster": "lab", "prometheus_replica": name}}
		require.NoError(t, generator.WriteBlocks(t.Context(), one.data, now.Add(-reach), now.Add(-gap)))
		require.NoError(t, generator.WriteBlocks(t.Context(), one.data, now.Add(-gap).Add(10*minute), now.Add(future)))
		p.list = append(p.list, one)
	}
	t.Cleanup(func() {
		for _, each := range p.list {
			if each.server != nil {
				each.server.Kill()
			}
		}
	})
	return p
}

// start starts a pod at an address that no pod had before.
func (p *pair) start(ctx context.Context, one *pod) error {
	one.started++
	server, err := stack.Prometheus{
		Name: fmt.Sprintf("%s-%d", one.name, one.started), Dir: p.dir, Data: one.data, Retention: "60d", ScrapeItself: true,
		Global: map[string]any{"external_labels": one.labels}, Arguments: one.more,
		Certificate: one.certificate, Key: one.key,
		ReadyClient: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}},
	}.Start(ctx, shared.prometheusPath)
	if err != nil {
		return err
	}
	one.server = server
	address := fmt.Sprintf("10.0.1.%d", p.next)
	p.next++
	p.at[one] = address
	base, err := url.Parse(server.URL)
	if err != nil {
		return err
	}
	p.pods.route(address+":9090", base.Host)
	return nil
}

// slice is the EndpointSlice of the Service; without those pods that are not
// started, and with those not ready that are named.
func (p *pair) slice(notReady ...*pod) string {
	var pods []string
	for _, each := range p.list {
		address, found := p.at[each]
		if !found {
			continue
		}
		text := each.name + "=" + address
		for _, other := range notReady {
			if other == each {
				text += "!"
			}
		}
		pods = append(pods, text)
	}
	return slice("prometheus-k8s", 9090, pods...)
}

// expose makes the Service and its slice.
func (p *pair) expose(t *testing.T, appProtocol string) {
	t.Helper()
	apply(t, fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {namespace: %s, name: prometheus-k8s}
spec: {selector: {app: prometheus}, ports: [{name: web, port: 9091, targetPort: web, appProtocol: %s}]}
---
%s`, monitoring, appProtocol, p.slice()))
}

// startAll starts all pods, and a gateway without a cold tier that knows them.
func (p *pair) startAll(t *testing.T) *gateway {
	t.Helper()
	for _, each := range p.list {
		require.NoError(t, p.start(t.Context(), each))
	}
	p.expose(t, "http")
	g := newGateway(t, p.pods, func(config *datasource.Config) { config.Cold.URL = "" })
	g.waitFor(t, eventually, "all replicas are available", p.allAvailable)
	return g
}

func (p *pair) allAvailable(health datasource.Health) bool {
	replicas := health.Tiers["hot"].Replicas
	for _, each := range replicas {
		if !each.Available {
			return false
		}
	}
	return len(replicas) == len(p.list)
}

// panels are queries that a dashboard refreshes.
func panels(count int) []string {
	var list []string
	for i := range count {
		list = append(list, fmt.Sprintf(`sum by (job) (rate(http_requests_total[%dm]))`, 4+i))
	}
	return list
}

// A panel gets the answer of one replica, however often it is refreshed.
func TestAPanelGetsOneAnswer(t *testing.T) {
	p := newPair(t)
	g := p.startAll(t)
	end := time.Now().Truncate(minute).Add(-2 * minute)
	long := rangeQuery(`sum by (job) (increase(http_requests_total[5m]))`, end.Add(-70*minute), end, minute)

	// Otherwise the test would show nothing.
	direct := func(one *pod) string {
		got, err := (&gateway{url: one.server.URL}).ask(t.Context(), "query_range", long)
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
		recent := rangeQuery(query, end.Add(-2*minute), end, minute)
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
	covered := rangeQuery(`sum by (job) (rate(http_requests_total[4m]))`, end.Add(-35*minute), end, minute)
	for _, query := range panels(8) {
		covered.Set("query", query)
		got, err := g.ask(t.Context(), "query_range", covered)
		require.NoError(t, err)
		require.Equal(t, "prometheus-k8s-0", g.replicaOf(t, covered), query)
		require.Empty(t, got.Warnings)
	}
}

// replicaOf asks the gateway which replica it would ask.
func (g *gateway) replicaOf(t *testing.T, parameters url.Values) string {
	t.Helper()
	got, err := g.ask(t.Context(), "datasources/explain", parameters)
	require.NoError(t, err)
	_, after, found := strings.Cut(got.body, `"replica":"`)
	require.True(t, found, got.body)
	name, _, _ := strings.Cut(after, `"`)
	return name
}

// load refreshes panels until stop is called, which returns how many queries
// were asked, and those that failed.
func (g *gateway) load(ctx context.Context, users int) (stop func() (int, []string)) {
	ctx, cancel := context.WithCancel(ctx)
	var (
		group  errgroup.Group
		asked  atomic.Int64
		failed = make(chan string, 10_000)
	)
	queries := panels(20)
	for user := range users {
		group.Go(func() error {
			for i := user; ctx.Err() == nil; i++ {
				end := time.Now()
				got, err := g.ask(ctx, "query_range", rangeQuery(queries[i%len(queries)], end.Add(-10*minute), end, 15*time.Second))
				switch {
				case ctx.Err() != nil:
				case err != nil:
					failed <- err.Error()
				case got.status != http.StatusOK:
					failed <- fmt.Sprintf("status %d: %s", got.status, got.body)
				default:
					asked.Add(1)
				}
			}
			return nil
		})
	}
	return func() (int, []string) {
		cancel()
		_ = group.Wait()
		close(failed)
		var list []string
		for each := range failed {
			list = append(list, each)
		}
		return int(asked.Load()), list
	}
}

// A replica that dies, and replicas that are restarted one after the other,
// cost no query, although there is no cold tier.
func TestAReplicaThatGoesCostsNoQuery(t *testing.T) {
	p := newPair(t)
	g := p.startAll(t)
	stop := g.load(t.Context(), 4)
	first, second := p.list[0], p.list[1]

	// It dies, and the cluster notices later.
	first.server.Kill()
	g.waitFor(t, eventually, "the gateway has noticed", func(health datasource.Health) bool { return !health.Tiers["hot"].Replicas[0].Available })
	apply(t, p.slice(first))
	require.NoError(t, p.start(t.Context(), first))
	apply(t, p.slice())
	g.waitFor(t, eventually, "it is back", p.allAvailable)

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
	}
	asked, failed := stop()
	t.Logf("%d queries while a replica was killed and both were restarted", asked)
	require.Empty(t, failed)
	require.Greater(t, asked, 100)
}

// With a cold tier, what a replica has lost is answered by the other one, or by
// cold; and by cold alone when both are gone.
func TestReplicasBesideACold(t *testing.T) {
	p := newPair(t)
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
	g := newGateway(t, p.pods, func(config *datasource.Config) {
		config.Cold.URL = "http://cold.example"
		config.Routing.Threshold = datasource.Duration(6 * time.Hour)
	})
	g.waitFor(t, eventually, "all tiers are available", func(health datasource.Health) bool {
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
		{70 * minute, "cold", "older-than-hot", ""},
	} {
		for _, query := range panels(6) {
			parameters := rangeQuery(query, end.Add(-each.span), end, minute)
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
		got, err := g.ask(t.Context(), "query_range", rangeQuery(query, end.Add(-5*minute), end, minute))
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, got.status, got.body)
		require.Equal(t, "cold", got.tier)
		require.Contains(t, []string{"hot-failed", "hot-unavailable"}, got.reason)
	}
}

// With the addressing of replicas off, the Service is asked as a whole.
func TestReplicasMayBeLeftToTheCluster(t *testing.T) {
	p := newPair(t)
	require.NoError(t, p.start(t.Context(), p.list[0]))
	p.expose(t, "http")
	base, err := url.Parse(p.list[0].server.URL)
	require.NoError(t, err)
	p.pods.route("prometheus-k8s."+monitoring+".svc:9091", base.Host)
	g := newGateway(t, p.pods, func(config *datasource.Config) { config.Cold.URL, config.Discovery.Replicas = "", false })
	g.waitFor(t, eventually, "hot is available", func(health datasource.Health) bool {
		return health.Tiers["hot"].Available && len(health.Tiers["hot"].Replicas) == 0 && health.Services["hot"].Endpoints == 1
	})
	got, err := g.ask(t.Context(), "query", url.Values{"query": {"vector(1)"}})
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, got.status, got.body)
}

// Prometheus servers behind one Service that hold different series are not taken
// for replicas.
func TestShardsAreRefused(t *testing.T) {
	p := newPair(t)
	p.list[1].labels["cluster"] = "another"
	for _, each := range p.list {
		require.NoError(t, p.start(t.Context(), each))
	}
	p.expose(t, "http")
	g := newGateway(t, p.pods, func(config *datasource.Config) { config.Cold.URL = "" })
	want := `prometheus-k8s-0 and prometheus-k8s-1 behind the service are no replicas of one Prometheus: their external labels are {cluster="lab"} and {cluster="another"}`
	refused := func(health datasource.Health) bool {
		hot := health.Tiers["hot"]
		return !hot.Available && len(hot.Replicas) > 0 && hot.Replicas[0].Error == want
	}
	g.waitFor(t, eventually, "they are refused", refused)
	got, err := g.ask(t.Context(), "query", url.Values{"query": {"up"}})
	require.NoError(t, err)
	require.Equal(t, http.StatusBadGateway, got.status, got.body)
	require.Contains(t, got.body, "no replicas of one Prometheus")

	// One of them going away does not make the other one a whole.
	p.list[1].server.Kill()
	delete(p.at, p.list[1])
	apply(t, p.slice())
	g.waitFor(t, eventually, "one is left", func(health datasource.Health) bool { return len(health.Tiers["hot"].Replicas) == 1 })
	require.True(t, refused(g.Health()))
}

// The certificate of a pod is held to the name of the Service, though it is the
// pod that is dialled.
func TestTLSTowardsPods(t *testing.T) {
	const name = "prometheus-k8s." + monitoring + ".svc"
	dir, err := os.MkdirTemp(shared.dir, "tls-")
	require.NoError(t, err)
	authority, err := stack.NewAuthority(dir, "service-ca")
	require.NoError(t, err)
	stranger, err := stack.NewAuthority(dir, "stranger")
	require.NoError(t, err)
	tomorrow := time.Now().Add(time.Hour)
	for title, each := range map[string]struct {
		by     *stack.Authority
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
			p := newPair(t)
			p.list = p.list[:1]
			p.list[0].certificate, p.list[0].key, err = each.by.Issue(strings.ReplaceAll(title, " ", "-"), each.until, each.hosts...)
			require.NoError(t, err)
			require.NoError(t, p.start(t.Context(), p.list[0]))
			p.expose(t, "https")
			g := newGateway(t, p.pods, func(config *datasource.Config) {
				config.Cold.URL = ""
				config.Hot.TLS = datasource.TLSConfig{CAFile: authority.File, InsecureSkipVerify: each.skip}
			})
			g.waitFor(t, eventually, "it has been probed", func(health datasource.Health) bool {
				hot := health.Tiers["hot"]
				return hot.Available == each.usable && len(hot.Replicas) == 1 && (each.usable || strings.Contains(hot.Error, "its TLS certificate was not accepted"))
			})
			got, err := g.ask(t.Context(), "query", url.Values{"query": {"vector(1)"}})
			require.NoError(t, err)
			require.Equal(t, each.usable, got.status == http.StatusOK, got.body)
			loud := false
			for _, entry := range g.log.AllEntries() {
				loud = loud || strings.Contains(entry.Message, "THE TLS CERTIFICATE OF THE hot TIER IS NOT VERIFIED")
			}
			require.Equal(t, each.skip, loud)
		})
	}
}
