package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	tieredQuery     = "plugin: {kind: TieredPrometheusTimeSeriesQuery, spec: {query: up, tier: hot}}\n"
	prometheusQuery = "plugin: {kind: PrometheusTimeSeriesQuery, spec: {query: up}}\n"
)

// runConvert runs the subcommand and returns both outputs and the exit status.
func runConvert(t *testing.T, input string, arguments ...string) (stdout, stderr string, status int) {
	t.Helper()
	command := tierproxy(t, nil, append([]string{"convert-dashboard"}, arguments...)...)
	var out, err bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = strings.NewReader(input), &out, &err
	if failure := command.Run(); failure != nil {
		var exit *exec.ExitError
		require.ErrorAs(t, failure, &exit)
		status = exit.ExitCode()
	}
	return out.String(), err.String(), status
}

func TestConvertDashboard_ConvertsAndReverts(t *testing.T) {
	stdout, stderr, status := runConvert(t, tieredQuery, "--to", "prometheus")
	require.Zero(t, status)
	require.Equal(t, prometheusQuery, stdout)
	require.Equal(t, "plugin.spec.tier: hot dropped: a PrometheusDatasource has no tiers\n", stderr)

	file := filepath.Join(t.TempDir(), "dashboard.yaml")
	require.NoError(t, os.WriteFile(file, []byte(prometheusQuery), 0o600))
	stdout, stderr, status = runConvert(t, "", "--to=tiered", "--datasource", "metrics", file)
	require.Zero(t, status)
	require.Equal(t, "plugin: {kind: TieredPrometheusTimeSeriesQuery, spec: {datasource: {kind: TieredPrometheusDatasource, name: metrics}, query: up}}\n", stdout)
	require.Empty(t, stderr)

	stdout, stderr, status = runConvert(t, prometheusQuery, "--to", "prometheus", "-")
	require.Zero(t, status)
	require.Equal(t, prometheusQuery, stdout)
	require.Contains(t, stderr, "the document has nothing to convert to prometheus")
}

func TestConvertDashboard_RestoresWhatGrafanaHad(t *testing.T) {
	grafana := filepath.Join(t.TempDir(), "grafana.json")
	require.NoError(t, os.WriteFile(grafana, []byte(`{"panels": [{"title": "Up", "targets": [{"refId": "A", "expr": "up", "instant": true, "exemplar": true}]}]}`), 0o600))
	const migrated = `{"spec": {"panels": {"0": {"spec": {"display": {"name": "Up"}, "queries": [{"spec": {"plugin": {"kind": "PrometheusTimeSeriesQuery", "spec": {"query": "up"}}}}]}}}}}`
	stdout, stderr, status := runConvert(t, migrated, "--to", "tiered", "--grafana", grafana)
	require.Zero(t, status, stderr)
	require.Contains(t, stdout, `"instant": true`)
	require.Equal(t, "panel \"Up\": the exemplars of query A are lost\n", stderr)
}

func TestConvertDashboard_ReportsMistakes(t *testing.T) {
	for expected, c := range map[string]struct {
		status    int
		input     string
		arguments []string
	}{
		"set --to tiered or --to prometheus":         {2, "{}", nil},
		`"grafana" is neither tiered nor prometheus`: {1, "{}", []string{"--to", "grafana"}},
		`"b" is one file too many`:                   {2, "{}", []string{"--to", "tiered", "a", "b"}},
		"unknown flag: --from":                       {2, "{}", []string{"--from", "tiered"}},
		"no such file or directory":                  {1, "{}", []string{"--to", "tiered", "/does/not/exist"}},
		"/dev/null is empty, and no Grafana":         {1, "{}", []string{"--to", "tiered", "--grafana", "/dev/null"}},
		"open /does/not/exist.json: no such file":    {1, "{}", []string{"--to", "tiered", "--grafana", "/does/not/exist.json"}},
		"read the document as YAML":                  {1, "a: [", []string{"--to", "tiered"}},
	} {
		stdout, stderr, status := runConvert(t, c.input, c.arguments...)
		require.Equal(t, c.status, status, stderr)
		require.Contains(t, stderr, expected)
		require.Empty(t, stdout)
	}
}
