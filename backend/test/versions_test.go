//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/panel"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// persesVersions are the Perses servers of the tests in this file, by the name
// of their program: the one of the other tests, and in make e2e-full all that
// the plugin promises to work with.
func persesVersions(t *testing.T) map[string]string {
	t.Helper()
	versions := map[string]string{"perses": shared.persesPath}
	for _, name := range strings.Fields(os.Getenv("E2E_PERSES")) {
		path, err := stack.Tool(t.Context(), os.Stderr, name)
		require.NoError(t, err)
		versions[name] = path
	}
	return versions
}

// forEachPerses runs a test on each of them.
func forEachPerses(t *testing.T, test func(t *testing.T, name string, s *site)) {
	t.Helper()
	for name, path := range persesVersions(t) {
		t.Run(name, func(t *testing.T) {
			test(t, name, newSiteOn(t, path, stack.Perses{OneArchivePath: name == "perses-0.52"}, nil))
		})
	}
}

// loaded is what a Perses server tells of the plugin modules that it has loaded.
type loaded []struct {
	Metadata struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		Plugins []struct {
			Kind string `json:"kind"`
			Spec struct {
				Name string `json:"name"`
			} `json:"spec"`
		} `json:"plugins"`
	} `json:"spec"`
	Status struct {
		IsLoaded bool   `json:"isLoaded"`
		Error    string `json:"error"`
	} `json:"status"`
}

// plugins returns the plugins of a module, each with its kind before its name, and why
// the server has not loaded the module, if so.
func (modules loaded) plugins(t *testing.T, name string) (found []string, problem string) {
	t.Helper()
	listed := 0
	for _, module := range modules {
		if module.Metadata.Name != name {
			continue
		}
		listed++
		require.Equal(t, module.Status.Error == "", module.Status.IsLoaded)
		problem = module.Status.Error
		for _, plugin := range module.Spec.Plugins {
			found = append(found, plugin.Kind+" "+plugin.Spec.Name)
		}
	}
	require.Equal(t, 1, listed, name)
	return found, problem
}

// knowsAnnotations reports whether a server knows the plugin kind Annotation, by the
// name of its program.
func knowsAnnotations(name string) bool { return name == "perses" }

// TestVersions_PersesLoadsTheModules finds all our kinds in every server, and those
// that only later ones know in these. A server loads nothing of a module where it does
// not know one of its kinds, which is why these have a module of their own. It lists that
// module without plugins, and the web UI leaves out what has none.
func TestVersions_PersesLoadsTheModules(t *testing.T) { forEachPerses(t, loadsTheModules) }

