//go:build e2e

package cluster

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/discovery"
	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/resolve"
)

// openshift is a Service as the cluster monitoring of OpenShift has it.
func openshift(name string, port int) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {namespace: %s, name: %s, labels: {app: %s}, annotations: {service.beta.openshift.io/serving-cert-secret-name: %s-tls}}
spec:
  selector: {app: %s}
  ports: [{name: web, port: %d, targetPort: web}, {name: tenancy, port: 9092, targetPort: tenancy}]
`, monitoring, name, name, name, name, port)
}

// slice is an EndpointSlice with pods by name and address; one without an
// address is not ready.
func slice(service string, port int, pods ...string) string {
	text := fmt.Sprintf(`
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {namespace: %s, name: %s-abcde, labels: {kubernetes.io/service-name: %s}}
addressType: IPv4
ports: [{name: web, port: %d}]
endpoints:
`, monitoring, service, service, port)
	for _, pod := range pods {
		name, address, _ := strings.Cut(pod, "=")
		address, notReady := strings.CutSuffix(address, "!")
		text += fmt.Sprintf("- {addresses: [%s], conditions: {ready: %t}, targetRef: {kind: Pod, name: %s, namespace: %s}}\n", address, !notReady, name, monitoring)
	}
	if len(pods) == 0 {
		return strings.Replace(text, "endpoints:\n", "endpoints: []\n", 1)
	}
	return text
}

// TestDiscovery_FindsFollowsAndLosesServices configures nothing and uses the rights
// of deploy/.
func TestDiscovery_FindsFollowsAndLosesServices(t *testing.T) {
	g := newGateway(t, &network{}, nil)
	g.waitFor(t, eventually, "nothing is there yet", func(health resolve.Health) bool {
		return health.ServiceDiscovery && health.Services["hot"].State == "absent" && health.Services["cold"].State == "absent" &&
			health.PrometheusEndpoint == "" && health.ThanosEndpoint == "https://thanos-querier.openshift-monitoring.svc:9091"
	})
	took := map[string]time.Duration{}

	apply(t, openshift("prometheus-k8s", 9091)+"---\n"+slice("prometheus-k8s", 9091, "prometheus-k8s-0=10.0.0.1", "prometheus-k8s-1=10.0.0.2")+"---\n"+openshift("thanos-querier", 9091))
	took["appear"] = g.waitFor(t, soon, "both appear", func(health resolve.Health) bool {
		return health.PrometheusEndpoint == "https://prometheus-k8s.openshift-monitoring.svc:9091" && health.Services["hot"].State == "found" &&
			health.ThanosEndpoint == "https://thanos-querier.openshift-monitoring.svc:9091" && health.Services["cold"].State == "no-ready-endpoints" &&
			len(health.Tiers["hot"].Replicas) == 2
	})
	require.Equal(t, "the Service openshift-monitoring/thanos-querier has no endpoints: its selector matches no pod, or no pod has started", g.Health().Services["cold"].Message)

	apply(t, slice("prometheus-k8s", 9091, "prometheus-k8s-0=10.0.0.1", "prometheus-k8s-1=10.0.0.2!"))
	took["one is not ready"] = g.waitFor(t, soon, "a pod is not ready", func(health resolve.Health) bool {
		replicas := health.Tiers["hot"].Replicas
		return len(replicas) == 2 && replicas[0].Ready && !replicas[1].Ready
	})
	apply(t, slice("prometheus-k8s", 9091, "prometheus-k8s-0=10.0.0.1!"))
	took["none is ready"] = g.waitFor(t, soon, "no pod is ready", func(health resolve.Health) bool {
		return health.Services["hot"].State == "no-ready-endpoints" && health.Services["hot"].Endpoints == 1
	})

	apply(t, openshift("prometheus-k8s", 19091))
	took["another port"] = g.waitFor(t, soon, "the port changes", func(health resolve.Health) bool {
		return health.PrometheusEndpoint == "https://prometheus-k8s.openshift-monitoring.svc:19091"
	})
	apply(t, openshift("prometheus-k8s", 19091)+"  type: ExternalName\n  externalName: localhost\n")
	took["another type"] = g.waitFor(t, soon, "the type changes", func(health resolve.Health) bool {
		return health.Services["hot"].State == "unusable" && health.PrometheusEndpoint == ""
	})

	remove(t, parse(openshift("prometheus-k8s", 1))[0])
	took["vanish"] = g.waitFor(t, soon, "it vanishes", func(health resolve.Health) bool {
		_, there := health.Tiers["hot"]
		return health.Services["hot"].State == "absent" && !there && health.PrometheusEndpoint == ""
	})
	t.Logf("followed within %v", took)
}

// TestDiscovery_NamesAMissingRight takes each part of the rights of deploy/ away.
// They are the smallest that suffice, and the gateway names the missing one.
func TestDiscovery_NamesAMissingRight(t *testing.T) {
	apply(t, openshift("prometheus-k8s", 9091)+"---\n"+slice("prometheus-k8s", 9091, "prometheus-k8s-0=10.0.0.1"))
	manifests, err := shared.render(t.Context(), "overlays/openshift")
	require.NoError(t, err)
	var role *unstructured.Unstructured
	for _, each := range manifests {
		if each.GetKind() == "Role" {
			role = each
		}
	}
	rules, _, err := unstructured.NestedSlice(role.Object, "rules")
	require.NoError(t, err)
	services := `its Role there or its ClusterRole needs the rule {apiGroups: [""], resources: [services], verbs: [list, watch], resourceNames: [prometheus-k8s]}`
	slices := `its Role there or its ClusterRole needs the rule {apiGroups: ["discovery.k8s.io"], resources: [endpointslices], verbs: [list, watch]}`
	without := func(rule int, field, value string) []any {
		changed := unstructured.Unstructured{Object: map[string]any{"rules": rules}}
		copied, _, _ := unstructured.NestedSlice(changed.DeepCopy().Object, "rules")
		if field == "" {
			return append(copied[:rule], copied[rule+1:]...)
		}
		kept := []any{}
		for _, each := range copied[rule].(map[string]any)[field].([]any) {
			if each != value {
				kept = append(kept, each)
			}
		}
		copied[rule].(map[string]any)[field] = kept
		return copied
	}
	for name, each := range map[string]struct {
		rules   []any
		state   discovery.State
		message string
	}{
		"all of them":      {rules, discovery.StateFound, ""},
		"services":         {without(0, "", ""), discovery.StateForbidden, "the gateway may not list services in namespace openshift-monitoring: " + services},
		"list services":    {without(0, "verbs", "list"), discovery.StateForbidden, "the gateway may not list services in namespace openshift-monitoring: " + services},
		"watch services":   {without(0, "verbs", "watch"), discovery.StateFound, "the gateway may not watch services in namespace openshift-monitoring: " + services},
		"the Service":      {without(0, "resourceNames", "prometheus-k8s"), discovery.StateForbidden, "the gateway may not list services in namespace openshift-monitoring: " + services},
		"endpoints":        {without(1, "", ""), discovery.StateFound, "the gateway may not list endpointslices in namespace openshift-monitoring: " + slices},
		"list endpoints":   {without(1, "verbs", "list"), discovery.StateFound, "the gateway may not list endpointslices in namespace openshift-monitoring: " + slices},
		"watch endpoints":  {without(1, "verbs", "watch"), discovery.StateFound, "the gateway may not watch endpointslices in namespace openshift-monitoring: " + slices},
		"everything there": {[]any{}, discovery.StateForbidden, "the gateway may not list services in namespace openshift-monitoring: " + services},
	} {
		t.Run(name, func(t *testing.T) {
			account := "without-" + strings.ReplaceAll(strings.ToLower(name), " ", "-")
			changed := role.DeepCopy()
			changed.SetName(account)
			require.NoError(t, unstructured.SetNestedSlice(changed.Object, each.rules, "rules"))
			require.NoError(t, shared.apply(t.Context(), changed))
			apply(t, fmt.Sprintf(`
