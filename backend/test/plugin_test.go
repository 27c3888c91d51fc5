//go:build e2e

package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// persesRefusals are fixtures that Perses itself refuses before the CUE model
// is asked, and what it says.
var persesRefusals = map[string]string{
	"proxy-url-missing": "url cannot be empty",
}

func TestPercli_RefusesInvalidDatasources(t *testing.T) {
	s := newSite(t, stack.Perses{}, nil)
	s.login()
	folder := "../../schemas/datasources/tiered-prometheus-datasource/tests/"
	invalid, err := filepath.Glob(folder + "invalid/*.json")
	require.NoError(t, err)
	require.Greater(t, len(invalid), 40)
	for _, file := range invalid {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		t.Run(name, func(t *testing.T) {
			expected := expectedMessage(t, file)
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

// TestConvertDashboard_OfPersesThereAndBack runs the one command of the
// documentation on a dashboard that Perses has.
func TestConvertDashboard_OfPersesThereAndBack(t *testing.T) {
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

// expectedMessage is what the author of an invalid example reads, without the
// path before it.
func expectedMessage(t *testing.T, file string) string {
	t.Helper()
	if own, found := persesRefusals[strings.TrimSuffix(filepath.Base(file), ".json")]; found {
		return own
	}
	message, err := os.ReadFile(strings.TrimSuffix(file, ".json") + ".error")
	require.NoError(t, err)
	_, expected, _ := strings.Cut(strings.TrimSpace(string(message)), ": ")
	return expected
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
