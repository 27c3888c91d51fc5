package resolve

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/sirupsen/logrus/hooks/test"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/perses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/tier"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/upstream"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/apierror"
)

// runningResolver has tiers that nobody listens at: these tests are about which
// tier a datasource gets, not about what it answers.
func runningResolver(t *testing.T, change func(*config.Config)) *Resolver {
	t.Helper()
	return runningResolverIn(t, nil, change)
}

// runningResolverIn is runningResolver in a network; nil for the real one.
func runningResolverIn(t *testing.T, network *upstream.Network, change func(*config.Config)) *Resolver {
	t.Helper()
	settings := config.Default()
	settings.Hot.URL, settings.Cold.URL = "https://127.0.0.1:1/hot", "https://127.0.0.1:1/cold"
	settings.Probe.Interval = config.Duration(time.Hour)
	if change != nil {
		change(&settings)
	}
	logger, _ := test.NewNullLogger()
	r, err := New(Options{Config: settings, Logger: logger, Reloads: &upstream.Reloads{}, Network: network})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	require.NoError(t, r.Start(ctx))
	t.Cleanup(func() {
		cancel()
		r.Stop()
	})
	return r
}

// saved is a datasource with tiers and proxy headers in JSON.
func saved(t *testing.T, project, tiers, headers string) *perses.Datasource {
	t.Helper()
	spec, err := perses.ParseSpec(json.RawMessage(fmt.Sprintf(
		`{%s "proxy":{"kind":"HTTPProxy","spec":{"url":"http://tierproxy/proxy/globaldatasources/metrics","headers":%s}}}`, tiers, headers)), nil)
	require.NoError(t, err)
	return &perses.Datasource{Reference: perses.Reference{Project: project, Name: "metrics"}, Spec: *spec, Generation: tiers + headers}
}

func TestSaved_ListedProjectsGetTheOwnTiers(t *testing.T) {
	m := runningResolver(t, func(settings *config.Config) {
		settings.Projects = []config.ProjectConfig{{Name: "listed", AllNamespaces: true}}
		settings.Destinations = []config.DestinationConfig{{Host: "127.0.0.1", Port: 1}}
	})
	own, err := m.Default()
	require.NoError(t, err)

	for _, project := range []string{"", "listed"} {
		found, err := m.Saved(saved(t, project, "", "{}"))
		require.NoError(t, err)
		require.Same(t, own.Hot, found.Hot)
		require.Same(t, own.Cold, found.Cold)
		require.Equal(t, 15*time.Minute, found.Datasource.Threshold)
	}
	_, err = m.Saved(saved(t, "other", "", "{}"))
	apierror.Require(t, err, http.StatusForbidden, `datasource "metrics" of project "other" may not use the gateway's own hot tier`)
	_, err = m.Saved(saved(t, "other", `"hot":{"url":"https://127.0.0.1:1/x"},`, "{}"))
	apierror.Require(t, err, http.StatusForbidden, `may not use the gateway's own cold tier`)

	// One that names both tiers needs nobody's permission, and gets no
	// connection that others use.
	found, err := m.Saved(saved(t, "other", `"threshold":"5m","hot":{"url":"https://127.0.0.1:1/hot"},"cold":{"url":"https://127.0.0.1:1/other","lag":"2h"},`, "{}"))
	require.NoError(t, err)
	require.Equal(t, 5*time.Minute, found.Datasource.Threshold)
	require.Equal(t, "https://127.0.0.1:1/other", found.Cold.Endpoint())
	now := time.Now()
	require.Equal(t, now.Add(-2*time.Hour).UnixMilli(), found.Cold.State(now).Newest)
}

