//go:build e2e

package cluster

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// readValues reads a values file of the chart.
func readValues(t *testing.T, file string) (values map[string]any) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(text, &values))
	return values
}

// leaves returns the paths of the values that a schema does not divide further.
func leaves(schema map[string]any, above ...string) (paths [][]string) {
	properties, _ := schema["properties"].(map[string]any)
	for _, key := range slices.Sorted(maps.Keys(properties)) {
		path := append(slices.Clone(above), key)
		if below := leaves(properties[key].(map[string]any), path...); len(below) > 0 {
			paths = append(paths, below...)
		} else if key != "global" { // helm's own
			paths = append(paths, path)
		}
	}
	return paths
}

// TestChart_EachValueHasAnEffect takes values away from the values files of the tests that set them: the chart then renders
// something else. E2E_VALUES is the number of values; all of them are set in a file in any case.
func TestChart_EachValueHasAnEffect(t *testing.T) {
	number := 8
	if text := os.Getenv("E2E_VALUES"); text != "" {
		var err error
		number, err = strconv.Atoi(text)
		require.NoError(t, err)
	}
	// These files set values that differ from the defaults.
	files := map[string]map[string]any{}
	for _, pattern := range []string{"everything", "*-everything", "minimal", "provisioned"} {
		found, err := filepath.Glob(chartPath(t, "ci/"+pattern+"-values.yaml"))
		require.NoError(t, err)
		for _, file := range found {
			files[file] = readValues(t, file)
		}
	}
	setIn := func(path []string) string {
		for _, file := range slices.Sorted(maps.Keys(files)) {
			if _, found, _ := unstructured.NestedFieldNoCopy(files[file], path...); found {
				return file
			}
		}
		return ""
	}
	paths := leaves(readValues(t, chartPath(t, "values.schema.json")))
	require.Greater(t, len(paths), 60)
	for _, path := range paths {
		require.NotEmpty(t, setIn(path), "no values file below ci/ sets %s to another value than its default", strings.Join(path, "."))
	}
	number = min(number, len(paths))
	for i := range number {
		path := paths[i*len(paths)/number]
		t.Run(strings.Join(path, "."), func(t *testing.T) {
			t.Parallel()
			with, err := helm(t, shared.helmPath, "template", "tierproxy", chartPath(t, ""), "--values", setIn(path))
			require.NoError(t, err, with)
			values := readValues(t, setIn(path))
			unstructured.RemoveNestedField(values, path...)
			text, err := json.Marshal(values)
			require.NoError(t, err)
			file := filepath.Join(t.TempDir(), "values.yaml")
			require.NoError(t, os.WriteFile(file, text, 0o600))
			// An error is an effect, too: other values may need this one.
			without, err := helm(t, shared.helmPath, "template", "tierproxy", chartPath(t, ""), "--values", file)
			require.False(t, err == nil && with == without, "the value changes nothing")
		})
	}
}

// TestChart_IsUsableInAnother renders the chart as a dependency. helm then sets more values, and the schema accepts them.
func TestChart_IsUsableInAnother(t *testing.T) {
	directory := t.TempDir()
	require.NoError(t, os.CopyFS(filepath.Join(directory, "charts", "tierproxy"), os.DirFS(chartPath(t, ""))))
	require.NoError(t, os.WriteFile(filepath.Join(directory, "Chart.yaml"), []byte("{apiVersion: v2, name: metrics, version: 1.0.0}"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(directory, "values.yaml"), []byte("{global: {team: a}, tierproxy: {mode: openshift}}"), 0o600))
	for name, path := range helms(t) {
		output, err := helm(t, path, "template", "metrics", directory)
		require.NoError(t, err, "%s: %s", name, output)
		require.Contains(t, output, "name: metrics-tierproxy-service-ca", name)
	}
}

// TestChart_MonitoringEqualsTheFiles compares the rules, the dashboard and the datasource of the chart with the files of
// deploy/ that kubectl and percli apply.
func TestChart_MonitoringEqualsTheFiles(t *testing.T) {
	file := func(path string) *unstructured.Unstructured {
		text, err := os.ReadFile(chartPath(t, "../../"+path))
		require.NoError(t, err)
		return parse(string(text))[0]
	}
	values := filepath.Join(t.TempDir(), "values.yaml")
	require.NoError(t, os.WriteFile(values, []byte("{alerts: {enabled: true}, dashboard: {enabled: true, kind: PersesDashboard}, datasource: {enabled: true, kind: PersesGlobalDatasource}}"), 0o600))
	output, err := helm(t, shared.helmPath, "template", "tierproxy", chartPath(t, ""), "--values", values)
	require.NoError(t, err, output)
	compared := 0
	for _, each := range parse(output) {
		expected := map[string]string{"PrometheusRule": "monitoring/prometheusrule.yaml", "PersesGlobalDatasource": "examples/persesglobaldatasource.yaml", "PersesDashboard": "monitoring/dashboard.json"}[each.GetKind()]
		if expected == "" {
			continue
		}
		compared++
		want, got := file(expected).Object["spec"], each.Object["spec"]
		if each.GetKind() == "PersesDashboard" {
			got = got.(map[string]any)["config"]
		}
		require.Empty(t, differences(each.GetKind()+": ", want, got))
	}
	require.Equal(t, 3, compared)
}
