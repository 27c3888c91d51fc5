package resolve

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	promconfig "github.com/prometheus/common/config"
	"github.com/sirupsen/logrus/hooks/test"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/perses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/apierror"
)

func withToken(text string) *config.HTTPConfig {
	return &config.HTTPConfig{HTTPClientConfig: promconfig.HTTPClientConfig{Authorization: &promconfig.Authorization{Credentials: promconfig.Secret(text)}}}
}

func TestDestination_CredentialGoesToItsServerOnly(t *testing.T) {
	m := runningResolver(t, func(settings *config.Config) {
		settings.Hot.HTTPConfig = withToken("of hot")
		settings.Destinations = []config.DestinationConfig{
			{Host: "127.0.0.1", Port: 2, HTTPConfig: withToken("of the destination")}, {Host: "127.0.0.1", Port: 1}, {Host: "localhost"},
		}
		settings.Projects = []config.ProjectConfig{{Name: "listed", AllNamespaces: true}}
	})
	of := func(project, address string) destination {
		t.Helper()
		named := saved(t, project, fmt.Sprintf(`"hot":{"url":%q},`, address), "{}")
		at, err := m.hotLocations(named)
		require.NoError(t, err)
		require.False(t, at[0].use.isGateway)
		return at[0].destination
	}
	hot, other := m.transports.configured["hot"], m.transports.destinations[0].Transport
	require.True(t, hot.HoldsSecrets("https"))
	for _, project := range []string{"", "listed"} {
		require.Same(t, hot, of(project, "https://127.0.0.1:1/hot/below").Transport)
		require.False(t, of(project, "https://127.0.0.1:1/elsewhere").Transport.HoldsSecrets("https"), "another path may be another tenant")
		require.Same(t, hot, of(project, "https://[::ffff:127.0.0.1]:1/hot").Transport, "the same server, written otherwise")
		require.Same(t, other, of(project, "https://127.0.0.1:2").Transport)
		require.Nil(t, of(project, "http://127.0.0.1:2").Transport, "not where others can read it")
		require.False(t, of(project, "http://127.0.0.1:1").Transport.HoldsSecrets("http"))
		require.False(t, of(project, "https://localhost:1").Transport.HoldsSecrets("https"), "another name is another destination")
	}
	for _, address := range []string{"https://127.0.0.1:1", "https://127.0.0.1:2", "https://localhost:1"} {
		require.Nil(t, of("unlisted", address).Transport, "a project that is not listed gets nothing of the operator's")
	}
}

// TestSaved_UnlistedProjectsDoNotReachTheOwnTiers asks for the hosts of the
// gateway's own tiers. Without a credential, such a tier answers every caller that
// reaches it.
func TestSaved_UnlistedProjectsDoNotReachTheOwnTiers(t *testing.T) {
	m := runningResolver(t, nil)
	_, err := m.Saved(saved(t, "unlisted", `"hot":{"url":"https://127.0.0.1:1/hot"},"cold":{"url":"https://127.0.0.1:1/cold"},`, "{}"))
	apierror.Require(t, err, http.StatusForbidden, "which is not an allowed destination")
	for _, path := range []string{"/a/../hot", "/%2e%2e/hot", "/a%2fb", "/a%3fb"} {
		_, err = m.Saved(saved(t, "", fmt.Sprintf(`"hot":{"url":"https://127.0.0.1:1%s"},`, path), "{}"))
		apierror.Require(t, err, http.StatusForbidden, "which is not an allowed destination")
	}
}

