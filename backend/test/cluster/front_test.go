//go:build e2e

package cluster

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// frontPath matches the paths that front mode may send to tierproxy: those of one
// saved datasource, to its last segment.
var frontPath = regexp.MustCompile(`^/proxy/(globaldatasources|projects/[a-z]+/datasources)/[a-z]+/$`)

// applyGatewayAPI makes HTTPRoute known to the API server, with all of its rules.
func applyGatewayAPI(t *testing.T) {
	t.Helper()
	applyDefinitions(t, ofModule(t, "gateway-api", "sigs.k8s.io/gateway-api", "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml"))
}

// ofModule reads a file of a Go module that tools/ requires.
func ofModule(t *testing.T, tool, name, file string) string {
	t.Helper()
	root, err := stack.Root()
	require.NoError(t, err)
	command := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", name)
	command.Dir = filepath.Join(root, "tools", tool)
	output, err := command.Output()
	require.NoError(t, err)
	var module struct{ Dir string }
	require.NoError(t, json.Unmarshal(output, &module))
	text, err := os.ReadFile(filepath.Join(module.Dir, file))
	require.NoError(t, err)
	return string(text)
}

// routed is a path with the Service and the port that it leads to.
type routed struct{ host, path, service, port string }

// routesOf returns what the Ingress, HTTPRoute and Routes of manifests lead where.
func routesOf(t *testing.T, manifests []*unstructured.Unstructured) (found []routed) {
	t.Helper()
	for _, each := range manifests {
		object := each.Object
		switch each.GetKind() {
		case "Ingress":
			ingress := read[networkingv1.Ingress](t, []*unstructured.Unstructured{each}, "Ingress")
			for _, rule := range ingress.Spec.Rules {
				for _, path := range rule.HTTP.Paths {
					require.Equal(t, networkingv1.PathTypePrefix, *path.PathType)
					found = append(found, routed{rule.Host, path.Path, path.Backend.Service.Name, path.Backend.Service.Port.Name})
				}
			}
			require.Nil(t, ingress.Spec.DefaultBackend)
		case "HTTPRoute":
			hosts, _, _ := unstructured.NestedStringSlice(object, "spec", "hostnames")
			require.Len(t, hosts, 1)
			rules, _, _ := unstructured.NestedSlice(object, "spec", "rules")
			for _, rule := range rules {
				backends, _, _ := unstructured.NestedSlice(rule.(map[string]any), "backendRefs")
				require.Len(t, backends, 1)
				backend := backends[0].(map[string]any)
				require.EqualValues(t, 9190, backend["port"])
				matches, _, _ := unstructured.NestedSlice(rule.(map[string]any), "matches")
				require.NotEmpty(t, matches, "without one, everything matches")
				for _, match := range matches {
					path, _, _ := unstructured.NestedString(match.(map[string]any), "path", "value")
					found = append(found, routed{hosts[0], path, backend["name"].(string), "http"})
				}
			}
		case "Route":
			field := func(fields ...string) string {
				value, _, _ := unstructured.NestedString(object, append([]string{"spec"}, fields...)...)
				return value
			}
			found = append(found, routed{field("host"), field("path"), field("to", "name"), field("port", "targetPort")})
		}
	}
	return found
}

// TestFront_OnlyPathsOfDatasourcesLeadToTierproxy applies the manifests of front mode
// to an API server, and looks at what they lead where and whom they let in.
func TestFront_OnlyPathsOfDatasourcesLeadToTierproxy(t *testing.T) {
	applyKinds(t)
	applyGatewayAPI(t)
	for component, ingress := range map[string]struct {
		overlay string
		pod     peer
	}{
		"front-ingress": {"kubernetes", peer{"ingress-nginx", map[string]string{"app.kubernetes.io/name": "ingress-nginx", "app.kubernetes.io/component": "controller"}}},
		"front-gateway": {"kubernetes", peer{"envoy-gateway-system", map[string]string{"app.kubernetes.io/name": "envoy", "app.kubernetes.io/component": "proxy"}}},
		"front-route":   {"openshift", peer{"openshift-ingress", nil}},
	} {
		t.Run(component, func(t *testing.T) {
			manifests, err := shared.renderWith(t.Context(), ingress.overlay, component)
			require.NoError(t, err)
			for _, each := range manifests {
				require.Eventually(t, func() bool {
					err = shared.apply(t.Context(), each, metav1.DryRunAll)
					return err == nil
				}, eventually, 20*time.Millisecond, "%v", func() error { return err })
				if each.GetKind() != "Namespace" && each.GetKind() != "Role" && each.GetKind() != "RoleBinding" && each.GetNamespace() != "" {
					require.Equal(t, "perses", each.GetNamespace(), each.GetName())
				}
			}
			routes := routesOf(t, manifests)
			require.Len(t, routes, 2)
			service := read[corev1.Service](t, manifests, "Service")
			for _, each := range routes {
				require.Regexp(t, frontPath, each.path)
				require.Equal(t, routed{"perses.example.com", each.path, service.Name, service.Spec.Ports[0].Name}, each)
			}
			policy := read[networkingv1.NetworkPolicy](t, manifests, "NetworkPolicy")
			for port, open := range map[string]bool{"http": true, "admin": false} {
				require.Equal(t, open, letsFrom(t, policy, ingress.pod, port), port)
				require.False(t, letsFrom(t, policy, strangerPod, port), port)
			}
			require.True(t, letsFrom(t, policy, persesPod, "http"), "requests through Perses still arrive")
		})
	}
	// The API server notices what is wrong.
	manifests, err := shared.renderWith(t.Context(), "kubernetes", "front-gateway")
	require.NoError(t, err)
	for _, each := range manifests {
		if each.GetKind() == "HTTPRoute" {
			rules, _, _ := unstructured.NestedSlice(each.Object, "spec", "rules")
			rules[0].(map[string]any)["matches"] = []any{map[string]any{"path": map[string]any{"type": "PathPrefix", "value": "/proxy//x"}}}
			require.NoError(t, unstructured.SetNestedSlice(each.Object, rules, "spec", "rules"))
			require.ErrorContains(t, shared.apply(t.Context(), each, metav1.DryRunAll), "must not contain '//'")
		}
	}
}

// letsFrom is lets, for namespaces with the labels that OpenShift gives that of its
// routers.
func letsFrom(t *testing.T, policy *networkingv1.NetworkPolicy, pod peer, port string) bool {
	t.Helper()
	if pod.namespace != "openshift-ingress" {
		return lets(t, policy, pod, port)
	}
	changed := policy.DeepCopy()
	for i, rule := range changed.Spec.Ingress {
		for j, from := range rule.From {
			if from.NamespaceSelector != nil && matches(t, from.NamespaceSelector, map[string]string{"policy-group.network.openshift.io/ingress": ""}) {
				changed.Spec.Ingress[i].From[j].NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": pod.namespace}}
			}
		}
	}
	return lets(t, changed, pod, port)
}