func loadsTheModules(t *testing.T, name string, s *site) {
	status, body, err := stack.Get(t.Context(), s.perses.URL+"/api/v1/plugins", nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	var modules loaded
	require.NoError(t, json.Unmarshal(body, &modules), string(body))
	found, problem := modules.plugins(t, "TieredPrometheus")
	require.Empty(t, problem)
	require.ElementsMatch(t, []string{
		"Datasource TieredPrometheusDatasource",
		"TimeSeriesQuery TieredPrometheusTimeSeriesQuery",
		"TimeSeriesQuery TieredPrometheusAlertThresholdQuery",
		"Variable TieredPrometheusLabelNamesVariable",
		"Variable TieredPrometheusLabelValuesVariable",
		"Variable TieredPrometheusPromQLVariable",
		"Explore TieredPrometheusExplorer",
	}, found, string(body))
	requireFederated(t, s, "TieredPrometheus", found)

	later := []string{"Annotation TieredPrometheusPromQLAnnotation"}
	requireFederated(t, s, "TieredPrometheusAnnotations", later)
	found, problem = modules.plugins(t, "TieredPrometheusAnnotations")
	if knowsAnnotations(name) {
		require.Empty(t, problem)
		require.ElementsMatch(t, later, found)
		return
	}
	require.Equal(t, "unable to read plugin package.json", problem)
	require.Empty(t, found, string(body))
}

// requireFederated requires that each plugin is a module that the browser can load.
// The server without web UI does not serve the files, so they are looked at where it
// unpacked them.
func requireFederated(t *testing.T, s *site, name string, plugins []string) {
	t.Helper()
	manifests, err := filepath.Glob(filepath.Join(s.directory, "plugins", name+"-*", "mf-manifest.json"))
	require.NoError(t, err)
	require.Len(t, manifests, 1)
	text, err := os.ReadFile(manifests[0])
	require.NoError(t, err)
	var manifest struct {
		MetaData struct {
			RemoteEntry struct {
				Name string `json:"name"`
			} `json:"remoteEntry"`
			PublicPath string `json:"publicPath"`
		} `json:"metaData"`
		Exposes []struct {
			Name string `json:"name"`
		} `json:"exposes"`
	}
	require.NoError(t, json.Unmarshal(text, &manifest))
	require.Equal(t, "/plugins/"+name+"/", manifest.MetaData.PublicPath)
	require.FileExists(t, filepath.Join(filepath.Dir(manifests[0]), manifest.MetaData.RemoteEntry.Name))
	require.Len(t, manifest.Exposes, len(plugins))
	for _, exposed := range manifest.Exposes {
		require.Contains(t, strings.Join(plugins, " ")+" ", " "+exposed.Name+" ")
	}
}

// TestVersions_PersesJudgesEveryExample lets the server validate every example of
// every kind, without saving it.
func TestVersions_PersesJudgesEveryExample(t *testing.T) { forEachPerses(t, judgesEveryExample) }

func judgesEveryExample(t *testing.T, name string, s *site) {
	texts := func(names ...string) (variables []document) { // those that examples refer to
		for _, name := range names {
			variables = append(variables, document{"kind": "TextVariable", "spec": document{"name": name, "value": "x"}})
		}
		return variables
	}
	inDashboard := func(spec document) document {
		spec["duration"] = "1h"
		return document{"kind": "Dashboard", "metadata": document{"name": "fixture", "project": "fixtures"}, "spec": spec}
	}
	places := map[string]struct {
		resource string
		of       func(plugin document) document
	}{
		"annotations": {"dashboards", func(plugin document) document {
			return inDashboard(document{
				"annotations": []document{{"display": document{"name": "annotation"}, "plugin": plugin}},
				"variables":   texts("datasource", "namespace"),
			})
		}},
		"datasources": {"globaldatasources", func(plugin document) document {
			return document{"kind": "GlobalDatasource", "metadata": document{"name": "fixture"}, "spec": document{"plugin": plugin}}
		}},
		"queries": {"dashboards", func(plugin document) document {
			return inDashboard(document{"panels": document{"panel": document{"kind": "Panel", "spec": document{
				"display": document{"name": "panel"},
				"plugin":  document{"kind": "TimeSeriesChart", "spec": document{}},
				"queries": []document{{"kind": "TimeSeriesQuery", "spec": document{"plugin": plugin}}},
			}}}})
		}},
		"variables": {"dashboards", func(plugin document) document {
			variables := []document{{"kind": "ListVariable", "spec": document{"name": "variable", "plugin": plugin}}}
			return inDashboard(document{"variables": append(variables, texts("datasource", "label", "namespace")...)})
		}},
	}
	if !knowsAnnotations(name) {
		delete(places, "annotations") // it reads none, and so refuses none
	}
	for folder, place := range places {
		validate := func(file string) (int, string) {
			return post(t, s.perses.URL+"/api/validate/"+place.resource, place.of(examplePlugin(t, file)))
		}
		for _, file := range examples(t, folder, "valid") {
			status, text := validate(file)
			require.Equal(t, http.StatusOK, status, "%s: %s", file, text)
		}
		for _, file := range examples(t, folder, "invalid") {
			expected := expectedMessage(t, file)
			status, text := validate(file)
			require.Equal(t, http.StatusBadRequest, status, "%s: %s", file, text)
			require.Contains(t, flat(text), flat(expected), file)
		}
	}
}

// TestVersions_PersesAsksBothTiers sends a query to each tier, and one to both.
func TestVersions_PersesAsksBothTiers(t *testing.T) { forEachPerses(t, asksBothTiers) }

func asksBothTiers(t *testing.T, _ string, s *site) {
	status, text := post(t, s.perses.URL+"/api/v1/globaldatasources", s.global("metrics", nil))
	require.Equal(t, http.StatusOK, status, text)
	for tier, span := range map[string]time.Duration{"hot": 5 * minute, "cold": hour, "hot,cold": 12 * hour} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			c := call{
				base: s.perses.URL + "/proxy/globaldatasources/metrics", method: method, endpoint: "query_range",
				values: panel.RangeQuery(panelQuery, lastEnd(), span, minute),
			}
			got := mustDo(t, c)
			require.Equal(t, tier, got.tier, string(got.body))
			requireOracle(t, c, got)
		}
	}
}

// post sends a document to Perses and returns the status and the body of the
// answer.
func post(t *testing.T, target string, content document) (int, string) {
	t.Helper()
	body, err := json.Marshal(content)
	require.NoError(t, err)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, target, bytes.NewReader(body))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(text)
}
