//go:build e2e

package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/discovery"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/history"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/panel"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// scrapeInterval is that of all clusters.
const scrapeInterval = 15 * time.Second

// cluster has a Prometheus of its own behind a Service of its own.
type cluster struct {
	name, namespace string
	server          *stack.Server
}

// fleet are clusters, and a cold tier that has the samples of all.
type fleet struct {
	pods  *network
	dir   string
	start time.Time
	cold  *stack.Server
	next  int // the last byte of the next address
}

// stockOf returns the series that the Prometheus of a cluster has, and those that cold has of it.
func stockOf(name string) (own, inCold []history.Series) {
	own, inCold = history.Stock(name+"-north", name+"-south"), history.Stock(name+"-north", name+"-south")
	for i, series := range inCold {
		inCold[i].Labels = labels.NewBuilder(series.Labels).Set("cluster", name).Labels()
	}
	return own, inCold
}

// newFleet starts a cold tier that has the samples of the named clusters.
func newFleet(t *testing.T, names ...string) *fleet {
	t.Helper()
	dir, err := os.MkdirTemp(shared.dir, "fleet-")
	require.NoError(t, err)
	f := &fleet{pods: &network{}, dir: dir, start: time.Now().Truncate(minute), next: 1}
	var all []history.Series
	for _, name := range names {
		_, inCold := stockOf(name)
		all = append(all, inCold...)
	}
	f.cold = f.prometheus(t, "cold", all, 2*reach, nil)
	base, err := url.Parse(f.cold.URL)
	require.NoError(t, err)
	f.pods.route("cold.example:80", base.Host)
	return f
}

// prometheus starts a Prometheus that has samples of some series since so long ago.
func (f *fleet) prometheus(t *testing.T, name string, series []history.Series, since time.Duration, externalLabels map[string]any) *stack.Server {
	t.Helper()
	f.next++
	name = fmt.Sprintf("%s-%d", name, f.next)
	data := filepath.Join(f.dir, name)
	require.NoError(t, history.Generator{Interval: scrapeInterval, Only: series}.WriteBlocks(t.Context(), data, f.start.Add(-since), f.start.Add(future)))
	server, err := stack.Prometheus{
		Name: name, Dir: f.dir, Data: data, Retention: "60d", ScrapeItself: true, Global: map[string]any{"external_labels": externalLabels},
	}.Start(t.Context(), shared.prometheusPath)
	require.NoError(t, err)
	t.Cleanup(server.Kill)
	return server
}

// add starts the Prometheus of a cluster and makes its Service.
func (f *fleet) add(t *testing.T, name, namespace string) *cluster {
	t.Helper()
	c := &cluster{name: name, namespace: namespace}
	apply(t, hotService(namespace, "prometheus-"+name, fmt.Sprintf(", selector: {cluster: %s}", name))+"---\n"+f.place(t, c))
	return c
}

// place starts a Prometheus of a cluster at an address that no pod had before, and returns the
// EndpointSlice that leads there.
func (f *fleet) place(t *testing.T, c *cluster) string {
	t.Helper()
	own, _ := stockOf(c.name)
	c.server = f.prometheus(t, c.name, own, reach, map[string]any{"cluster": c.name})
	base, err := url.Parse(c.server.URL)
	require.NoError(t, err)
	address := fmt.Sprintf("10.0.2.%d", f.next)
	f.pods.route(address+":9090", base.Host)
	return fmt.Sprintf(`
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {namespace: %[1]s, name: prometheus-%[2]s-abcde, labels: {kubernetes.io/service-name: prometheus-%[2]s}}
addressType: IPv4
ports: [{name: web, port: 9090}]
endpoints: [{addresses: [%[3]s], conditions: {ready: true}, targetRef: {kind: Pod, name: prometheus-%[2]s-0, namespace: %[1]s}}]
`, c.namespace, c.name, address)
}

