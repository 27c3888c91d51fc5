//go:build e2e

package cluster

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resolve"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/certificates"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/fakeperses"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/running"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// tenancyPort is port 9092 of OpenShift's monitoring: kube-rbac-proxy asks the
// API server whether the caller may read pods in the namespace that the URL
// names, and prom-label-proxy confines the query to it.
type tenancyPort struct {
	prometheus *stack.Server
	address    string // of kube-rbac-proxy, on loopback

	mutex   sync.Mutex
	methods map[string]int // of the requests that were let through
}

// startTenancyPort starts the three, as OpenShift configures them. The names of
// the namespaces are the values of the label job.
func startTenancyPort(t *testing.T, authority *certificates.Authority, host string) *tenancyPort {
	t.Helper()
	programs := map[string]string{}
	for _, name := range []string{"prom-label-proxy", "kube-rbac-proxy"} {
		path, err := stack.Tool(t.Context(), os.Stderr, name)
		require.NoError(t, err)
		programs[name] = path
	}
	p := newReplicaPair(t)
	require.NoError(t, p.start(t.Context(), p.list[0]))
	port := &tenancyPort{prometheus: p.list[0].server, methods: map[string]int{}}

	labels := running.FreeAddress(t)
	server, err := stack.Start(t.Context(), stack.Command{
		Name: "prom-label-proxy", Path: programs["prom-label-proxy"], LogDir: p.dir, ReadyURL: "http://" + labels + "/healthz",
		Arguments: []string{
			"-insecure-listen-address", labels, "-upstream", port.prometheus.URL, "-label", "job", "-query-param", "namespace",
			"-enable-label-apis", "-error-on-replace",
		},
	})
	require.NoError(t, err)
	t.Cleanup(server.Kill)
	upstream, err := url.Parse("http://" + labels)
	require.NoError(t, err)
	// It lets everything pass, and counts.
	counting := httptest.NewServer(port.count(httputil.NewSingleHostReverseProxy(upstream)))
	t.Cleanup(counting.Close)

	apply(t, `
apiVersion: v1
kind: ServiceAccount
metadata: {namespace: openshift-monitoring, name: kube-rbac-proxy}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: kube-rbac-proxy}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "system:auth-delegator"}
subjects: [{kind: ServiceAccount, namespace: openshift-monitoring, name: kube-rbac-proxy}]
`)
	kubeconfig, err := shared.account(t.Context(), monitoring, "kube-rbac-proxy")
	require.NoError(t, err)
	rules := filepath.Join(p.dir, "kube-rbac-proxy.yaml")
	require.NoError(t, os.WriteFile(rules, []byte(`
authorization:
  rewrites: {byQueryParameter: {name: namespace}}
  resourceAttributes: {apiVersion: metrics.k8s.io/v1beta1, resource: pods, namespace: "{{ .Value }}"}
`), 0o600))
	certificate, key := authority.Issue(time.Now().Add(time.Hour), host).Write(t, p.dir)
	port.address = running.FreeAddress(t)
	health, err := stack.FreePort()
	require.NoError(t, err)
	server, err = stack.Start(t.Context(), stack.Command{
		Name: "kube-rbac-proxy", Path: programs["kube-rbac-proxy"], LogDir: p.dir, ReadyClient: anyCertificate,
		ReadyURL: fmt.Sprintf("https://127.0.0.1:%d/healthz", health),
		Arguments: []string{
			"--secure-listen-address", port.address, "--upstream", counting.URL, "--config-file", rules, "--kubeconfig", kubeconfig,
			"--tls-cert-file", certificate, "--tls-private-key-file", key, "--proxy-endpoints-port", fmt.Sprint(health),
		},
	})
	require.NoError(t, err)
	t.Cleanup(server.Kill)
	return port
}

func (p *tenancyPort) count(next http.Handler) http.HandlerFunc {
	return func(w http.ResponseWriter, request *http.Request) {
		p.mutex.Lock()
		p.methods[request.Method]++
		p.mutex.Unlock()
		next.ServeHTTP(w, request)
	}
}

// passed returns how many requests of a method got through so far.
func (p *tenancyPort) passed(method string) int {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.methods[method]
}

// mayReadPods lets the gateway do something with pods of a namespace, as a plain
// viewer may get them.
func mayReadPods(t *testing.T, namespace string, verbs ...string) {
	t.Helper()
	apply(t, fmt.Sprintf(`
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {namespace: %[1]s, name: pods-%[2]s}
rules: [{apiGroups: ["", metrics.k8s.io], resources: [pods], verbs: [%[2]s]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {namespace: %[1]s, name: pods-%[2]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: pods-%[2]s}
subjects: [{kind: ServiceAccount, namespace: perses, name: tierproxy}]
`, namespace, strings.Join(verbs, "-")))
}