apiVersion: v1
kind: ServiceAccount
metadata: {namespace: perses, name: %[1]s}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {namespace: %[2]s, name: %[1]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: %[1]s}
subjects: [{kind: ServiceAccount, namespace: perses, name: %[1]s}]
`, account, monitoring))
			kubeconfig, err := shared.account(t.Context(), "perses", account)
			require.NoError(t, err)
			found, err := discovery.New(discovery.Options{Kubeconfig: kubeconfig, OnChange: func(discovery.Reference, *discovery.Service) {}})
			require.NoError(t, err)
			found.Start(t.Context())
			reference := discovery.Reference{Namespace: monitoring, Name: "prometheus-k8s"}
			deadline := time.Now().Add(eventually)
			for {
				// Rights take a moment to be known to the server.
				got := found.Resolve(reference)
				if got.State == each.state && strings.HasPrefix(got.Message, each.message) && (got.Message == "") == (each.message == "") {
					break
				}
				require.True(t, time.Now().Before(deadline), "state %s: %s", got.State, got.Message)
				<-time.After(20 * time.Millisecond)
			}
		})
	}
}

// TestDiscovery_APIServerGoesAway checks that the last known state counts meanwhile,
// that health says so, and that changes are followed again afterwards.
func TestDiscovery_APIServerGoesAway(t *testing.T) {
	apply(t, openshift("prometheus-k8s", 9091)+"---\n"+slice("prometheus-k8s", 9091, "prometheus-k8s-0=10.0.0.1"))
	g := newGateway(t, &network{}, nil)
	g.waitFor(t, eventually, "it is found", func(health resolve.Health) bool { return health.Services["hot"].State == "found" })
	shared.kubernetes.StopServer()
	took := g.waitFor(t, soon, "the API server is away", func(health resolve.Health) bool { return health.Services["hot"].Stale })
	health := g.Health()
	require.Equal(t, "found", health.Services["hot"].State)
	require.Equal(t, "https://prometheus-k8s.openshift-monitoring.svc:9091", health.PrometheusEndpoint)
	require.Contains(t, health.Services["hot"].Message, "the Kubernetes API cannot be reached since ")
	require.NoError(t, shared.kubernetes.StartServer(t.Context()))
	back := g.waitFor(t, eventually, "the API server is back", func(health resolve.Health) bool { return !health.Services["hot"].Stale })
	apply(t, openshift("prometheus-k8s", 19091))
	g.waitFor(t, soon, "changes are followed again", func(health resolve.Health) bool {
		return health.PrometheusEndpoint == "https://prometheus-k8s.openshift-monitoring.svc:19091"
	})
	t.Logf("noticed within %s that it is away, and within %s that it is back", took, back)
}

// TestDiscovery_ConfigurationWins configures a URL. The gateway then watches no
// Service.
func TestDiscovery_ConfigurationWins(t *testing.T) {
	apply(t, openshift("prometheus-k8s", 9091)+"---\n"+openshift("thanos-querier", 9091))
	g := newGateway(t, &network{}, func(settings *config.Config) { settings.Hot.URL = "https://prometheus.example:9090" })
	g.waitFor(t, eventually, "cold is found", func(health resolve.Health) bool { return health.Services["cold"].State != "unknown" })
	health := g.Health()
	require.Equal(t, "https://prometheus.example:9090", health.PrometheusEndpoint)
	require.NotContains(t, health.Services, "hot")
	off := newGateway(t, &network{}, func(settings *config.Config) { settings.Discovery.Enabled = false })
	require.False(t, off.Health().ServiceDiscovery)
	require.Empty(t, off.Health().Services)
	require.Empty(t, off.Health().PrometheusEndpoint)
}

// TestDiscovery_FindsAConfiguredService configures any Service as a tier, by its
// name or by its labels.
func TestDiscovery_FindsAConfiguredService(t *testing.T) {
	apply(t, `
