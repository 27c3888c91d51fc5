//go:build e2e

package e2e

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

const monitoring = "../../deploy/monitoring/"

// promtool runs promtool over some input and returns what it printed.
func promtool(t *testing.T, input []byte, arguments ...string) (string, error) {
	t.Helper()
	path, err := stack.Tool(t.Context(), os.Stderr, "promtool")
	require.NoError(t, err)
	command := exec.CommandContext(t.Context(), path, arguments...)
	command.Stdin = bytes.NewReader(input)
	output, err := command.CombinedOutput()
	return string(output), err
}

func TestAlertRules_PassTheirTests(t *testing.T) {
	output, err := promtool(t, nil, "check", "rules", "--lint=all", "--lint-fatal", monitoring+"rules.yaml")
	require.NoError(t, err, output)
	output, err = promtool(t, nil, "test", "rules", monitoring+"rules_test.yaml")
	require.NoError(t, err, output)
}

// TestMetrics_PassPromtool checks all that tierproxy serves, the metrics of its
// process included.
func TestMetrics_PassPromtool(t *testing.T) {
	s := newSite(t, stack.Perses{}, nil)
	status, body, err := stack.Get(t.Context(), s.tierproxy.URL+"/metrics", nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, string(body), "\ntierproxy_build_info{")
	output, err := promtool(t, body, "check", "metrics")
	require.NoError(t, err, output)
	require.Empty(t, output)
}

func TestPerses_AcceptsOurDashboard(t *testing.T) {
	s := newSite(t, stack.Perses{}, nil)
	s.login()
	for _, file := range []string{"project.yaml", "dashboard.json"} {
		output, err := s.runPercli("apply", "-f", monitoring+file)
		require.NoError(t, err, output)
	}
	require.Contains(t, s.saved("/api/v1/projects/tierproxy/dashboards/tierproxy"), "TieredPrometheusTimeSeriesQuery")
}