func TestSaved_NamesOnlyAllowedDestinations(t *testing.T) {
	m := runningResolver(t, func(settings *config.Config) {
		settings.Destinations = []config.DestinationConfig{{Host: "*.monitoring.svc", Port: 9090}}
	})
	_, err := m.Saved(saved(t, "", `"hot":{"url":"http://prometheus.monitoring.svc:9090"},`, "{}"))
	require.NoError(t, err)
	for _, denied := range []string{
		"http://prometheus.monitoring.svc", "https://127.0.0.1:2", "http://127.0.0.1:1/hot", "http://localhost:9090",
		"http://169.254.169.254/latest/meta-data", "http://[::1]:9090", "http://2130706433:9090",
	} {
		for _, project := range []string{"", "other"} {
			_, err := m.Saved(saved(t, project, fmt.Sprintf(`"hot":{"url":%q},`, denied), "{}"))
			apierror.Require(t, err, http.StatusForbidden, "ask the operator to list the host in the gateway's destinations")
		}
	}
}

func TestSaved_WithoutDiscoveryServicesAreRefused(t *testing.T) {
	m := runningResolver(t, nil)
	_, err := m.Saved(saved(t, "", `"hot":{"service":{"namespace":"a","name":"b"}},`, "{}"))
	apierror.Require(t, err, http.StatusNotImplemented, "set url instead")
}

func TestSaved_TenantComesFromTheSpec(t *testing.T) {
	m := runningResolver(t, func(settings *config.Config) {
		settings.Projects, settings.Hot.Tenant = []config.ProjectConfig{{Name: "listed", AllNamespaces: true}}, "a"
	})
	const tenant = `{"x-scope-orgid":"a","X-Other":"b"}`
	require.Equal(t, http.Header{"X-Scope-Orgid": {"a"}}, m.tenantOf(saved(t, "", "", tenant)))

	own, err := m.Default()
	require.NoError(t, err)
	found, err := m.Saved(saved(t, "", "", tenant))
	require.NoError(t, err)
	require.NotSame(t, own.Hot, found.Hot, "another tenant is another tier, with coverage of its own")
	again, err := m.Saved(saved(t, "", "", tenant))
	require.NoError(t, err)
	require.Same(t, found.Hot, again.Hot)

	// A project may not choose whose data it sees in the gateway's own tiers.
	_, err = m.Saved(saved(t, "listed", "", tenant))
	apierror.Require(t, err, http.StatusForbidden, "may not choose the tenant")
}

func TestTierPool_DropsUnusedTiers(t *testing.T) {
	pool := newTierPool(config.Default())
	now := time.Now()
	pool.now = func() time.Time { now = now.Add(time.Minute); return now }
	ctx, cancel := context.WithCancel(t.Context())
	_, _, err := pool.get(destination{name: tier.Hot, url: "http://127.0.0.1:1"}, tierUse{})
	require.ErrorIs(t, err, ErrNotRunning)
	pool.start(ctx)
	at := func(i int) destination {
		return destination{name: tier.Hot, url: fmt.Sprintf("http://127.0.0.1:1/%d", i)}
	}
	own, _, err := pool.get(at(0), tierUse{isGateway: true})
	require.NoError(t, err)
	for i := 1; i < maxTiers; i++ {
		_, _, err := pool.get(at(i), tierUse{})
		require.NoError(t, err)
	}
	first, _, err := pool.get(at(1), tierUse{})
	require.NoError(t, err)
	require.Len(t, pool.tiers, maxTiers)
	_, _, err = pool.get(at(maxTiers), tierUse{})
	require.NoError(t, err)
	require.Len(t, pool.tiers, maxTiers, "the pool is bounded")
	require.NotContains(t, pool.tiers, at(2), "the one that was asked longest ago goes")
	again, _, err := pool.get(at(1), tierUse{})
	require.NoError(t, err)
	require.Same(t, first, again)

	pool.dropUnused(now.Add(time.Hour))
	require.Len(t, pool.tiers, 1, "only the gateway's own stay for good")
	kept, _, err := pool.get(at(0), tierUse{isGateway: true})
	require.NoError(t, err)
	require.Same(t, own, kept)
	cancel()
	pool.stop()
	require.Empty(t, pool.tiers)
	_, _, err = pool.get(at(1), tierUse{})
	require.ErrorIs(t, err, ErrNotRunning)
}