apiVersion: v1
kind: Service
metadata: {namespace: monitoring, name: kube-prometheus-stack-prometheus, labels: {app: prometheus}}
spec: {clusterIP: None, ports: [{name: http-web, port: 9090}, {name: reloader-web, port: 8080, appProtocol: https}]}
`)
	maySeeServices(t, "monitoring")
	g := newGateway(t, &network{}, func(settings *config.Config) {
		settings.Discovery.Hot = config.ServiceConfig{Namespace: "monitoring", Selector: "app=prometheus"}
		settings.Discovery.Cold = config.ServiceConfig{Namespace: "monitoring", Name: "kube-prometheus-stack-prometheus", Port: "8080"}
		settings.Discovery.Namespaces = []string{"monitoring"}
	})
	g.waitFor(t, eventually, "both are found", func(health resolve.Health) bool {
		return health.Services["hot"].Name == "monitoring/kube-prometheus-stack-prometheus" && health.Services["hot"].State == "no-ready-endpoints" &&
			health.ThanosEndpoint == "https://kube-prometheus-stack-prometheus.monitoring.svc:8080"
	})

	// A Service in a datasource: only where the operator allows the namespace.
	check := func(namespace, name string) string {
		spec := fmt.Sprintf(`{"hot":{"service":{"namespace":%q,"name":%q}},"proxy":{"kind":"HTTPProxy","spec":{"url":"http://tierproxy:9190/proxy/globaldatasources/metrics"}}}`, namespace, name)
		response, err := http.Post(g.url+"/api/v1/datasources/check", "application/json", strings.NewReader(spec))
		require.NoError(t, err)
		defer func() { _ = response.Body.Close() }()
		text, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		return string(text)
	}
	require.Contains(t, check("kube-system", "secret"), "which the datasource may not use: ask the operator to list namespace kube-system")
	require.Eventually(t, func() bool {
		return strings.Contains(check("monitoring", "nobody"), "there is no Service monitoring/nobody")
	}, eventually, 20*time.Millisecond)
	require.Eventually(t, func() bool {
		return strings.Contains(check("monitoring", "kube-prometheus-stack-prometheus"), `"address":"http://kube-prometheus-stack-prometheus.monitoring.svc:9090"`)
	}, eventually, 20*time.Millisecond)

	apply(t, `{apiVersion: v1, kind: Service, metadata: {namespace: monitoring, name: another, labels: {app: prometheus}}, spec: {ports: [{port: 9090}]}}`)
	g.waitFor(t, soon, "the other Service is used, and not the headless one", func(health resolve.Health) bool {
		return health.Services["hot"].Name == "monitoring/another"
	})
}
