//go:build e2e

package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// TestManifests_AreValid applies every manifest of deploy/ to an API server, and
// lets tierproxy check every configuration in them.
func TestManifests_AreValid(t *testing.T) {
	applyKinds(t)
	root, err := stack.Root()
	require.NoError(t, err)
	example, err := os.ReadFile(filepath.Join(root, "deploy", "examples", "persesglobaldatasource.yaml"))
	require.NoError(t, err)
	sets := map[string][]*unstructured.Unstructured{"examples/persesglobaldatasource.yaml": parse(string(example))}
	overlays, err := os.ReadDir(filepath.Join(root, "deploy", "overlays"))
	require.NoError(t, err)
	for _, each := range overlays {
		name := "overlays/" + each.Name()
		sets[name], err = shared.render(t.Context(), name)
		require.NoError(t, err)
		sets[name+" with all components"], err = shared.renderWith(t.Context(), each.Name(), "selector", "all-namespaces")
		require.NoError(t, err)
	}
	require.Len(t, sets, 7)
	for name, manifests := range sets {
		t.Run(name, func(t *testing.T) {
			require.NotEmpty(t, manifests)
			configurations := 0
			for _, each := range manifests {
				// Right after a kind was added, the server may not serve it yet.
				require.Eventually(t, func() bool {
					err = shared.apply(t.Context(), each, metav1.DryRunAll)
					return err == nil
				}, soon, 20*time.Millisecond, "%v", func() error { return err })
				if text, found, _ := unstructured.NestedString(each.Object, "data", "tierproxy.yaml"); found {
					configurations++
					file := filepath.Join(t.TempDir(), "tierproxy.yaml")
					require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
					_, err := config.Load(file)
					require.NoError(t, err, text)
				}
				if each.GetKind() == "Deployment" {
					requireRestricted(t, each)
				}
			}
			if name != "examples/persesglobaldatasource.yaml" {
				require.Equal(t, 1, configurations)
				requireMetricsForPrometheusAlone(t, manifests)
			}
		})
	}
	// The dry run notices what is wrong.
	wrong := sets["overlays/kubernetes"][0].DeepCopy()
	require.NoError(t, unstructured.SetNestedField(wrong.Object, "x", "unknownField"))
	require.ErrorContains(t, shared.apply(t.Context(), wrong, metav1.DryRunAll), "unknownField")
}

// TestManifests_ComponentsOfDiscovery checks what the components add to the rights and the egress
// of each overlay.
func TestManifests_ComponentsOfDiscovery(t *testing.T) {
	for overlay, account := range map[string]string{"kubernetes": "tierproxy", "openshift": "tierproxy", "sidecar": "perses"} {
		t.Run(overlay, func(t *testing.T) {
			manifests, err := shared.renderWith(t.Context(), overlay, "selector", "all-namespaces")
			require.NoError(t, err)
			want := []rbacv1.PolicyRule{
				{APIGroups: []string{""}, Resources: []string{"services"}, Verbs: []string{"list", "watch"}},
				{APIGroups: []string{"discovery.k8s.io"}, Resources: []string{"endpointslices"}, Verbs: []string{"list", "watch"}},
			}
			require.Equal(t, want, read[rbacv1.Role](t, manifests, "Role").Rules)
			require.Equal(t, want, read[rbacv1.ClusterRole](t, manifests, "ClusterRole").Rules)
			subjects := []rbacv1.Subject{{Kind: "ServiceAccount", Name: account, Namespace: "perses"}}
			require.Equal(t, subjects, read[rbacv1.RoleBinding](t, manifests, "RoleBinding").Subjects)
			bindings := 0
			for _, each := range manifests {
				if each.GetKind() == "ClusterRoleBinding" && each.GetName() == "tierproxy-discovery" {
					bindings++
					require.Equal(t, subjects, read[rbacv1.ClusterRoleBinding](t, []*unstructured.Unstructured{each}, "ClusterRoleBinding").Subjects)
				}
			}
			require.Equal(t, 1, bindings)
			policy := read[networkingv1.NetworkPolicy](t, manifests, "NetworkPolicy")
			require.True(t, letsOut(t, policy, peer{"shop", prometheusPod.labels}, 9090))
			require.False(t, letsOut(t, policy, peer{"shop", prometheusPod.labels}, 8080))
			require.False(t, letsOut(t, policy, otherPod, 9090))
		})
	}
}

// applyKinds makes the kinds of the Prometheus operator, of the Perses operator and
// of OpenShift known to the API server.
func applyKinds(t *testing.T) {
	t.Helper()
	crds, err := os.ReadFile("testdata/crds.yaml")
	require.NoError(t, err)
	applyDefinitions(t, string(crds))
	for _, each := range []string{"persesdashboards", "persesglobaldatasources"} {
		applyDefinitions(t, ofModule(t, "perses-operator", "github.com/perses/perses-operator", "config/crd/bases/perses.dev_"+each+".yaml"))
	}
}

