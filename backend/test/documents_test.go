//go:build e2e

package e2e

import (
	"archive/tar"
	"compress/gzip"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// prometheusDashboard is one that is not tiered yet.
const prometheusDashboard = `kind: Dashboard
metadata: {name: requests, project: shop}
spec:
  duration: 1h
  panels:
    requests: # of all jobs
      kind: Panel
      spec:
        display: {name: Requests}
        plugin: {kind: TimeSeriesChart, spec: {}}
        queries:
          - kind: TimeSeriesQuery
            spec: {plugin: {kind: PrometheusTimeSeriesQuery, spec: {query: "sum(rate(http_requests_total[5m]))"}}}
  layouts: []
`

// TestDocumentation_CommandsBesidePerses runs the commands that need a Perses and a
// tierproxy.
func TestDocumentation_CommandsBesidePerses(t *testing.T) {
	s := newSite(t, stack.Perses{}, nil)
	shell := newShell(t, s.perses.URL)
	s.login()
	s.apply(document{"kind": "Project", "metadata": document{"name": "shop"}}, s.global("metrics", nil))
	shell.write("dashboard.yaml", prometheusDashboard)
	shell.write("token", "of-a-user") // Nobody asks for it here.
	output, err := shell.run(`percli login "$PERSES" && percli apply -f dashboard.yaml`)
	require.NoError(t, err, output)

	script := commands(t, "perses")
	for name, value := range map[string]string{" NAME ": " requests ", " PROJECT ": " shop ", "http://tierproxy:9190": s.tierproxy.URL} {
		require.Contains(t, script, name)
		script = strings.ReplaceAll(script, name, value)
	}
	output, err = shell.run("cp dashboard.yaml before.yaml\n" + script + "cmp before.yaml dashboard.yaml\n")
	require.NoError(t, err, output)
	require.Regexp(t, `(?m)^reason +at-or-above-threshold$`, output)
	require.Contains(t, s.saved("/api/v1/projects/shop/dashboards/requests"), "TieredPrometheusTimeSeriesQuery")
	tiered, err := os.ReadFile(filepath.Join(shell.directory, "tiered.yaml"))
	require.NoError(t, err)
	require.Equal(t, strings.Replace(prometheusDashboard, "kind: PrometheusTimeSeriesQuery", "kind: TieredPrometheusTimeSeriesQuery", 1), string(tiered))
}

// TestInstallation_OnOneMachine runs the commands of docs/installation.md, from the
// archive of a release to the first query.
func TestInstallation_OnOneMachine(t *testing.T) {
	perses := newSite(t, stack.Perses{}, nil) // Its tierproxy is not the one that is asked.
	shell := newShell(t, perses.perses.URL)
	port, err := stack.FreePort()
	require.NoError(t, err)
	script := commands(t, "machine")
	archive := regexp.MustCompile(`tierproxy-[0-9.]+\.linux-amd64`).FindString(script)
	require.NotEmpty(t, archive)
	release(t, filepath.Join(shell.directory, archive+".tar.gz"), archive)
	for name, to := range map[string]string{
		"localhost:8080": perses.perses.URL, "localhost:9090": shared.hot.URL, "localhost:10902": shared.cold.Query.URL,
		"localhost:9190": fmt.Sprintf("http://127.0.0.1:%d", port),
	} {
		address, err := url.Parse(to)
		require.NoError(t, err)
		require.Contains(t, script, name)
		script = strings.ReplaceAll(script, name, address.Host)
	}
	output, err := shell.run(script)
	require.NoError(t, err, output)
	require.Contains(t, output, "tierproxy.yaml is valid\n")
	require.Regexp(t, `(?m)^ok +hot: .* answers queries`, output)
	require.Regexp(t, `(?m)^ok +cold: .* answers queries`, output)
	require.Regexp(t, `(?m)^X-Tier: (hot|cold)\r$`, output)
	require.Regexp(t, `"resultType":"vector","result":\[\{`, output)
	require.Regexp(t, `(?m)^tier +cold$`, output)
	require.NotRegexp(t, `(?m)^error `, output)
}

// release packs the program as the archive of a release does.
func release(t *testing.T, path, directory string) {
	t.Helper()
	file, err := os.Create(path)
	require.NoError(t, err)
	compressed := gzip.NewWriter(file)
	archive := tar.NewWriter(compressed)
	program, err := os.ReadFile(shared.tierproxyPath)
	require.NoError(t, err)
	require.NoError(t, archive.WriteHeader(&tar.Header{Name: directory + "/tierproxy", Mode: 0o755, Size: int64(len(program))}))
	_, err = archive.Write(program)
	require.NoError(t, err)
	require.NoError(t, archive.Close())
	require.NoError(t, compressed.Close())
	require.NoError(t, file.Close())
}

// TestSystemdUnit_StartsTheProgram runs the command line of the unit for systemd.
func TestSystemdUnit_StartsTheProgram(t *testing.T) {
	unit, err := os.ReadFile("../../deploy/systemd/tierproxy.service")
	require.NoError(t, err)
	line := regexp.MustCompile(`(?m)^ExecStart=(.*)$`).FindStringSubmatch(string(unit))
	require.NotNil(t, line)
	directory := t.TempDir()
	config := filepath.Join(directory, "tierproxy.yaml")
	require.NoError(t, os.WriteFile(config, []byte("hot: {url: "+shared.hot.URL+"}\ncold: {url: "+shared.cold.Query.URL+"}\n"), 0o600))
	replaced := line[1]
	var ports []int
	for _, each := range []string{" :9190", " localhost:9191"} {
		require.Contains(t, replaced, each)
		port, err := stack.FreePort()
		require.NoError(t, err)
		ports = append(ports, port)
		replaced = strings.Replace(replaced, each, fmt.Sprintf(" 127.0.0.1:%d", port), 1)
	}
	fields := strings.Fields(strings.Replace(replaced, "/etc/tierproxy/tierproxy.yaml", config, 1))
	require.Equal(t, "/usr/local/bin/tierproxy", fields[0])
	server, err := stack.Start(t.Context(), stack.Command{
		Name: "tierproxy", Path: shared.tierproxyPath, Arguments: fields[1:], LogDir: directory, ReadyURL: fmt.Sprintf("http://127.0.0.1:%d/-/ready", ports[0]),
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Stop() })
	_, metrics, err := stack.Get(t.Context(), fmt.Sprintf("http://127.0.0.1:%d/metrics", ports[1]), nil)
	require.NoError(t, err)
	require.Contains(t, string(metrics), "tierproxy_build_info")

	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Log("systemd-analyze is not installed: the other lines of the unit are not looked at")
		return
	}
	output, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", "../../deploy/systemd/tierproxy.service").CombinedOutput()
	require.NotContains(t, string(output), "Unknown", "%v", err)
}