// TestTierPool_AProjectEvictsItsOwnTiers fills the pool from several projects.
func TestTierPool_AProjectEvictsItsOwnTiers(t *testing.T) {
	settings := config.Default()
	settings.Limits.ProjectTiers = 100
	pool := newTierPool(settings)
	now := time.Now()
	pool.now = func() time.Time { return now }
	ctx, cancel := context.WithCancel(t.Context())
	pool.start(ctx)
	t.Cleanup(pool.stop)
	t.Cleanup(cancel)
	at := func(project string, i int) destination {
		return destination{name: tier.Hot, url: fmt.Sprintf("http://127.0.0.1:1/%s/%d", project, i)}
	}
	get := func(project string, i int) error {
		_, _, err := pool.get(at(project, i), tierUse{project: project})
		return err
	}
	small := func() {
		t.Helper()
		for _, project := range []string{"b", "c"} {
			for i := range 20 {
				require.Contains(t, pool.tiers, at(project, i))
			}
		}
	}
	for _, project := range []string{"b", "c"} {
		for i := range 20 {
			require.NoError(t, get(project, i))
		}
	}
	for i := range 100 {
		require.NoError(t, get("a", i))
	}
	now = now.Add(inUseFor - time.Second)
	apierror.Require(t, get("a", 100), http.StatusServiceUnavailable, `project "a" use more than 100 tiers at a time`)
	require.NoError(t, get("a", 5), "what it has goes on")
	now = now.Add(2 * time.Second)
	for i := range 50 {
		require.NoError(t, get("a", 100+i))
	}
	require.Equal(t, 100, pool.counts()["a"])
	require.Contains(t, pool.tiers, at("a", 5))
	require.Len(t, pool.tiers, 140)
	small()

	// Others fill the pool. The projects with most make room, also where they use
	// what they have.
	for i := range 100 {
		require.NoError(t, get("d", i))
	}
	for i := range 30 {
		require.NoError(t, get("e", i), i)
		require.LessOrEqual(t, len(pool.tiers), maxTiers)
	}
	small()
	require.Equal(t, 30, pool.counts()["e"])

	// A tier that another project uses stays when a project gives it up.
	now = now.Add(time.Hour)
	pool.config.Limits.ProjectTiers = 20
	_, _, err := pool.get(at("b", 0), tierUse{project: "c"})
	require.NoError(t, err)
	now = now.Add(time.Hour)
	for i := range 20 {
		require.NoError(t, get("c", i))
	}
	require.NotContains(t, pool.tiers[at("b", 0)].users, "c")
	require.Contains(t, pool.tiers[at("b", 0)].users, "b")
}

// TestTierPool_SettingsShareATier gets views of one tier.
func TestTierPool_SettingsShareATier(t *testing.T) {
	m := runningResolver(t, func(settings *config.Config) {
		settings.Destinations = []config.DestinationConfig{{Host: "127.0.0.1", Port: 2}}
	})
	const tiers = `"scrapeInterval":"%ds","hot":{"url":"https://127.0.0.1:2/hot","retention":"%dh"},"cold":{"url":"https://127.0.0.1:2/cold","lag":"%dh"},`
	first, err := m.Saved(saved(t, "team", fmt.Sprintf(tiers, 15, 5, 1), "{}"))
	require.NoError(t, err)
	other, err := m.Saved(saved(t, "team", fmt.Sprintf(tiers, 30, 6, 2), "{}"))
	require.NoError(t, err)
	require.Same(t, first.Hot.Base(), other.Hot.Base())
	require.Same(t, first.Cold.Base(), other.Cold.Base())
	require.Len(t, m.pool.tiers, 4, "and the gateway's own")
	require.Len(t, m.pool.catalogs, 2)
	now := time.Now()
	for found, lag := range map[*Resolved]time.Duration{first: time.Hour, other: 2 * time.Hour} {
		require.Equal(t, now.Add(-lag).UnixMilli(), found.Catalog.ColdState(now).Newest)
		require.Equal(t, now.Add(-lag).UnixMilli(), found.Cold.State(now).Newest)
	}
	require.Equal(t, 2, m.pool.counts()["team"])
}
