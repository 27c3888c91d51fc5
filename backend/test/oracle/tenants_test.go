//go:build e2e

package oracle

import (
	"bytes"
	"encoding/json"
	"io"
	"math/rand"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/redistest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

type document = map[string]any

// tenants are those of the tests with a Redis.
var tenants = []string{"a", "b"}

// tenantWorld has for each tenant an oracle, a hot and a cold tier, whose data differ
// in their values only. Perses has a datasource for each tenant. Two gateways share a
// Redis.
type tenantWorld struct {
	*world
	oracles  map[string]string
	hots     map[string]*stack.Server
	colds    map[string]*stack.ThanosServers
	perses   string
	gateways [2]*runningGateway
}

func newTenantWorld(t *testing.T) *tenantWorld {
	t.Helper()
	w := &tenantWorld{world: shopWorld(t), oracles: map[string]string{}, hots: map[string]*stack.Server{}, colds: map[string]*stack.ThanosServers{}}
	persesPath, err := stack.Tool(t.Context(), os.Stderr, "perses")
	require.NoError(t, err)
	archive, err := stack.Script(t.Context(), os.Stderr, "scripts/plugin")
	require.NoError(t, err)
	from, to := w.now.Add(-400*hour), w.now.Add(future)
	for _, tenant := range tenants {
		keep := map[string]func(string) bool{"b": func(string) bool { return true }}[tenant] // Other values with the same labels.
		series := w.shop("", keep)
		w.write(t, "whole-"+tenant, series, from, to, labelsInCold)
		w.write(t, "hot-"+tenant, series, w.boundary, to, nil)
		w.write(t, "cold-"+tenant, series, from, to, nil)
		w.oracles[tenant] = w.prometheus(t, "whole-"+tenant, "whole-"+tenant, nil).URL
		w.hots[tenant] = w.prometheus(t, "hot-"+tenant, "hot-"+tenant, hotLabels)
		w.colds[tenant] = w.thanos(t, "thanos-"+tenant, map[string][]string{"cold-" + tenant: pairs(hotLabels)})
	}
	cold := byTenant(t, map[string]string{"a": w.colds["a"].Query.URL, "b": w.colds["b"].Query.URL})
	directory := filepath.Join(w.dir, "perses")
	require.NoError(t, os.Mkdir(directory, 0o700))
	perses, err := stack.Perses{Dir: directory, Archives: []string{filepath.Dir(archive[len(archive)-1])}}.Start(t.Context(), persesPath)
	require.NoError(t, err)
	t.Cleanup(func() { _ = perses.Stop() })
	for _, tenant := range tenants {
		save(t, perses.URL, tenant, document{
			"threshold": "10m", "hot": document{"url": w.hots[tenant].URL}, "cold": document{"url": cold},
			"proxy": document{"kind": "HTTPProxy", "spec": document{
				"url": "http://127.0.0.1:1/proxy/globaldatasources/" + tenant, "headers": document{tenantHeader: tenant},
			}},
		})
	}
	w.perses = perses.URL
	return w
}

// startGateways starts the two gateways, with the Redis at that address.
func (w *tenantWorld) startGateways(t *testing.T, redis string) {
	t.Helper()
	for i := range w.gateways {
		w.gateways[i] = w.gateway(t, "", "", func(settings *config.Config) {
			settings.Perses.URL, settings.Cache.Redis.Address = w.perses, redis
			for _, tenant := range tenants {
				settings.Destinations = append(settings.Destinations, config.DestinationConfig{Host: "127.0.0.1", Port: portOf(t, w.hots[tenant]), Tenant: tenant})
			}
			settings.Destinations = append(settings.Destinations, config.DestinationConfig{Host: "127.0.0.1"})
		})
	}
}

// at returns the URL of a tenant's datasource at one of the gateways.
func (w *tenantWorld) at(replica int, tenant string) string {
	return w.gateways[replica].URL + "/proxy/globaldatasources/" + tenant
}

// settle waits until every gateway knows its tiers, and each Thanos its store.
func (w *tenantWorld) settle(t *testing.T) {
	t.Helper()
	for _, tenant := range tenants {
		require.Eventually(t, func() bool {
			got, err := ask(t.Context(), w.colds[tenant].Query.URL, question{endpoint: "query", values: url.Values{"query": {"up"}, "time": {seconds(w.now.Add(-hour))}}})
			return err == nil && len(got.warnings) == 0
		}, time.Minute, 50*time.Millisecond, "Thanos has its store")
		for replica := range w.gateways {
			require.Eventually(t, func() bool {
				health := healthAt(t, w.at(replica, tenant))
				return health.Status == datasource.StatusHealthy && health.Completeness == "learned"
			}, time.Minute, 50*time.Millisecond, "replica %d knows the tiers of %s", replica, tenant)
		}
	}
}

// TestTenants_ShareARedis asks the same for two tenants, whose data differ in their
// values only, through two replicas of the gateway with one Redis. Meanwhile the
// Redis mixes up its entries, is killed and comes back, and the Thanos of one tenant
// loses its store.
func TestTenants_ShareARedis(t *testing.T) {
	t.Parallel() // It waits most of the time.
	const rounds = 10
	w := newTenantWorld(t)
	kept := redistest.Start(t, "")
	w.startGateways(t, kept.Address)
	r := &repetition{world: w.world, random: rand.New(rand.NewSource(seed(t))), seen: &tally{}}
	r.first = append(w.ranges(seed(t)+21, max(count(t)*30/100/rounds/len(tenants), 8), hour, []time.Time{w.boundary, w.now}, nil, ofDashboards), w.frozen()...)
	repeat := func(replica int, how round) {
		t.Helper()
		for _, tenant := range tenants {
			waitForProbes(t, w.at(replica, tenant), 2)
			named := how
			named.what = tenant + ": " + how.what
			r.ask(t, w.at(replica, tenant), w.oracles[tenant], named)
		}
	}
	w.settle(t)
	repeat(0, round{what: "for the first time"})
	repeat(1, round{what: "the other replica", again: true})
	mixUp(t, kept)
	repeat(0, round{what: "Redis has mixed up its entries"})
	repeat(0, round{what: "the same again", again: true})
	kept.Kill()
	alive := cacheFailures(t, w.gateways)
	repeat(1, round{what: "Redis is dead", again: true, uncached: true})
	redistest.Start(t, kept.Address)
	repeat(0, round{what: "Redis is back, empty"})
	dead := cacheFailures(t, w.gateways) - alive
	repeat(1, round{what: "the same again", again: true})
	require.NoError(t, w.colds["a"].Store.Stop())
	repeat(0, round{what: "a store is gone", excused: true})
	require.NoError(t, w.colds["a"].RestartStore(t.Context(), w.thanosPath))
	w.settle(t)
	repeat(1, round{what: "the store is back", again: true})
	repeat(0, round{what: "the same again", again: true})
	r.tooSlow = cacheFailures(t, w.gateways) - dead // On a busy machine Redis takes longer than its 5 ms at times.
	r.end(t)
}

// tenantHeader names the tenant of a request.
const tenantHeader = "X-Scope-Orgid"

// byTenant stands in front of one server for each tenant, as a store of several
// tenants would.
func byTenant(t *testing.T, servers map[string]string) string {
	t.Helper()
	proxies := map[string]http.Handler{}
	for tenant, base := range servers {
		target, err := url.Parse(base)
		require.NoError(t, err)
		proxies[tenant] = httputil.NewSingleHostReverseProxy(target)
	}
	server := httptest.NewServer(http.HandlerFunc(func(response http.ResponseWriter, request *http.Request) {
		proxy := proxies[request.Header.Get(tenantHeader)]
		if proxy == nil {
			http.Error(response, "no such tenant", http.StatusForbidden)
			return
		}
		proxy.ServeHTTP(response, request)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// save saves a global datasource in Perses.
func save(t *testing.T, perses, name string, spec document) {
	t.Helper()
	text, err := json.Marshal(document{
		"kind": "GlobalDatasource", "metadata": document{"name": name},
		"spec": document{"plugin": document{"kind": "TieredPrometheusDatasource", "spec": spec}},
	})
	require.NoError(t, err)
	response, err := http.Post(perses+"/api/v1/globaldatasources", "application/json", bytes.NewReader(text))
	require.NoError(t, err)
	answer, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusOK, response.StatusCode, "%s", answer)
}

// mixUp puts each entry where another one was.
func mixUp(t *testing.T, server *redistest.Server) {
	t.Helper()
	keys, err := server.Client.Keys(t.Context(), "*").Result()
	require.NoError(t, err)
	require.Greater(t, len(keys), 1, "entries are kept")
	values, err := server.Client.MGet(t.Context(), keys...).Result()
	require.NoError(t, err)
	for i, key := range keys {
		require.NoError(t, server.Client.Set(t.Context(), key, values[(i+1)%len(values)], 0).Err())
	}
}

// cacheFailures is how often Redis could not be asked, by what the gateways count.
func cacheFailures(t *testing.T, gateways [2]*runningGateway) int {
	t.Helper()
	total := 0
	for _, each := range gateways {
		_, body, err := stack.Get(t.Context(), each.URL+"/metrics", nil)
		require.NoError(t, err)
		_, value, found := strings.Cut(string(body), "\ntierproxy_cache_failures_total ")
		require.True(t, found)
		value, _, _ = strings.Cut(value, "\n")
		failures, err := strconv.Atoi(value)
		require.NoError(t, err)
		total += failures
	}
	return total
}
