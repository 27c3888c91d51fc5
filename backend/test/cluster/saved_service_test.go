//go:build e2e

package cluster

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/panel"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/webui"
)

// persesSite is a real Perses with the archive of the plugin, and percli.
type persesSite struct {
	server         *stack.Server
	percli, config string
}

func startPerses(t *testing.T) *persesSite {
	t.Helper()
	persesPath, err := stack.Tool(t.Context(), os.Stderr, "perses")
	require.NoError(t, err)
	s := &persesSite{config: filepath.Join(t.TempDir(), "percli.json")}
	s.percli, err = stack.Tool(t.Context(), os.Stderr, "percli")
	require.NoError(t, err)
	lines, err := stack.Script(t.Context(), os.Stderr, "scripts/plugin")
	require.NoError(t, err)
	directory, err := os.MkdirTemp(shared.dir, "perses-")
	require.NoError(t, err)
	root, err := stack.Root()
	require.NoError(t, err)
	_, err = stack.Script(t.Context(), os.Stderr, "scripts/npm-install")
	require.NoError(t, err)
	modules, err := webui.Modules(root) // The kinds of panels.
	require.NoError(t, err)
	require.NoError(t, webui.WriteServerPart(filepath.Join(directory, "modules"), modules))
	s.server, err = stack.Perses{
		Dir: directory, Archives: []string{filepath.Dir(lines[len(lines)-1])}, Modules: filepath.Join(directory, "modules"),
	}.Start(t.Context(), persesPath)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.server.Stop() })
	s.run(t, "login", s.server.URL)
	return s
}

func (s *persesSite) run(t *testing.T, arguments ...string) {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), s.percli, append([]string{"--percliconfig", s.config}, arguments...)...).CombinedOutput()
	require.NoError(t, err, "percli %v: %s", arguments, output)
}

// apply applies a document with percli.
func (s *persesSite) apply(t *testing.T, text string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "document.yaml")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	s.run(t, "apply", "-f", file)
}

// teamService returns a Service of namespace monitoring, and the EndpointSlice by
// which a pod stands behind it.
func teamService(p *pair, pod *pod, name string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {namespace: monitoring, name: %[1]s}
spec: {selector: {app: team}, ports: [{name: grpc, port: 10901}, {name: http-query, port: 9090, targetPort: http}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {namespace: monitoring, name: %[1]s-abcde, labels: {kubernetes.io/service-name: %[1]s}}
addressType: IPv4
ports: [{name: grpc, port: 10901}, {name: http-query, port: 9090}]
endpoints: [{addresses: [%[2]s], conditions: {ready: true}, targetRef: {kind: Pod, name: %[3]s, namespace: monitoring}}]
`, name, p.at[pod], pod.name)
}

// savedTeam returns a datasource whose tiers are the Services of teamService in a
// namespace, and whose proxy has the given URL.
func savedTeam(kind, metadata, proxy, namespace string) string {
	return fmt.Sprintf(`
kind: %s
metadata: %s
spec:
  default: false
  plugin:
    kind: TieredPrometheusDatasource
    spec:
      hot: {service: {namespace: %[3]s, name: team-prometheus, port: http-query}}
      cold: {service: {namespace: %[3]s, name: team-thanos, port: 9090, scheme: http}}
      proxy: {kind: HTTPProxy, spec: {url: "%[4]s"}}
`, kind, metadata, namespace, proxy)
}

// TestSavedService_FollowsItsService applies a datasource that names Services with
// percli, and asks through Perses while the servers behind them come and go. A
// namespace that the operator does not allow is refused.
func TestSavedService_FollowsItsService(t *testing.T) {
	p := newReplicaPair(t)
	pod := p.list[0]
	require.NoError(t, p.start(t.Context(), pod))
	maySeeServices(t, "monitoring")
	service := func(name string) string { return teamService(p, pod, name) }
	apply(t, service("team-prometheus")+"---\n"+service("team-thanos"))
	base, err := url.Parse(pod.server.URL)
	require.NoError(t, err)
	p.pods.route("team-thanos.monitoring.svc:9090", base.Host)

	perses := startPerses(t)
	g := newGateway(t, p.pods, func(config *datasource.Config) {
		config.Perses.URL = perses.server.URL
		config.Cold.URL = ""
		config.Discovery.Namespaces = []string{"monitoring"}
	})
	saved := func(kind, metadata, path, namespace string) {
		t.Helper()
		perses.apply(t, savedTeam(kind, metadata, g.url+path, namespace))
	}
	const global, project, refused = "/proxy/globaldatasources/team", "/proxy/projects/shop/datasources/team", "/proxy/globaldatasources/refused"
	perses.apply(t, "{kind: Project, metadata: {name: shop}, spec: {}}")
	saved("GlobalDatasource", "{name: team}", global, "monitoring")
	saved("Datasource", "{name: team, project: shop}", project, "monitoring")
	saved("GlobalDatasource", "{name: refused}", refused, "kube-system")

	end := time.Now().Truncate(minute).Add(-2 * minute)
	recent := panel.RangeQuery(`sum by (job) (rate(http_requests_total[4m]))`, end, 5*minute, minute)
	direct, err := (&runningGateway{url: pod.server.URL}).ask(t.Context(), "query_range", recent)
	require.NoError(t, err)
	require.Contains(t, direct.body, `"values"`)
	through := func(path string, header http.Header) answer {
		t.Helper()
		got, err := (&runningGateway{url: perses.server.URL + path}).askWith(t.Context(), "query_range", recent, header)
		require.NoError(t, err)
		return got
	}
	for _, path := range []string{global, project} {
		require.Eventually(t, func() bool { return through(path, nil).tier == "hot" }, eventually, 50*time.Millisecond, "%+v", through(path, nil))
		for _, choice := range []string{"auto", "hot", "cold"} {
			got := through(path, http.Header{"X-Tier-Choice": {choice}})
			require.Equal(t, http.StatusOK, got.status, got.body)
			require.JSONEq(t, string(direct.Data), string(got.Data), "%s at %s", choice, path)
			require.Equal(t, choice == "cold", got.tier == "cold", "%+v", got)
		}
	}

	got := through(refused, nil)
	require.Equal(t, http.StatusForbidden, got.status, got.body)
	require.Contains(t, got.body, `"errorType":"forbidden","error":"the hot tier of global datasource \"refused\" is the Service kube-system/team-prometheus, `+
		`which the datasource may not use: ask the operator to list namespace kube-system in the gateway's discovery.namespaces"`)

	// What happens to the Service is seen through Perses.
	remove(t, parse(service("team-prometheus"))[0])
	require.Eventually(t, func() bool { return through(global, nil).reason == "hot-unavailable" }, eventually, 50*time.Millisecond)
	got = through(global, http.Header{"X-Tier-Choice": {"hot"}})
	require.GreaterOrEqual(t, got.status, http.StatusInternalServerError)
	require.Contains(t, got.body, "there is no Service monitoring/team-prometheus")
	apply(t, service("team-prometheus"))
	require.Eventually(t, func() bool { return through(global, nil).tier == "hot" }, eventually, 50*time.Millisecond)
}
