//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

func TestPersesLoadsTheModule(t *testing.T) {
	s := newSite(t, stack.Perses{}, nil)
	status, body, err := stack.Get(t.Context(), s.perses.URL+"/api/v1/plugins", nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	var modules []struct {
		Metadata struct {
			Name    string `json:"name"`
			Version string `json:"version"`
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
	require.NoError(t, json.Unmarshal(body, &modules), string(body))
	var found []string
	for _, module := range modules {
		if module.Metadata.Name != "TieredPrometheus" {
			continue
		}
		require.True(t, module.Status.IsLoaded, module.Status.Error)
		for _, plugin := range module.Spec.Plugins {
			found = append(found, plugin.Kind+" "+plugin.Spec.Name)
		}
	}
	require.ElementsMatch(t, []string{
		"Datasource TieredPrometheusDatasource",
		"TimeSeriesQuery TieredPrometheusTimeSeriesQuery",
		"Variable TieredPrometheusLabelNamesVariable",
		"Variable TieredPrometheusLabelValuesVariable",
		"Variable TieredPrometheusPromQLVariable",
		"Explore TieredPrometheusExplorer",
	}, found, string(body))

	// Each kind is a module that the browser can load. The server without web
	// UI does not serve the files, so they are looked at where it unpacked them.
	manifests, err := filepath.Glob(filepath.Join(s.directory, "plugins", "TieredPrometheus*", "mf-manifest.json"))
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
	require.Equal(t, "/plugins/TieredPrometheus/", manifest.MetaData.PublicPath)
	require.FileExists(t, filepath.Join(filepath.Dir(manifests[0]), manifest.MetaData.RemoteEntry.Name))
	require.Len(t, manifest.Exposes, len(found))
	for _, exposed := range manifest.Exposes {
		require.Contains(t, strings.Join(found, " ")+" ", " "+exposed.Name+" ")
	}
}

// persesRefusals are fixtures that Perses itself refuses before the CUE model
// is asked, and what it says.
var persesRefusals = map[string]string{
	"proxy-url-missing": "url cannot be empty",
}

func TestPercliRefusesInvalidDatasources(t *testing.T) {
	s := newSite(t, stack.Perses{}, nil)
	s.login()
	folder := "../../schemas/datasources/tiered-prometheus-datasource/tests/"
	invalid, err := filepath.Glob(folder + "invalid/*.json")
	require.NoError(t, err)
	require.Greater(t, len(invalid), 40)
	for _, file := range invalid {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		t.Run(name, func(t *testing.T) {
			message, err := os.ReadFile(strings.TrimSuffix(file, ".json") + ".error")
			require.NoError(t, err)
			_, expected, _ := strings.Cut(strings.TrimSpace(string(message)), ": ")
			if own, found := persesRefusals[name]; found {
				expected = own
			}
			output, err := s.runPercli("apply", "-f", writeDocuments(t, fixture(t, file)))
			require.Error(t, err, output)
			require.Contains(t, flat(output), flat(expected))
		})
	}
	valid, err := filepath.Glob(folder + "valid/*.json")
	require.NoError(t, err)
	require.Greater(t, len(valid), 5)
	for _, file := range valid {
		output, err := s.runPercli("apply", "-f", writeDocuments(t, fixture(t, file)))
		require.NoError(t, err, "%s: %s", file, output)
	}
}

// Queries and variables live in dashboards, which the server validates without
// saving them. Every example of theirs is judged by the server itself.
func TestPersesJudgesEveryExampleOfADashboard(t *testing.T) {
	s := newSite(t, stack.Perses{}, nil)
	for folder, dashboard := range map[string]func(plugin document) document{
		"queries": func(plugin document) document {
			query := document{"kind": "TimeSeriesQuery", "spec": document{"plugin": plugin}}
			panel := document{"kind": "Panel", "spec": document{
				"display": document{"name": "panel"},
				"plugin":  document{"kind": "TimeSeriesChart", "spec": document{}},
				"queries": []document{query},
			}}
			return document{"duration": "1h", "panels": document{"panel": panel}}
		},
		"variables": func(plugin document) document {
			variables := []document{{"kind": "ListVariable", "spec": document{"name": "variable", "plugin": plugin}}}
			for _, name := range []string{"datasource", "label", "namespace"} { // those that examples refer to
				variables = append(variables, document{"kind": "TextVariable", "spec": document{"name": name, "value": "x"}})
			}
			return document{"duration": "1h", "variables": variables}
		},
	} {
		validate := func(file string) (int, string) {
			body, err := json.Marshal(document{
				"kind":     "Dashboard",
				"metadata": document{"name": "fixture", "project": "fixtures"},
				"spec":     dashboard(examplePlugin(t, file)),
			})
			require.NoError(t, err)
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.perses.URL+"/api/validate/dashboards", bytes.NewReader(body))
			require.NoError(t, err)
			request.Header.Set("Content-Type", "application/json")
			response, err := http.DefaultClient.Do(request)
			require.NoError(t, err)
			defer func() { _ = response.Body.Close() }()
			text, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			return response.StatusCode, string(text)
		}
		for _, file := range examples(t, folder, "valid") {
			status, text := validate(file)
			require.Equal(t, http.StatusOK, status, "%s: %s", file, text)
		}
		for _, file := range examples(t, folder, "invalid") {
			message, err := os.ReadFile(strings.TrimSuffix(file, ".json") + ".error")
			require.NoError(t, err)
			_, expected, _ := strings.Cut(strings.TrimSpace(string(message)), ": ")
			status, text := validate(file)
			require.Equal(t, http.StatusBadRequest, status, "%s: %s", file, text)
			require.Contains(t, flat(text), flat(expected), file)
		}
	}
}

// The one command of the documentation, on a dashboard that Perses has.
func TestDashboardIsTurnedTieredAndBack(t *testing.T) {
	s := newSite(t, stack.Perses{}, nil)
	s.login()
	plugin := func(kind string, spec document) document { return document{"kind": kind, "spec": spec} }
	prometheus := document{"kind": "PrometheusDatasource", "name": "metrics"}
	s.apply(
		document{"kind": "Project", "metadata": document{"name": "shop"}},
		document{"kind": "Dashboard", "metadata": document{"name": "carts", "project": "shop"}, "spec": document{
			"duration": "1h", "layouts": []document{}, // percli writes null where there are none
			"variables": []document{{"kind": "ListVariable", "spec": document{
				"name": "job", "plugin": plugin("PrometheusLabelValuesVariable", document{"labelName": "job", "datasource": prometheus}),
			}}},
			"panels": document{"up": document{"kind": "Panel", "spec": document{
				"display": document{"name": "PrometheusTimeSeriesQuery"},
				"plugin":  plugin("TimeSeriesChart", document{}),
				"queries": []document{{"kind": "TimeSeriesQuery", "spec": document{
					"plugin": plugin("PrometheusTimeSeriesQuery", document{"query": `up{job="$job"}`, "datasource": prometheus}),
				}}},
			}}},
		}},
	)
	spec := func(format string) string {
		output, err := s.runPercli("describe", "dashboard", "carts", "--project", "shop", "-o", format)
		require.NoError(t, err, output)
		_, spec, found := strings.Cut(output, "spec") // before it stands when it was updated
		require.True(t, found, output)
		return spec
	}
	original := spec("json")
	for _, format := range []string{"json", "yaml"} {
		for _, target := range []string{"tiered", "prometheus"} {
			command := exec.CommandContext(t.Context(), "bash", "-o", "pipefail", "-c",
				`"$PERCLI" --percliconfig "$CONFIG" describe dashboard carts --project shop -o "$1" |
				"$TIERPROXY" convert-dashboard --to "$2" | "$PERCLI" --percliconfig "$CONFIG" apply -f -`, "convert", format, target)
			command.Env = append(os.Environ(), "PERCLI="+shared.percliPath, "CONFIG="+s.percli, "TIERPROXY="+shared.tierproxyPath)
			output, err := command.CombinedOutput()
			require.NoError(t, err, "%s", output)
			converted := spec("json")
			if target == "prometheus" {
				require.Equal(t, original, converted)
				continue
			}
			require.Equal(t, 4, strings.Count(converted, `"kind":"Tiered`), converted)
			require.Contains(t, converted, `"name":"PrometheusTimeSeriesQuery"`, "the title of the panel stays")
		}
	}
}

// examples lists the examples of all kinds in a folder of schemas/.
func examples(t *testing.T, folder, judgement string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("../../schemas", folder, "*", "tests", judgement, "*.json"))
	require.NoError(t, err)
	require.Greater(t, len(files), 5)
	return files
}

// examplePlugin reads an example, which is a plugin with its kind and spec.
func examplePlugin(t *testing.T, file string) document {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var plugin document
	require.NoError(t, json.Unmarshal(text, &plugin))
	return plugin
}

// fixture is the global datasource with the plugin of that file.
func fixture(t *testing.T, file string) document {
	t.Helper()
	plugin := examplePlugin(t, file)
	return document{"kind": "GlobalDatasource", "metadata": document{"name": "fixture"}, "spec": document{"plugin": plugin}}
}

// flat is a text without quotes, escapes and line breaks, which percli and CUE
// set each in its own way.
func flat(text string) string {
	return strings.Join(strings.Fields(strings.NewReplacer(`\"`, "", `"`, "", `\\`, `\`).Replace(text)), " ")
}