// applyDefinitions applies custom resource definitions and waits until their kinds
// are served.
func applyDefinitions(t *testing.T, text string) {
	t.Helper()
	for _, crd := range parse(text) {
		require.NoError(t, shared.apply(t.Context(), crd))
		require.Eventually(t, func() bool {
			got, err := shared.resource(crd).Get(t.Context(), crd.GetName(), metav1.GetOptions{})
			require.NoError(t, err)
			conditions, _, _ := unstructured.NestedSlice(got.Object, "status", "conditions")
			for _, each := range conditions {
				condition, _ := each.(map[string]any)
				if condition["type"] == "Established" && condition["status"] == "True" {
					return true
				}
			}
			return false
		}, eventually, 20*time.Millisecond)
	}
}

// requireMetricsForPrometheusAlone checks that the metrics are on the admin address
// alone and take a token, that monitors and network policies name ports that
// exist, and that Perses gets neither to that port nor to its token.
func requireMetricsForPrometheusAlone(t *testing.T, manifests []*unstructured.Unstructured) {
	t.Helper()
	list := func(object map[string]any, fields ...string) []map[string]any {
		found, _, err := unstructured.NestedSlice(object, fields...)
		require.NoError(t, err)
		var maps []map[string]any
		for _, each := range found {
			maps = append(maps, each.(map[string]any))
		}
		return maps
	}
	containerPorts, servicePorts, mounts := map[any]any{}, map[any]any{}, map[any][]any{}
	var admin string
	for _, each := range manifests {
		switch each.GetKind() {
		case "Deployment":
			secrets := map[any]any{} // by volume
			for _, volume := range list(each.Object, "spec", "template", "spec", "volumes") {
				secrets[volume["name"]], _, _ = unstructured.NestedString(volume, "secret", "secretName")
			}
			for _, container := range list(each.Object, "spec", "template", "spec", "containers") {
				for _, port := range list(container, "ports") {
					containerPorts[port["name"]] = port["containerPort"]
				}
				for _, mount := range list(container, "volumeMounts") {
					secret := secrets[mount["name"]]
					mounts[secret] = append(mounts[secret], container["name"])
				}
				arguments, _, _ := unstructured.NestedStringSlice(container, "args")
				for _, argument := range arguments {
					if _, port, found := strings.Cut(argument, "--web.admin-address=:"); found {
						admin = port
					}
				}
			}
		case "Service":
			for _, port := range list(each.Object, "spec", "ports") {
				servicePorts[port["name"]] = port["targetPort"]
			}
		}
	}
	require.NotEmpty(t, admin)
	monitors, open := 0, map[any][]map[string]any{}
	requireToken := func(endpoint map[string]any) {
		secret, _, _ := unstructured.NestedString(endpoint, "authorization", "credentials", "name")
		require.Equal(t, []any{"tierproxy"}, mounts[secret], "only tierproxy and Prometheus have the token")
	}
	for _, each := range manifests {
		switch each.GetKind() {
		case "ServiceMonitor":
			for _, endpoint := range list(each.Object, "spec", "endpoints") {
				monitors++
				require.Equal(t, admin, fmt.Sprint(containerPorts[servicePorts[endpoint["port"]]]))
				requireToken(endpoint)
			}
		case "PodMonitor":
			for _, endpoint := range list(each.Object, "spec", "podMetricsEndpoints") {
				monitors++
				require.Equal(t, admin, fmt.Sprint(containerPorts[endpoint["port"]]))
				requireToken(endpoint)
			}
		case "NetworkPolicy":
			for _, rule := range list(each.Object, "spec", "ingress") {
				for _, port := range list(rule, "ports") {
					require.Contains(t, containerPorts, port["port"])
					open[fmt.Sprint(containerPorts[port["port"]])] = append(open[fmt.Sprint(containerPorts[port["port"]])], list(rule, "from")...)
				}
			}
		}
	}
	require.Equal(t, 1, monitors)
	require.Len(t, open[admin], 1, "the metrics are for Prometheus")
	require.Contains(t, open[admin][0], "namespaceSelector", "which is in another namespace than Perses")
}

// requireRestricted checks what the restricted Pod Security Standard asks for,
// and that nothing writes to the root file system.
func requireRestricted(t *testing.T, deployment *unstructured.Unstructured) {
	t.Helper()
	pod, _, err := unstructured.NestedMap(deployment.Object, "spec", "template", "spec")
	require.NoError(t, err)
	nonRoot, _, _ := unstructured.NestedBool(pod, "securityContext", "runAsNonRoot")
	require.True(t, nonRoot)
	profile, _, _ := unstructured.NestedString(pod, "securityContext", "seccompProfile", "type")
	require.Equal(t, "RuntimeDefault", profile)
	count := 0
	for _, list := range []string{"initContainers", "containers"} {
		containers, _, _ := unstructured.NestedSlice(pod, list)
		for _, each := range containers {
			container, _ := each.(map[string]any)
			count++
			readOnly, _, _ := unstructured.NestedBool(container, "securityContext", "readOnlyRootFilesystem")
			require.True(t, readOnly, container["name"])
			escalation, found, _ := unstructured.NestedBool(container, "securityContext", "allowPrivilegeEscalation")
			require.True(t, found && !escalation, container["name"])
			dropped, _, _ := unstructured.NestedStringSlice(container, "securityContext", "capabilities", "drop")
			require.Equal(t, []string{"ALL"}, dropped, container["name"])
			_, limited, _ := unstructured.NestedString(container, "resources", "limits", "memory")
			require.True(t, limited, container["name"])
		}
	}
	require.NotZero(t, count)
}