// tenancyGateway starts a gateway whose cold tier is the tenancy port. Its account may
// get pods in the namespaces cart and checkout, and create them in checkout.
func tenancyGateway(t *testing.T) (*runningGateway, *tenancyPort) {
	t.Helper()
	const host = "thanos-querier." + monitoring + ".svc"
	for _, namespace := range []string{"cart", "checkout", "search"} {
		apply(t, fmt.Sprintf("{apiVersion: v1, kind: Namespace, metadata: {name: %s}}", namespace))
	}
	mayReadPods(t, "cart", "get")
	mayReadPods(t, "checkout", "get")
	mayReadPods(t, "checkout", "create")
	dir := t.TempDir()
	authority := certificates.NewAuthority(t)
	port := startTenancyPort(t, authority, host)
	kubeconfig, err := os.ReadFile(shared.kubeconfig)
	require.NoError(t, err)
	_, token, found := strings.Cut(string(kubeconfig), "token: ")
	require.True(t, found)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "token"), []byte(token), 0o600))
	certificates.Replace(t, filepath.Join(dir, "service-ca.crt"), authority.PEM)

	perses := fakeperses.Start(t, "", map[string]fakeperses.Datasource{
		"/projects/cart/datasources/metrics": {}, "/projects/both/datasources/metrics": {}, "/projects/search/datasources/metrics": {},
		"/projects/checkout/datasources/metrics": {}, "/projects/some/datasources/metrics": {}, "/projects/all/datasources/metrics": {},
	})
	pods := &network{}
	pods.route(host+":9092", port.address)
	g := newGateway(t, pods, func(settings *config.Config) {
		settings.Discovery.Enabled = false
		settings.Perses.URL = perses.URL
		settings.ServiceAccount.TokenPath = filepath.Join(dir, "token")
		settings.Cold.URL = "https://" + host + ":9092"
		settings.Cold.Tenancy = config.TenancyConfig{Parameter: "namespace", ProbeNamespace: "cart"}
		settings.Enforcement.Label = "job"
		settings.Projects = []config.ProjectConfig{
			{Name: "cart", Namespaces: []string{"cart"}}, {Name: "checkout", Namespaces: []string{"checkout"}}, {Name: "both", Namespaces: []string{"checkout", "cart"}},
			{Name: "search", Namespaces: []string{"search"}}, {Name: "some", Namespaces: []string{"cart", "search"}}, {Name: "all", AllNamespaces: true},
		}
	})
	g.waitFor(t, eventually, "the tier is available", func(health resolve.Health) bool { return health.Tiers["cold"].Available })
	return g, port
}

// tenancyCase is a request of a confined project, with what a Prometheus without
// confinement is asked for the same.
type tenancyCase struct {
	endpoint      string
	asked         url.Values
	cart, allowed url.Values // of namespace cart, and of cart and checkout
}

// tenancyCases returns a request to each endpoint, of the ten minutes before end.
func tenancyCases(end time.Time) []tenancyCase {
	at := fmt.Sprint(end.Unix())
	window := url.Values{"start": {fmt.Sprint(end.Add(-10 * minute).Unix())}, "end": {at}}
	with := func(more url.Values) url.Values {
		merged := url.Values{}
		for _, each := range []url.Values{window, more} {
			for name, values := range each {
				merged[name] = values
			}
		}
		return merged
	}
	return []tenancyCase{
		{
			"query", url.Values{"time": {at}, "query": {`sum by (job, code) (rate(http_requests_total[5m]))`}},
			url.Values{"time": {at}, "query": {`sum by (job, code) (rate(http_requests_total{job="cart"}[5m]))`}},
			url.Values{"time": {at}, "query": {`sum by (job, code) (rate(http_requests_total{job=~"cart|checkout"}[5m]))`}},
		},
		{
			"query_range", with(url.Values{"step": {"60"}, "query": {`max_over_time(sum(up{job!="checkout"})[5m:1m]) or vector(7)`}}),
			with(url.Values{"step": {"60"}, "query": {`max_over_time(sum(up{job="cart"})[5m:1m]) or vector(7)`}}),
			with(url.Values{"step": {"60"}, "query": {`max_over_time(sum(up{job=~"cart|checkout",job!="checkout"})[5m:1m]) or vector(7)`}}),
		},
		{
			"series", with(url.Values{"match[]": {"up", "process_resident_memory_bytes"}}),
			with(url.Values{"match[]": {`up{job="cart"}`, `process_resident_memory_bytes{job="cart"}`}}),
			with(url.Values{"match[]": {`up{job=~"cart|checkout"}`, `process_resident_memory_bytes{job=~"cart|checkout"}`}}),
		},
		{"labels", window, with(url.Values{"match[]": {`{job="cart"}`}}), with(url.Values{"match[]": {`{job=~"cart|checkout"}`}})},
		{"label/instance/values", window, with(url.Values{"match[]": {`{job="cart"}`}}), with(url.Values{"match[]": {`{job=~"cart|checkout"}`}})},
	}
}

