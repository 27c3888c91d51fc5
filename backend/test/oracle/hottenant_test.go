//go:build e2e

package oracle

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/fakeperses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/redistest"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/running"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// tenantLabel is the label by which a Thanos tells tenants apart.
const tenantLabel = "tenant_id"

// The datasources of a tenancyWorld. The first two are named for the tenant in their header.
const (
	tenantA        = "a"
	tenantB        = "b"
	withoutATenant = "without-a-tenant" // tenant a, where cold has a default
	tenantBOwn     = "b-with-its-hot"   // tenant b, with a hot tier of its own
)

// tenancyWorld has two tenants whose metrics have the same names and labels, and other values.
// Another cluster of tenant b has some of the metrics too. Hot holds tenant a, and cold holds both.
type tenancyWorld struct {
	*world
	hot, hotOfB *stack.Server
	cold        string            // of all tenants
	coldOfA     string            // the same for tenant a, without a header
	oracles     map[string]string // by datasource
}

// newTenancyWorld writes what all kinds of cold tiers hold.
func newTenancyWorld(t *testing.T) *tenancyWorld {
	t.Helper()
	w := &tenancyWorld{world: shopWorld(t), oracles: map[string]string{}}
	w.series, w.others = w.shop("", nil), w.shop("", func(name string) bool { return slices.Contains(shared, name) })
	ofB, from, to := w.shop("", func(name string) bool { return name != "node_load1" }), w.now.Add(-400*hour), w.now.Add(future)
	w.write(t, "hot", w.series, w.boundary, to, nil)
	w.write(t, "hot-b", ofB, w.boundary, to, nil)
	w.write(t, "cold-a", w.series, from, to, nil)
	w.write(t, "cold-b", ofB, from, to, nil)
	w.write(t, "others-b", w.others, from, to, nil)
	for name, labelled := range map[string]map[string]string{"": {}, "-with-label": {tenantLabel: ""}} {
		labelsOf := func(labels map[string]string, tenant string) map[string]string {
			made := maps.Clone(labels)
			for label := range labelled {
				made[label] = tenant
			}
			return made
		}
		w.write(t, "whole-a"+name, w.series, from, to, labelsOf(labelsInCold, tenantA))
		w.write(t, "whole-b"+name, ofB, from, to, labelsOf(labelsInCold, tenantB))
		w.write(t, "whole-b"+name, w.others, from, to, labelsOf(otherLabels, tenantB))
	}
	return w
}

// startPrometheuses starts a Prometheus for each tenant as cold, which are told apart by the header.
// Without a header, cold answers nothing.
func (w *tenancyWorld) startPrometheuses(t *testing.T) {
	t.Helper()
	for _, tenant := range []string{tenantA, tenantB} {
		w.oracles[tenant] = w.prometheus(t, "whole-"+tenant, "whole-"+tenant, nil).URL
	}
	w.cold, w.coldOfA = byTenant(t, maps.Clone(w.oracles)), w.oracles[tenantA]
	w.oracles[withoutATenant], w.oracles[tenantBOwn] = w.oracles[tenantA], w.oracles[tenantB]
	w.hot, w.hotOfB = w.prometheus(t, "hot", "hot", hotLabels), w.prometheus(t, "hot-b", "hot-b", hotLabels)
}

// startThanos starts a Thanos that enforces tenants as cold. Without a header, it takes tenant a.
// more are external labels of hot.
func (w *tenancyWorld) startThanos(t *testing.T, hotsTenant bool) {
	t.Helper()
	cold := w.thanos(t, fmt.Sprintf("thanos-%t", hotsTenant), map[string][]string{
		"cold-a": pairs(hotLabels, tenantLabel, tenantA), "cold-b": pairs(hotLabels, tenantLabel, tenantB), "others-b": pairs(otherLabels, tenantLabel, tenantB),
	}, "--query.enforce-tenancy", "--query.tenant-header="+tenantHeader, "--query.tenant-label-name="+tenantLabel, "--query.default-tenant-id="+tenantA,
		// Where cold is alone, its defaults are what is meant.
		"--query.default-evaluation-interval=30s", "--query.lookback-delta=5m")
	w.cold, w.coldOfA = cold.Query.URL, cold.Query.URL
	for _, tenant := range []string{tenantA, tenantB} {
		w.oracles[tenant] = w.prometheus(t, "whole-with-label-"+tenant, "whole-"+tenant+"-with-label", nil).URL
	}
	w.oracles[withoutATenant], w.oracles[tenantBOwn] = w.oracles[tenantA], w.oracles[tenantB]
	labelsOf := func(tenant string) map[string]string {
		made := maps.Clone(hotLabels)
		if hotsTenant {
			made[tenantLabel] = tenant
		}
		return made
	}
	w.hot, w.hotOfB = w.prometheus(t, "hot", "hot", labelsOf(tenantA)), w.prometheus(t, "hot-b", "hot-b", labelsOf(tenantB))
}