// gateway starts a gateway that finds the clusters by a selector.
func (f *fleet) gateway(t *testing.T, probeInterval time.Duration) *runningGateway {
	t.Helper()
	file := filepath.Join(f.dir, "tierproxy.yaml")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, `
hot:
  - name: clusters
    service: {selector: tiered=hot, all_namespaces: true, port: web}
cold: {url: "http://cold.example"}
discovery: {kubeconfig: %s}
probe: {interval: %s}
`, shared.kubeconfig, probeInterval), 0o600))
	settings, err := config.Load(file)
	require.NoError(t, err)
	return newGateway(t, f.pods, func(c *config.Config) { *c = settings })
}

// pinned asks for the recent stock of one cluster, as a panel with $cluster does. It returns an
// error if the query fails, if the answer is not what the cluster has, or if hot answers it and does
// not name the cluster as the source.
func (g *runningGateway) pinned(ctx context.Context, cluster string) (answer, error) {
	end := time.Now().Truncate(scrapeInterval)
	const span = 10 * minute
	parameters := panel.RangeQuery(fmt.Sprintf(`stock{cluster=%q}`, cluster), end, span, scrapeInterval)
	got, err := g.ask(ctx, "query_range", parameters)
	if err != nil {
		return got, err
	}
	var data struct {
		Result []struct {
			Metric map[string]string `json:"metric"`
			Values [][2]any          `json:"values"`
		} `json:"result"`
	}
	if err := json.Unmarshal(got.Data, &data); got.status != http.StatusOK || err != nil || len(got.Warnings) > 0 {
		return got, fmt.Errorf("cluster %s: status %d, %w: %s", cluster, got.status, err, got.body)
	}
	if source := fmt.Sprintf("{cluster=%q}", cluster); got.tier == "hot" && got.source != source {
		return got, fmt.Errorf("cluster %s: answered by %s of hot", cluster, got.source)
	}
	_, wanted := stockOf(cluster)
	if len(data.Result) != len(wanted) {
		return got, fmt.Errorf("cluster %s: %s %s: %d series instead of %d: %.500s", cluster, got.tier, got.reason, len(data.Result), len(wanted), got.body)
	}
	for i, series := range data.Result {
		if labels.FromMap(series.Metric).String() != wanted[i].Labels.String() || len(series.Values) != int(span/scrapeInterval)+1 {
			return got, fmt.Errorf("cluster %s: %s %s: not all of %s: %.500s", cluster, got.tier, got.reason, wanted[i].Labels, got.body)
		}
		for j, point := range series.Values {
			at := end.Add(time.Duration(j)*scrapeInterval - span)
			if value := strconv.FormatFloat(wanted[i].Value(at.UnixMilli()), 'f', -1, 64); point[1] != value {
				return got, fmt.Errorf("cluster %s: %s %s: %v instead of %s at %s", cluster, got.tier, got.reason, point, value, at)
			}
		}
	}
	return got, nil
}