func TestTransports_ServiceAccountTokenGoesToServicesOverTLS(t *testing.T) {
	directory := t.TempDir()
	token := filepath.Join(directory, "token")
	require.NoError(t, os.WriteFile(token, []byte("planted"), 0o600))
	for address, expected := range map[string]bool{
		"https://thanos-querier.openshift-monitoring.svc:9091":        true,
		"https://thanos.monitoring.svc.cluster.local":                 true,
		"https://THANOS.monitoring.svc.:9091":                         true,
		"http://thanos.monitoring.svc:9090":                           false, // others on the way could read it
		"https://thanos.example.com":                                  false,
		"https://thanos.svc.example.com":                              false,
		"https://svc":                                                 false,
		"https://10.0.0.1:9091":                                       false,
		"https://thanos.monitoring.svc.cluster.local.evil.com:9091":   false,
		"https://thanos-querier.openshift-monitoring.svc.evil.com:80": false,
	} {
		settings := config.Default()
		settings.Cold.URL, settings.ServiceAccount.TokenPath = address, token
		made, err := newTransports(settings, nil)
		require.NoError(t, err)
		require.Equal(t, expected, made.configured["cold"].SendsToken(), address)
		require.False(t, made.configured["hot"].SendsToken())
		require.True(t, made.discovered["hot"].SendsToken(), "tiers of its own that were discovered get it")
		require.False(t, made.services.HoldsSecrets("https"), "a Service that datasources name does not get it")

		settings.Cold.HTTPConfig = withToken("another")
		made, err = newTransports(settings, nil)
		require.NoError(t, err)
		require.False(t, made.configured["cold"].SendsToken(), "what the configuration names wins")
		settings.Cold.HTTPConfig, settings.ServiceAccount.TokenPath = nil, ""
		made, err = newTransports(settings, nil)
		require.NoError(t, err)
		require.False(t, made.configured["cold"].SendsToken(), "it can be switched off")
		settings.Destinations = []config.DestinationConfig{{Host: "named.monitoring.svc", Port: 9091}}
		made, err = newTransports(settings, nil)
		require.NoError(t, err)
		require.False(t, made.destinations[0].Transport.HoldsSecrets("https"), "a host that datasources may name does not get it")
	}
}

func TestAnnounce_NamesTheTiersThatGetTheToken(t *testing.T) {
	directory := t.TempDir()
	token := filepath.Join(directory, "token")
	settings := config.Default()
	settings.ServiceAccount.TokenPath = token
	made, err := newTransports(settings, nil)
	require.NoError(t, err)
	logger, logged := test.NewNullLogger()
	own, outside := ownTiers(settings, made), func(ownTier) bool { return false }
	announceToken(logger, token, own, outside)
	require.Contains(t, logged.LastEntry().Message, "it sends no token until it can")
	require.NoError(t, os.WriteFile(token, []byte("planted"), 0o600))
	announceToken(logger, token, own, outside)
	require.Equal(t, "tierproxy sends the ServiceAccount token "+token+", over TLS only, to the cold tier", logged.LastEntry().Message)
	settings.Discovery.Namespaces = []string{"monitoring"}
	announceToken(logger, token, own, func(ownTier) bool { return true })
	require.Equal(t, "tierproxy sends the ServiceAccount token "+token+", over TLS only, to the hot tier, the cold tier", logged.LastEntry().Message)
}

func TestSaved_ProjectsChooseNoTenantWithOurCredential(t *testing.T) {
	m := runningResolver(t, func(settings *config.Config) {
		settings.Projects = []config.ProjectConfig{{Name: "listed", AllNamespaces: true}}
		settings.Destinations = []config.DestinationConfig{{Host: "127.0.0.1", Port: 2, HTTPConfig: withToken("x")}, {Host: "127.0.0.1", Port: 3}}
	})
	const tenant = `{"X-Scope-OrgID":"a"}`
	for address, refused := range map[string]bool{"https://127.0.0.1:1/hot": true, "https://127.0.0.1:2": true, "https://127.0.0.1:3": false} {
		tiers := fmt.Sprintf(`"hot":{"url":%q},"cold":{"url":"https://127.0.0.1:3"},`, address)
		_, err := m.Saved(saved(t, "listed", tiers, tenant))
		if refused {
			apierror.Require(t, err, http.StatusForbidden, "may not choose the tenant")
		} else {
			require.NoError(t, err)
		}
		_, err = m.Saved(saved(t, "", tiers, tenant))
		require.NoError(t, err, "who may write a global datasource is trusted")
	}
}

