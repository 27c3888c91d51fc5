package gateway_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/fakeperses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/faketier"
)

// marker is part of every external label, tenant, source and path in the world
// of these tests, and of metrics that only other sources have.
const marker = "planted"

// plantedGateway has a hot and a cold tier whose configuration holds the
// marker. Project shop is confined, the global datasource is not.
func plantedGateway(t *testing.T) *served {
	t.Helper()
	perses := fakeperses.Start(t, "alice", map[string]fakeperses.Datasource{"/globaldatasources": {}, "/projects/shop/datasources": {}, "/globaldatasources/metrics": {}, "/projects/shop/datasources/metrics": {}})
	token := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(token, []byte("let-me-in"), 0o600))
	hot, cold := faketier.Start(t), faketier.Start(t)
	yaml, err := json.Marshal(map[string]string{"yaml": "global:\n  external_labels:\n    cluster: planted-hot\n    planted_label: x\n"})
	require.NoError(t, err)
	hot.HandleProbes(faketier.Telling(map[string]string{
		"/status/config": string(yaml), "/status/flags": `{}`, "/label/__name__/values": `["up","here"]`, "/label/cluster/values": `[]`, "/label/planted_label/values": `[]`,
	}))
	const own, other = `{"cluster":"planted-hot","planted_label":"x"}`, `{"cluster":"planted-other","tenant_id":"planted-tenant"}`
	cold.HandleProbes(faketier.Telling(map[string]string{
		"/status/config": `{"yaml":""}`, "/status/flags": `{}`, "/label/__name__/values": `["up","planted_metric"]`,
		"/api/v1/stores": fmt.Sprintf(`{"sidecar":[{"labelSets":[%s],"maxTime":9223372036854775807}],"store":[{"labelSets":[%s],"maxTime":1,"lastError":"planted failure"}]}`, own, other),
	}))
	g := newGatewayAt(t, hot, cold, func(settings *config.Config) {
		settings.Perses.URL = perses.URL
		settings.Hot.URL += "/" + marker + "/hot"
		settings.Cold.URL += "/select/" + marker
		settings.DefaultDatasource.Enabled = true
		settings.DefaultDatasource.TokenFile = token
		settings.Projects = []config.ProjectConfig{{Name: "shop", Namespaces: []string{"shop"}}}
		settings.Enforcement.Datasources = []config.ConfinedDatasource{{Name: "metrics", AllNamespaces: true}}
	})
	health := g.health(t)
	require.Contains(t, health.Tiers["cold"].Error, "planted-tenant")
	require.NotNil(t, health.Tiers["hot"].ExternalLabels)
	require.Len(t, health.Tiers["cold"].Sources, 2)
	return g
}

// TestConcealment_NoLabelsForUnknownAndConfinedCallers asks for everything that
// tells something of the tiers and looks for the marker in each byte of the
// answers.
func TestConcealment_NoLabelsForUnknownAndConfinedCallers(t *testing.T) {
	g := plantedGateway(t)
	const confined = "/proxy/projects/shop/datasources/metrics"
	spec := `{"proxy":{"kind":"HTTPProxy","spec":{"url":"http://tierproxy/proxy/projects/shop/datasources/metrics"}}}`
	day := fmt.Sprintf("&start=%d&end=%d&step=60", time.Now().Add(-time.Hour).Unix(), time.Now().Unix())
	targets := []string{"/", "/api/v1/datasources/health", "/-/healthy", "/-/ready"}
	for _, query := range []string{
		`up`, `here`, `{__name__=~".*metric"}`, `up{cluster="x"}`, `up{planted_label!="x"}`, `absent(up)`, `up[5m]`, `sum by (cluster) (here)`, `up offset 3d`,
	} {
		text := url.QueryEscape(query)
		targets = append(targets, "/api/v1/query?query="+text, "/api/v1/query_range?query="+text+day, "/api/v1/datasources/explain?query="+text,
			"/api/v1/datasources/explain?query="+text+day, "/api/v1/query_exemplars?query="+text+day,
			"/api/v1/series?match[]="+text, "/api/v1/labels?match[]="+text, "/api/v1/datasources/explain?endpoint=series&match[]="+text)
	}
	targets = append(targets, "/api/v1/label/cluster/values", "/api/v1/datasources/explain?endpoint=labels", "/api/v1/rules", "/api/v1/alert_thresholds", "/api/v1/status/config")
	// hides drops what the caller itself wrote.
	hides := func(target string, response *http.Response, body string) {
		t.Helper()
		headers, err := json.Marshal(response.Header)
		require.NoError(t, err)
		for _, text := range []string{body, string(headers)} {
			text = strings.ReplaceAll(text, "planted_label!=", "")
			require.NotContains(t, text, marker, target)
		}
	}
	for _, target := range targets {
		response, body := g.ask(t, http.MethodGet, target, "")
		hides(target, response, body)
		for _, choice := range []string{"auto", "hot", "cold"} {
			response, body = g.ask(t, http.MethodGet, confined+target, "", "Authorization", "Bearer alice", "X-Tier-Choice", choice)
			hides(confined+target+" "+choice, response, body)
		}
	}
	response, body := g.ask(t, http.MethodPost, confined+"/api/v1/datasources/check", spec, "Authorization", "Bearer alice")
	require.Equal(t, http.StatusOK, response.StatusCode, body)
	hides("check", response, body)
	// A tier that is down, and one that fails.
	g.cold.Handle(faketier.Status(503, ""))
	for _, target := range targets {
		response, body := g.ask(t, http.MethodGet, confined+target, "", "Authorization", "Bearer alice")
		hides(target+", cold fails", response, body)
	}
}

// TestConcealment_DetailsForThoseWhoMaySeeThem shows that the marker is there to
// be seen.
func TestConcealment_DetailsForThoseWhoMaySeeThem(t *testing.T) {
	g := plantedGateway(t)
	spec := `{"proxy":{"kind":"HTTPProxy","spec":{"url":"http://tierproxy/proxy/globaldatasources/metrics"}}}`
	const open = "/proxy/globaldatasources/metrics"
	for _, target := range []string{
		"/", "/api/v1/datasources/health", "/api/v1/datasources/explain?query=here", "/api/v1/datasources/explain?query=" + url.QueryEscape(`{__name__=~".*metric"}`),
	} {
		_, body := g.ask(t, http.MethodGet, open+target, "", "Authorization", "Bearer alice")
		require.Contains(t, body, marker, target)
		_, body = g.ask(t, http.MethodGet, target, "", "Authorization", "Bearer let-me-in")
		require.Contains(t, body, marker, target)
	}
	_, body := g.ask(t, http.MethodGet, open+"/api/v1/query?query=up", "", "Authorization", "Bearer alice", "X-Tier-Choice", "cold")
	require.Contains(t, body, "planted-tenant", "the warning of an unconfined caller names the store")
	_, body = g.ask(t, http.MethodPost, open+"/api/v1/datasources/check", spec, "Authorization", "Bearer alice")
	require.Contains(t, body, "planted-hot")
}