// waitForTier waits until a tier answers what is pinned to a cluster.
func (g *runningGateway) waitForTier(t *testing.T, cluster, tier string) {
	t.Helper()
	began := time.Now()
	for {
		got, err := g.pinned(t.Context(), cluster)
		require.NoError(t, err)
		if got.tier == tier {
			t.Logf("cluster %s: %s %s after %s", cluster, got.tier, got.reason, time.Since(began).Round(time.Millisecond))
			return
		}
		if time.Since(began) > 4*eventually {
			health, _ := json.MarshalIndent(g.Health(), "", " ")
			t.Fatalf("cluster %s: %s %s instead of %s; the health is %s", cluster, got.tier, got.reason, tier, health)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// pinnedLoad are users who ask for one cluster after the other, until they are stopped.
type pinnedLoad struct {
	cancel context.CancelFunc
	group  errgroup.Group
	mutex  sync.Mutex
	byTier map[string]int
}

// loadPinned starts a pinnedLoad.
func (g *runningGateway) loadPinned(ctx context.Context, clusters ...string) *pinnedLoad {
	l := &pinnedLoad{byTier: map[string]int{}}
	ctx, l.cancel = context.WithCancel(ctx)
	for user := range clusters {
		l.group.Go(func() error {
			for i := user; ctx.Err() == nil; i++ {
				name := clusters[i%len(clusters)]
				got, err := g.pinned(ctx, name)
				if err != nil && ctx.Err() == nil {
					return err
				}
				l.mutex.Lock()
				l.byTier[name+" "+got.tier]++
				l.mutex.Unlock()
			}
			return nil
		})
	}
	return l
}

// count returns how many queries for a cluster a tier has answered. what is as "a hot".
func (l *pinnedLoad) count(what string) int {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.byTier[what]
}

// round waits until tiers have answered more queries for clusters, each as "a hot".
func (l *pinnedLoad) round(t *testing.T, each ...string) {
	t.Helper()
	for _, what := range each {
		before := l.count(what)
		require.Eventually(t, func() bool { return l.count(what) > before }, eventually, time.Millisecond, what)
	}
}

// stop ends the load. It returns the number of queries by cluster and tier, and the first error.
func (l *pinnedLoad) stop() (map[string]int, error) {
	l.cancel()
	err := l.group.Wait()
	return l.byTier, err
}

// TestSources_ComeMoveAndGoUnderLoad finds the Prometheus of three clusters by one selector. Then one
// is added, one moves and one is removed, while dashboards ask for one cluster each. No query fails,
// every answer is right, and recent ones come from the cluster's own Prometheus where there is one.
func TestSources_ComeMoveAndGoUnderLoad(t *testing.T) {
	maySeeAllServices(t, "tierproxy")
	names := []string{"a", "b", "c", "d"}
	f := newFleet(t, names...)
	f.add(t, "a", "monitoring")
	b, c := f.add(t, "b", "shop"), f.add(t, "c", "shop")
	g := f.gateway(t, 500*time.Millisecond)
	for _, name := range []string{"a", "b", "c"} {
		g.waitForTier(t, name, "hot")
	}
	g.waitForTier(t, "d", "cold")

	load := g.loadPinned(t.Context(), names...)
	load.round(t, "c hot", "d cold")
	f.add(t, "d", "perses")
	g.waitForTier(t, "d", "hot")
	load.round(t, "d hot")

	before := b.server
	require.NoError(t, shared.apply(t.Context(), parse(f.place(t, b))[0]))
	before.Kill()
	g.waitForTier(t, "b", "hot")
	load.round(t, "b hot")

	remove(t, parse(hotService(c.namespace, "prometheus-c", ""))[0])
	c.server.Kill()
	g.waitForTier(t, "c", "cold")
	load.round(t, "a hot", "c cold")
	for _, name := range []string{"a", "b", "d"} {
		g.waitForTier(t, name, "hot")
	}
	byTier, err := load.stop()
	require.NoError(t, err)
	t.Logf("queries by cluster and tier: %v", byTier)
	// A probe may be late on a busy machine.
	require.Less(t, 20*byTier["a cold"], byTier["a hot"], "what happens to other clusters does not concern it")
}

// TestSources_BesideManyThatAreDown finds as many Services as one selector may find. All but one lead
// nowhere.
func TestSources_BesideManyThatAreDown(t *testing.T) {
	maySeeAllServices(t, "tierproxy")
	f := newFleet(t, "a", "b")
	f.add(t, "a", "monitoring")
	applyClusters(t, discovery.MaxFound-1)
	g := f.gateway(t, 15*time.Second)
	g.waitForTier(t, "a", "hot")
	g.waitForTier(t, "b", "cold")
	require.Eventually(t, func() bool {
		looked := map[any]bool{}
		for _, entry := range g.log.AllEntries() {
			if service := entry.Data["service"]; service != nil && entry.Data["state"] == string(discovery.StateFound) {
				looked[service] = true
			}
		}
		return len(looked) > discovery.MaxFound // The selector is one more.
	}, 4*eventually, 100*time.Millisecond)
	answered := map[string]int{}
	for range 100 {
		got, err := g.pinned(t.Context(), "a")
		require.NoError(t, err)
		answered[got.tier+" "+got.reason]++
	}
	require.Less(t, 90, answered["hot below-threshold"], answered) // A probe may be late on a busy machine.
}