func TestRules_MostSpecificRuleHolds(t *testing.T) {
	m := runningResolver(t, func(settings *config.Config) {
		settings.Projects = []config.ProjectConfig{{Name: "team", Namespaces: []string{"b", "a"}}, {Name: "admin", AllNamespaces: true}}
		settings.Enforcement.Datasources = []config.ConfinedDatasource{
			{Name: "everything", AllNamespaces: true}, {Name: "shared", Namespaces: []string{"shared"}, Label: "team"},
			{Project: "team", Name: "special", Namespaces: []string{"c"}}, {Project: "admin", Name: "narrow", Namespaces: []string{"d"}},
		}
		settings.Destinations = []config.DestinationConfig{{Host: "127.0.0.1"}}
	})
	for _, test := range []struct {
		project, name, rule string
	}{
		{"team", "metrics", `namespace "a", "b"`}, {"team", "everything", `namespace "a", "b"`}, {"team", "special", `namespace "c"`},
		{"admin", "metrics", ""}, {"admin", "narrow", `namespace "d"`}, {"", "everything", ""}, {"", "shared", `team "shared"`},
	} {
		rule, err := m.RuleOf(perses.Reference{Project: test.project, Name: test.name})
		require.NoError(t, err)
		if test.rule == "" {
			require.Nil(t, rule)
		} else {
			require.Equal(t, test.rule, rule.String())
		}
	}
	// Who may write a dashboard may name a datasource in it like one that is
	// exempt: the rule of the project holds.
	for _, project := range []string{"team", "admin"} {
		whole, err := m.RuleOf(perses.Reference{Project: project, Name: "metrics"})
		require.NoError(t, err)
		for _, name := range []string{"everything", "special", "narrow"} {
			rule, err := m.RuleOf(perses.Reference{Project: project, Dashboard: "board", Name: name})
			require.NoError(t, err)
			require.Equal(t, whole, rule)
		}
	}
	// Everything else is refused, whatever tiers it names.
	const named = `"hot":{"url":"https://127.0.0.1:2"},"cold":{"url":"https://127.0.0.1:2"},`
	_, err := m.Saved(saved(t, "", named, "{}"))
	apierror.Require(t, err, http.StatusForbidden, "ask the operator to list it in enforcement.datasources")
	_, err = m.Saved(saved(t, "other", named, "{}"))
	apierror.Require(t, err, http.StatusForbidden, `ask the operator to list project "other"`)
	// Tiers of its own are no way around the rule.
	found, err := m.Saved(saved(t, "team", named, "{}"))
	require.NoError(t, err)
	require.Equal(t, `namespace "a", "b"`, found.Rule.String())
	_, err = m.Saved(saved(t, "team", named, `{"X-Scope-OrgID":"a"}`))
	apierror.Require(t, err, http.StatusForbidden, "may not choose the tenant")
}

func TestRules_ProjectIsNamespace(t *testing.T) {
	m := runningResolver(t, func(settings *config.Config) {
		settings.Enforcement.ProjectIsNamespace, settings.Enforcement.Label = true, "kubernetes_namespace"
		settings.Projects = []config.ProjectConfig{{Name: "listed", Namespaces: []string{"x"}}}
	})
	found, err := m.Saved(saved(t, "shop", "", "{}"))
	require.NoError(t, err)
	require.Equal(t, `kubernetes_namespace "shop"`, found.Rule.String())
	found, err = m.Saved(saved(t, "listed", "", "{}"))
	require.NoError(t, err)
	require.Equal(t, `kubernetes_namespace "x"`, found.Rule.String())
	_, err = m.Saved(saved(t, "", "", "{}"))
	apierror.Require(t, err, http.StatusForbidden, "enforcement.datasources")
	own, err := m.Default()
	require.NoError(t, err)
	require.Nil(t, own.Rule)
}
