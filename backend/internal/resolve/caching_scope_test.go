package resolve

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/perses"
)

// TestScope_DiffersForEachDatasourceAndTier checks that datasources with other
// rights or other tiers have a cache of their own.
func TestScope_DiffersForEachDatasourceAndTier(t *testing.T) {
	configured := func(change func(*config.Config)) *Resolver {
		return runningResolver(t, func(settings *config.Config) {
			settings.Projects = []config.ProjectConfig{{Name: "shop", AllNamespaces: true}}
			settings.Destinations = []config.DestinationConfig{{Host: "127.0.0.1", Port: 1}}
			if change != nil {
				change(settings)
			}
		})
	}
	m := configured(nil)
	seen := map[string]string{}
	add := func(name string, m *Resolver, datasource *perses.Datasource) {
		t.Helper()
		var scope string
		if datasource == nil {
			own, err := m.Default()
			require.NoError(t, err)
			scope = own.Datasource.Scope
		} else {
			found, err := m.Saved(datasource)
			require.NoError(t, err, name)
			scope = found.Datasource.Scope
		}
		require.NotEmpty(t, scope)
		require.Empty(t, seen[scope], "%s sees what another keeps", name)
		seen[scope] = name
	}
	generation := func(datasource *perses.Datasource) *perses.Datasource {
		datasource.Generation = "2"
		return datasource
	}
	add("the default datasource", m, nil)
	add("a global one", m, saved(t, "", "", "{}"))
	add("the same after a change", m, generation(saved(t, "", "", "{}")))
	add("one of a project", m, saved(t, "shop", "", "{}"))
	add("a tenant", m, saved(t, "", "", `{"X-Scope-OrgID":"a"}`))
	add("another tenant", m, saved(t, "", "", `{"X-Scope-OrgID":"b"}`))
	ofTeams := configured(func(settings *config.Config) { settings.TenantHeaders = []string{"X-Team"} })
	add("a tenant by a configured header", ofTeams, saved(t, "", "", `{"X-Team":"a"}`))
	add("another tenant by a configured header", ofTeams, saved(t, "", "", `{"X-Team":"b"}`))
	add("another cold tier", m, saved(t, "", `"cold":{"url":"https://127.0.0.1:1/other"},`, "{}"))
	add("the same with a lag", m, saved(t, "", `"cold":{"url":"https://127.0.0.1:1/other","lag":"2h"},`, "{}"))
	add("another credential", configured(func(settings *config.Config) { settings.ServiceAccount.TokenPath = "/elsewhere" }), saved(t, "", "", "{}"))
}