// settings are those of a gateway whose hot tier holds a tenant, or an unknown one.
func (w *tenancyWorld) settings(t *testing.T, hotsTenant string) config.Config {
	t.Helper()
	settings := running.TwoTiers(w.hot.URL, w.cold)
	settings.Hot.Tenant, settings.Cold.ReplicaLabels = hotsTenant, []string{"replica"}
	settings.Routing.Threshold = config.Duration(threshold)
	settings.Probe.Interval, settings.Probe.LearnInterval = config.Duration(500*time.Millisecond), config.Duration(2*time.Second)
	settings.Destinations = []config.DestinationConfig{{Host: "127.0.0.1", Port: portOf(t, w.hotOfB), Tenant: tenantB}}
	saved := map[string]fakeperses.Datasource{}
	for name, each := range map[string]fakeperses.Datasource{
		tenantA: {Headers: fmt.Sprintf("%q:%q", tenantHeader, tenantA)}, tenantB: {Headers: fmt.Sprintf("%q:%q", tenantHeader, tenantB)}, withoutATenant: {},
		tenantBOwn: {Headers: fmt.Sprintf("%q:%q", tenantHeader, tenantB), Tiers: fmt.Sprintf(`"hot":{"url":%q},`, w.hotOfB.URL)},
	} {
		saved["/globaldatasources/"+name] = each
	}
	settings.Perses.URL = fakeperses.Start(t, "", saved).URL
	return settings
}

// TestHotTenant_OfTwoThatShareACold asks the same for two tenants of one cold tier, of which hot
// holds one, each question twice, with cuts, a cache and a Redis.
func TestHotTenant_OfTwoThatShareACold(t *testing.T) {
	t.Parallel() // It waits most of the time.
	w := newTenancyWorld(t)
	for name, start := range map[string]func(*testing.T){
		"a Prometheus for each tenant":                  w.startPrometheuses,
		"a Thanos that enforces tenants":                func(t *testing.T) { w.startThanos(t, false) },
		"a Thanos, and hot has the label of its tenant": func(t *testing.T) { w.startThanos(t, true) },
	} {
		t.Run(name, func(t *testing.T) {
			start(t)
			questions := w.tenantQuestions(t)
			kept := redistest.Start(t, "")
			withRedis := func(tenant string) config.Config {
				settings := w.settings(t, tenant)
				settings.Cache.Redis.Address = kept.Address
				return settings
			}
			plain := w.settings(t, "")
			plain.Cold.URL, plain.Perses.URL = w.coldOfA, ""
			expected := byHot(w.compare(t, serve(t, plain).URL, w.oracles[tenantA], everything, questions, &tally{}))
			require.GreaterOrEqual(t, expected, len(questions)/2)
			hots := map[string]int{tenantA: expected * 9 / 10, withoutATenant: expected * 9 / 10, tenantBOwn: 1}
			w.askTenants(t, "hot holds a", serve(t, withRedis(tenantA)), questions, hots)
			w.askTenants(t, "after a restart", serve(t, withRedis(tenantA)), questions, hots)
			delete(hots, tenantA)
			w.askTenants(t, "hot's tenant is not known", serve(t, withRedis("")), questions, hots)
		})
	}
}

// tenantQuestions are asked of every datasource. Absent metrics are not among them: a Thanos that
// enforces tenants gives them the label of the tenant.
func (w *tenancyWorld) tenantQuestions(t *testing.T) []question {
	t.Helper()
	edges := []time.Time{w.boundary, w.now}
	each := max(count(t)/(3*len(w.oracles)), 20)
	questions := append(w.ranges(seed(t)+60, each/2, 0, edges, pins(labelsInCold), ofDashboards), w.fresh(seed(t)+61, each/2, edges)...)
	return slices.DeleteFunc(questions, func(asked question) bool { return strings.Contains(asked.values.Get("query"), "absent") })
}

// byHot returns the number of answers that hot takes part in.
func byHot(counted *tally) int {
	return counted.tiers[string(tier.Hot)] + counted.tiers[string(tier.Both)]
}

// askTenants asks the same of every datasource, and again. hots is how much hot answers of those
// that it may answer, at least.
func (w *tenancyWorld) askTenants(t *testing.T, what string, g *runningGateway, questions []question, hots map[string]int) {
	t.Helper()
	for round := range 2 {
		for _, name := range slices.Sorted(maps.Keys(w.oracles)) {
			// Where cold refuses what has no tenant, hot is alone, and says what it lacks.
			excused := name == withoutATenant
			result := w.differences(t, g.URL+"/proxy/globaldatasources/"+name, w.oracles[name], everything, questions, &tally{}, excused)
			t.Logf("%s, round %d, %s: %v", what, round+1, name, result.both)
			if atLeast, isHots := hots[name]; isHots {
				require.GreaterOrEqual(t, byHot(result), atLeast, "%s, %s: hot answers too little", what, name)
				continue
			}
			require.Equal(t, map[string]int{"cold": len(questions)}, result.tiers, "%s: %s", what, name)
			require.Equal(t, map[string]int{string(tier.ReasonOnlyTier): len(questions)}, result.reasons, "%s: %s", what, name)
		}
	}
}
