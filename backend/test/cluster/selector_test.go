//go:build e2e

package cluster

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/tiered-prometheus/tiered-prometheus/backend/internal/discovery"
)

// selecting looks for the Prometheus of each cluster, in all namespaces.
var selecting = discovery.Reference{Selector: "tiered=hot", AllNamespaces: true, Port: "web"}

// hotService is a Service that selecting matches. fields is added to its spec.
func hotService(namespace, name, fields string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {namespace: %s, name: %s, labels: {tiered: hot}}
spec: {ports: [{name: web, port: 9090}]%s}
`, namespace, name, fields)
}

// maySeeAllServices gives a ServiceAccount the rights of the component all-namespaces of deploy/.
func maySeeAllServices(t *testing.T, account string) {
	t.Helper()
	manifests, err := shared.renderWith(t.Context(), "kubernetes", "all-namespaces")
	require.NoError(t, err)
	for _, each := range manifests {
		switch each.GetKind() {
		case "ClusterRoleBinding":
			require.NoError(t, unstructured.SetNestedField(each.Object, account, "roleRef", "name"))
			require.NoError(t, unstructured.SetNestedSlice(each.Object, []any{map[string]any{"kind": "ServiceAccount", "namespace": "perses", "name": account}}, "subjects"))
			fallthrough
		case "ClusterRole":
			each.SetName(account)
			require.NoError(t, shared.apply(t.Context(), each))
			t.Cleanup(func() { remove(t, each) })
		}
	}
}

// found is a Discovery that counts the changes of each reference.
type found struct {
	*discovery.Discovery
	mutex   sync.Mutex
	changes map[discovery.Reference]int
}

// newFound starts a Discovery with the rights of an account of its own, which has none yet.
func newFound(t *testing.T, account string) *found {
	t.Helper()
	apply(t, fmt.Sprintf(`{apiVersion: v1, kind: ServiceAccount, metadata: {namespace: perses, name: %s}}`, account))
	kubeconfig, err := shared.account(t.Context(), "perses", account)
	require.NoError(t, err)
	f := &found{changes: map[discovery.Reference]int{}}
	f.Discovery, err = discovery.New(discovery.Options{Kubeconfig: kubeconfig, OnChange: func(reference discovery.Reference, _ *discovery.Service) {
		f.mutex.Lock()
		defer f.mutex.Unlock()
		f.changes[reference]++
	}})
	require.NoError(t, err)
	f.Start(t.Context())
	return f
}

// changesOf returns how many changes of a reference there were.
func (f *found) changesOf(reference discovery.Reference) int {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return f.changes[reference]
}

// waitFor waits until a reference finds the named Services in a state, with a message that
// contains a text.
func (f *found) waitFor(t *testing.T, reference discovery.Reference, state discovery.State, message string, names ...string) discovery.Found {
	t.Helper()
	deadline := time.Now().Add(eventually)
	for {
		got := f.ResolveAll(reference)
		var gotNames []string
		for _, service := range got.Services {
			require.Equal(t, discovery.Reference{Namespace: service.Namespace, Name: service.Name, Port: reference.Port}, service)
			gotNames = append(gotNames, service.String())
		}
		if got.State == state && strings.Join(gotNames, " ") == strings.Join(names, " ") && strings.Contains(got.Message, message) && (message != "" || got.Message == "") {
			return got
		}
		require.True(t, time.Now().Before(deadline), "state %s: %v, %s", got.State, gotNames, got.Message)
		select {
		case <-t.Context().Done():
			t.FailNow()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// TestDiscovery_SelectorFindsServicesOfAllNamespaces adds, changes and removes Services that a
// selector matches.
func TestDiscovery_SelectorFindsServicesOfAllNamespaces(t *testing.T) {
	f := newFound(t, "finds-all")
	f.waitFor(t, selecting, discovery.StateForbidden, `the gateway may not list services in all namespaces: its ClusterRole needs the rule {apiGroups: [""], resources: [services], verbs: [list, watch]}`)
	maySeeAllServices(t, "finds-all")
	f.waitFor(t, selecting, discovery.StateAbsent, "no Service in any namespace matches tiered=hot")

	apply(t, hotService("shop", "b", "")+"---\n"+hotService("monitoring", "c", "")+"---\n"+hotService("monitoring", "a", ""))
	f.waitFor(t, selecting, discovery.StateFound, "", "monitoring/a", "monitoring/c", "shop/b")
	f.WaitAll(t.Context(), selecting)
	for _, service := range f.ResolveAll(selecting).Services {
		require.Equal(t, "http://"+service.Name+"."+service.Namespace+".svc:9090", f.Resolve(service).URL())
		require.Equal(t, 1, f.changesOf(service))
	}
	before := f.changesOf(selecting)
	apply(t, hotService("shop", "headless", ", clusterIP: None")+"---\n"+hotService("shop", "d", "")+"---\n"+strings.Replace(hotService("shop", "portless", ""), "name: web", "name: grpc", 1))
	f.waitFor(t, selecting, discovery.StateFound, "the selector tiered=hot matches Services that tierproxy does not use: the Service shop/headless is headless, and its namespace has another one that matches; the Service shop/portless has no port web: it has grpc 9090",
		"monitoring/a", "monitoring/c", "shop/b", "shop/d")
	require.Greater(t, f.changesOf(selecting), before)
	require.Equal(t, discovery.StateUnknown, f.Resolve(selecting).State, "exactly one Service is another question")

	// One loses the label, one is removed, and one waits for its finalizer.
	apply(t, strings.Replace(hotService("shop", "b", ""), "tiered: hot", "tiered: cold", 1))
	held := parse(strings.Replace(hotService("shop", "d", ""), "labels:", "finalizers: [example.com/wait], labels:", 1))[0]
	require.NoError(t, shared.apply(t.Context(), held))
	remove(t, parse(hotService("monitoring", "a", ""))[0])
	remove(t, held)
	f.waitFor(t, selecting, discovery.StateFound, "the Service shop/d is being deleted", "monitoring/c", "shop/headless")
	require.NoError(t, shared.apply(t.Context(), parse(hotService("shop", "d", ""))[0])) // Without the finalizer.
	const left = "tierproxy does not use: the Service shop/portless has no port web"
	f.waitFor(t, selecting, discovery.StateFound, left, "monitoring/c", "shop/headless")

	shared.kubernetes.StopServer()
	stale := f.waitFor(t, selecting, discovery.StateFound, "the Kubernetes API cannot be reached since ", "monitoring/c", "shop/headless")
	require.NoError(t, shared.kubernetes.StartServer(t.Context()))
	require.True(t, stale.Stale)
	f.waitFor(t, selecting, discovery.StateFound, left, "monitoring/c", "shop/headless")
	require.Eventually(t, func() bool { return !f.ResolveAll(selecting).Stale }, eventually, 10*time.Millisecond)
}

// TestDiscovery_SelectorFindsServicesOfOneNamespace needs a Role there, and ignores others.
func TestDiscovery_SelectorFindsServicesOfOneNamespace(t *testing.T) {
	f := newFound(t, "finds-some")
	apply(t, hotService("shop", "b", "")+"---\n"+hotService("monitoring", "c", "")+"---\n"+hotService("monitoring", "a", ""))
	reference := discovery.Reference{Namespace: "monitoring", Selector: "tiered=hot", Port: "web"}
	f.waitFor(t, reference, discovery.StateForbidden, "the gateway may not list services in namespace monitoring: its Role there or its ClusterRole needs the rule")
	apply(t, `
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {namespace: monitoring, name: finds-some}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: finds-some}
subjects: [{kind: ServiceAccount, namespace: perses, name: finds-some}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {namespace: monitoring, name: finds-some}
rules: [{apiGroups: ["", discovery.k8s.io], resources: [services, endpointslices], verbs: [list, watch]}]
`)
	f.waitFor(t, reference, discovery.StateFound, "", "monitoring/a", "monitoring/c")
	remove(t, parse(hotService("monitoring", "a", ""))[0])
	f.waitFor(t, reference, discovery.StateFound, "", "monitoring/c")
}