// requireTenancy asks for a case as two projects and compares the answers with those of
// the Prometheus behind the port.
func (g *runningGateway) requireTenancy(t *testing.T, port *tenancyPort, test tenancyCase) {
	t.Helper()
	for project, plain := range map[string]url.Values{"cart": test.cart, "both": test.allowed} {
		expected, err := (&runningGateway{url: port.prometheus.URL}).ask(t.Context(), test.endpoint, plain)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, expected.status, expected.body)
		require.Greater(t, len(expected.Data), 35, "an empty answer proves nothing")
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			if method == http.MethodPost && strings.HasSuffix(test.endpoint, "/values") {
				continue
			}
			posted := port.passed(http.MethodPost)
			got := g.askTenant(t, method, project, test.endpoint, test.asked)
			require.Equal(t, http.StatusOK, got.status, "%s %s as %s: %s", method, test.endpoint, project, got.body)
			require.JSONEq(t, string(expected.Data), string(got.Data), "%s %s as %s", method, test.endpoint, project)
			require.Equal(t, posted, port.passed(http.MethodPost), "a viewer may not create")
		}
	}
}

// TestTenancy_PortOfOpenShift asks through the tenancy port with the token of the
// ServiceAccount, the rights of a plain viewer and the namespaces of the request.
// Nothing else is reached through it.
func TestTenancy_PortOfOpenShift(t *testing.T) {
	g, port := tenancyGateway(t)
	end := time.Now().Truncate(minute).Add(-2 * minute)
	for _, test := range tenancyCases(end) {
		g.requireTenancy(t, port, test)
	}
	t.Run("namespaces that the account may not see", func(t *testing.T) {
		up := url.Values{"query": {"up"}}
		for _, project := range []string{"search", "some"} {
			got := g.askTenant(t, http.MethodGet, project, "query", up)
			require.Equal(t, http.StatusForbidden, got.status, "%s: %s", project, got.body)
			require.Contains(t, got.body, `"errorType":"forbidden"`)
			require.NotContains(t, got.body, `"metric"`)
		}
		got := g.askTenant(t, http.MethodGet, "all", "query", up)
		require.Equal(t, http.StatusForbidden, got.status, got.body)
		require.Contains(t, got.body, "answers only requests that are confined to namespaces")
	})
	t.Run("queries that name a namespace", func(t *testing.T) {
		// The port refuses a query that names another namespace beside its own, as
		// OpenShift configures it. One that names another alone does not reach the port.
		got := g.askTenant(t, http.MethodGet, "cart", "query", url.Values{"query": {`up{job="search"}`}})
		require.Equal(t, http.StatusOK, got.status, got.body)
		require.JSONEq(t, `{"status":"success","data":{"resultType":"vector","result":[]}}`, got.body)
		got = g.askTenant(t, http.MethodGet, "cart", "query", url.Values{"query": {`up{job="search"} or up`}})
		require.Equal(t, http.StatusBadRequest, got.status, got.body)
		require.Contains(t, got.body, "conflicting label matcher")

		// It puts a matcher by equality in, which absent() makes a label of.
		got = g.askTenant(t, http.MethodGet, "cart", "query", url.Values{"query": {`absent(nothing)`}})
		require.Contains(t, got.body, `"metric":{"job":"cart"}`)
	})
	t.Run("a POST needs the right to create", func(t *testing.T) {
		// What does not fit in a URL stays a POST: then the gateway needs the right to
		// create, as the port understands it.
		long := url.Values{"time": {fmt.Sprint(end.Unix())}, "query": {`sum(up{instance!="` + strings.Repeat("x", 8<<10) + `"})`}}
		got := g.askTenant(t, http.MethodPost, "cart", "query", long)
		require.Equal(t, http.StatusForbidden, got.status, got.body)
		got = g.askTenant(t, http.MethodPost, "checkout", "query", long)
		require.Equal(t, http.StatusOK, got.status, got.body)
		require.Contains(t, got.body, `"3"]`)
		require.NotZero(t, port.passed(http.MethodPost))
	})
}

// askTenant asks the datasource metrics of a project.
func (g *runningGateway) askTenant(t *testing.T, method, project, endpoint string, parameters url.Values) answer {
	t.Helper()
	target, body := g.url+"/proxy/projects/"+project+"/datasources/metrics/api/v1/"+endpoint, io.Reader(http.NoBody)
	if method == http.MethodPost {
		body = strings.NewReader(parameters.Encode())
	} else {
		target += "?" + parameters.Encode()
	}
	request, err := http.NewRequestWithContext(t.Context(), method, target, body)
	require.NoError(t, err)
	request.Header.Set("Authorization", "Bearer alice")
	if method == http.MethodPost {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	got := answer{status: response.StatusCode, tier: response.Header.Get("X-Tier"), reason: response.Header.Get("X-Tier-Reason"), body: string(text)}
	if json.Valid(text) {
		require.NoError(t, json.Unmarshal(text, &got))
	}
	return got
}
