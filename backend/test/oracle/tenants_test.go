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

// TestTenants_ShareARedis asks the same for two tenants, whose data differ in their
// values only, through two replicas of the gateway with one Redis. Meanwhile the
// Redis mixes up its entries, is killed and comes back, and the Thanos of one tenant
// loses its store.
func TestTenants_ShareARedis(t *testing.T) {
	const rounds = 10
	tenants := []string{"a", "b"}
	w := shopWorld(t)
	persesPath, err := stack.Tool(t.Context(), os.Stderr, "perses")
	require.NoError(t, err)
	archive, err := stack.Script(t.Context(), os.Stderr, "scripts/plugin")
	require.NoError(t, err)
	from, to := w.now.Add(-400*hour), w.now.Add(future)
	oracles, hots, colds := map[string]string{}, map[string]*stack.Server{}, map[string]*stack.ThanosServers{}
	for _, tenant := range tenants {
		keep := map[string]func(string) bool{"b": func(string) bool { return true }}[tenant] // Other values with the same labels.
		series := w.shop("", keep)
		w.write(t, "whole-"+tenant, series, from, to, labelsInCold)
		w.write(t, "hot-"+tenant, series, w.boundary, to, nil)
		w.write(t, "cold-"+tenant, series, from, to, nil)
		oracles[tenant] = w.prometheus(t, "whole-"+tenant, "whole-"+tenant, nil).URL
		hots[tenant] = w.prometheus(t, "hot-"+tenant, "hot-"+tenant, hotLabels)
		colds[tenant] = w.thanos(t, "thanos-"+tenant, map[string][]string{"cold-" + tenant: pairs(hotLabels)})
	}
	cold := byTenant(t, map[string]string{"a": colds["a"].Query.URL, "b": colds["b"].Query.URL})
	directory := filepath.Join(w.dir, "perses")
	require.NoError(t, os.Mkdir(directory, 0o700))
	perses, err := stack.Perses{Dir: directory, Archives: []string{filepath.Dir(archive[len(archive)-1])}}.Start(t.Context(), persesPath)
	require.NoError(t, err)
	t.Cleanup(func() { _ = perses.Stop() })
	for _, tenant := range tenants {
		save(t, perses.URL, tenant, document{
			"threshold": "10m", "strategy": "split", "cache": true, "hot": document{"url": hots[tenant].URL}, "cold": document{"url": cold},
			"proxy": document{"kind": "HTTPProxy", "spec": document{
				"url": "http://127.0.0.1:1/proxy/globaldatasources/" + tenant, "headers": document{tenantHeader: tenant},
			}},
		})
	}
	kept := redistest.Start(t, "")
	gateways := make([]*runningGateway, 2)
	for i := range gateways {
		gateways[i] = w.gateway(t, "", "", func(settings *config.Config) {
			settings.Perses.URL, settings.Cache.Redis.Address = perses.URL, kept.Address
			for _, tenant := range tenants {
				settings.Destinations = append(settings.Destinations, config.DestinationConfig{Host: "127.0.0.1", Port: portOf(t, hots[tenant]), Tenant: tenant})
			}
			settings.Destinations = append(settings.Destinations, config.DestinationConfig{Host: "127.0.0.1"})
		})
	}
	at := func(replica int, tenant string) string {
		return gateways[replica].URL + "/proxy/globaldatasources/" + tenant
	}
	r := &repetition{world: w, random: rand.New(rand.NewSource(seed(t))), seen: &tally{}}
	r.first = append(w.ranges(seed(t)+21, max(count(t)*30/100/rounds/len(tenants), 8), hour, []time.Time{w.boundary, w.now}, nil, ofDashboards), w.frozen()...)
	repeat := func(replica int, how round) {
		t.Helper()
		for _, tenant := range tenants {
			waitForProbes(t, at(replica, tenant), 2)
			named := how
			named.what = tenant + ": " + how.what
			r.ask(t, at(replica, tenant), oracles[tenant], named)
		}
	}
	// settled waits until every replica knows its tiers, and Thanos its store.
	settled := func() {
		t.Helper()
		for _, tenant := range tenants {
			require.Eventually(t, func() bool {
				got, err := ask(t.Context(), colds[tenant].Query.URL, question{endpoint: "query", values: url.Values{"query": {"up"}, "time": {seconds(w.now.Add(-hour))}}})
				return err == nil && len(got.warnings) == 0
			}, time.Minute, 50*time.Millisecond, "Thanos has its store")
			for replica := range gateways {
				require.Eventually(t, func() bool {
					health := healthAt(t, at(replica, tenant))
					return health.Status == datasource.StatusHealthy && health.Completeness == "learned"
				}, time.Minute, 50*time.Millisecond, "replica %d knows the tiers of %s", replica, tenant)
			}
		}
	}
	settled()
	repeat(0, round{what: "for the first time"})
	repeat(1, round{what: "the other replica", again: true})
	mixUp(t, kept)
	repeat(0, round{what: "Redis has mixed up its entries"})
	repeat(0, round{what: "the same again", again: true})
	kept.Kill()
	alive := cacheFailures(t, gateways)
	repeat(1, round{what: "Redis is dead", again: true, uncached: true})
	kept = redistest.Start(t, kept.Address)
	repeat(0, round{what: "Redis is back, empty"})
	dead := cacheFailures(t, gateways) - alive
	repeat(1, round{what: "the same again", again: true})
	require.NoError(t, colds["a"].Store.Stop())
	repeat(0, round{what: "a store is gone", excused: true})
	require.NoError(t, colds["a"].RestartStore(t.Context(), w.thanosPath))
	settled()
	repeat(1, round{what: "the store is back", again: true})
	repeat(0, round{what: "the same again", again: true})
	r.tooSlow = cacheFailures(t, gateways) - dead // On a busy machine Redis takes longer than its 5 ms at times.
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
func cacheFailures(t *testing.T, gateways []*runningGateway) int {
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
