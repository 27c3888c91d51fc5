//go:build e2e

package cluster

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// peer is a pod that talks or is talked to.
type peer struct {
	namespace string
	labels    map[string]string
}

var (
	persesPod     = peer{"perses", map[string]string{"app.kubernetes.io/name": "perses", "app.kubernetes.io/instance": "perses"}}
	otherPod      = peer{"perses", map[string]string{"app.kubernetes.io/name": "other"}}
	strangerPod   = peer{"shop", map[string]string{"app.kubernetes.io/name": "perses"}}
	prometheusPod = peer{"monitoring", map[string]string{"app.kubernetes.io/name": "prometheus"}}
)

// matches reports whether a selector takes labels. A nil one takes nothing.
func matches(t *testing.T, selector *metav1.LabelSelector, set map[string]string) bool {
	t.Helper()
	compiled, err := metav1.LabelSelectorAsSelector(selector)
	require.NoError(t, err)
	return compiled.Matches(labels.Set(set))
}

// isPeer reports whether one of the peers of a rule is a pod, by the rules of the
// Kubernetes API: no peers at all are everybody.
func isPeer(t *testing.T, peers []networkingv1.NetworkPolicyPeer, of string, pod peer) bool {
	t.Helper()
	for _, each := range peers {
		if each.IPBlock != nil {
			continue
		}
		namespace := pod.namespace == of
		if each.NamespaceSelector != nil {
			namespace = matches(t, each.NamespaceSelector, map[string]string{"kubernetes.io/metadata.name": pod.namespace})
		}
		if namespace && (each.PodSelector == nil || matches(t, each.PodSelector, pod.labels)) {
			return true
		}
	}
	return len(peers) == 0
}

func hasPort(ports []networkingv1.NetworkPolicyPort, port intstr.IntOrString) bool {
	for _, each := range ports {
		if each.Port != nil && *each.Port == port {
			return true
		}
	}
	return len(ports) == 0
}

// lets reports whether a policy lets a pod talk to a port of those it is for.
func lets(t *testing.T, policy *networkingv1.NetworkPolicy, pod peer, port string) bool {
	t.Helper()
	for _, rule := range policy.Spec.Ingress {
		if isPeer(t, rule.From, policy.Namespace, pod) && hasPort(rule.Ports, intstr.FromString(port)) {
			return true
		}
	}
	return false
}

// letsOut reports whether a policy lets those it is for talk to a port of a pod.
func letsOut(t *testing.T, policy *networkingv1.NetworkPolicy, pod peer, port int) bool {
	t.Helper()
	for _, rule := range policy.Spec.Egress {
		if isPeer(t, rule.To, policy.Namespace, pod) && hasPort(rule.Ports, intstr.FromInt(port)) {
			return true
		}
	}
	return false
}

// read reads the one manifest of a kind.
func read[T any](t *testing.T, manifests []*unstructured.Unstructured, kind string) *T {
	t.Helper()
	var found *T
	for _, each := range manifests {
		if each.GetKind() == kind {
			require.Nil(t, found, "there are several %s", kind)
			found = new(T)
			require.NoError(t, runtime.DefaultUnstructuredConverter.FromUnstructured(each.Object, found))
		}
	}
	require.NotNil(t, found, "there is no %s", kind)
	return found
}

// TestNetworkPolicies_AllowWhatIsNeeded checks that the policies select our pods
// only, not others in the namespace of Perses, and allow the connections that are
// needed.
func TestNetworkPolicies_AllowWhatIsNeeded(t *testing.T) {
	for _, overlay := range []string{"kubernetes", "openshift", "sidecar"} {
		t.Run(overlay, func(t *testing.T) {
			manifests, err := shared.render(t.Context(), "overlays/"+overlay)
			require.NoError(t, err)
			policy := read[networkingv1.NetworkPolicy](t, manifests, "NetworkPolicy")
			deployment := read[appsv1.Deployment](t, manifests, "Deployment")
			own := deployment.Spec.Template.Labels
			requireEgress(t, overlay, policy)
			require.True(t, matches(t, &policy.Spec.PodSelector, own))
			require.False(t, matches(t, &policy.Spec.PodSelector, otherPod.labels), "other pods of the namespace are none of its business")
			if overlay == "sidecar" {
				for _, who := range []peer{otherPod, strangerPod, prometheusPod} {
					require.True(t, lets(t, policy, who, "http"), "Perses is for everybody")
					require.Equal(t, who.namespace == "monitoring", lets(t, policy, who, "tierproxy-admin"), who)
					require.False(t, lets(t, policy, who, "tierproxy"), who)
				}
				return
			}
			require.False(t, matches(t, &policy.Spec.PodSelector, persesPod.labels), "Perses stays reachable")
			prometheus := prometheusPod
			if overlay == "openshift" {
				prometheus.namespace = "openshift-user-workload-monitoring"
			}
			for _, who := range []peer{persesPod, otherPod, strangerPod, prometheus} {
				require.Equal(t, who.namespace == "perses" && who.labels["app.kubernetes.io/name"] == "perses", lets(t, policy, who, "http"), who)
				require.Equal(t, who.namespace == prometheus.namespace, lets(t, policy, who, "admin"), who)
			}
			require.True(t, letsOut(t, policy, persesPod, 8080))
			require.False(t, letsOut(t, policy, otherPod, 8080))
		})
	}
}

// requireEgress checks that a policy lets out what its overlay configures: the
// tiers, DNS and the Kubernetes API, and nothing else.
func requireEgress(t *testing.T, overlay string, policy *networkingv1.NetworkPolicy) {
	t.Helper()
	named := func(namespace, name string) peer {
		return peer{namespace, map[string]string{"app.kubernetes.io/name": name}}
	}
	hot, cold := named("monitoring", "prometheus"), named("monitoring", "thanos-query")
	hotPort, coldPort, dnsPort := 9090, 10902, 53
	dns := peer{"kube-system", map[string]string{"k8s-app": "kube-dns"}}
	if overlay == "openshift" {
		hot, cold, dns = named(monitoring, "prometheus"), named(monitoring, "thanos-query"), named("openshift-dns", "dns")
		hotPort, coldPort, dnsPort = 9091, 9091, 5353
	}
	require.Contains(t, policy.Spec.PolicyTypes, networkingv1.PolicyTypeEgress)
	require.True(t, letsOut(t, policy, hot, hotPort))
	require.True(t, letsOut(t, policy, cold, coldPort))
	require.True(t, letsOut(t, policy, dns, dnsPort))
	for _, other := range []peer{named(hot.namespace, "grafana"), named("shop", "prometheus"), named("shop", "thanos-query"), named("kube-system", "other"), strangerPod} {
		for _, port := range []int{80, hotPort, coldPort, dnsPort} {
			require.False(t, letsOut(t, policy, other, port), "%v %d", other, port)
		}
	}
	for _, port := range []int{22, 80, 8080, 8443} {
		require.False(t, letsOut(t, policy, hot, port), port)
	}
	for address, reached := range map[string]bool{"10.0.0.1": true, "192.168.1.1": true, "8.8.8.8": false, "169.254.169.254": false} {
		require.Equal(t, reached, letsOutTo(t, policy, address, 6443), "the Kubernetes API is in a private network: %s", address)
		require.False(t, letsOutTo(t, policy, address, 80), address)
	}
}

// letsOutTo reports whether a policy lets those it is for talk to a port of an
// address outside of the cluster's pods.
func letsOutTo(t *testing.T, policy *networkingv1.NetworkPolicy, address string, port int) bool {
	t.Helper()
	for _, rule := range policy.Spec.Egress {
		if !hasPort(rule.Ports, intstr.FromInt(port)) {
			continue
		}
		if len(rule.To) == 0 {
			return true
		}
		for _, each := range rule.To {
			if each.IPBlock != nil && netip.MustParsePrefix(each.IPBlock.CIDR).Contains(netip.MustParseAddr(address)) {
				return true
			}
		}
	}
	return false
}

func TestManifests_SelectorsSelectTheirOwnPods(t *testing.T) {
	for _, overlay := range []string{"kubernetes", "openshift", "sidecar"} {
		t.Run(overlay, func(t *testing.T) {
			manifests, err := shared.render(t.Context(), "overlays/"+overlay)
			require.NoError(t, err)
			deployment := read[appsv1.Deployment](t, manifests, "Deployment")
			service := read[corev1.Service](t, manifests, "Service")
			selectors := []*metav1.LabelSelector{deployment.Spec.Selector, {MatchLabels: service.Spec.Selector}}
			monitor := "PodMonitor"
			monitored := deployment.Spec.Template.Labels
			if overlay != "sidecar" {
				budget := read[policyv1.PodDisruptionBudget](t, manifests, "PodDisruptionBudget")
				selectors = append(selectors, budget.Spec.Selector)
				monitor, monitored = "ServiceMonitor", service.Labels
			}
			for _, each := range selectors {
				require.NotNil(t, each)
				require.True(t, matches(t, each, deployment.Spec.Template.Labels), each)
				require.False(t, matches(t, each, otherPod.labels), each)
			}
			for _, each := range manifests {
				if each.GetKind() != monitor {
					continue
				}
				found, _, err := unstructured.NestedStringMap(each.Object, "spec", "selector", "matchLabels")
				require.NoError(t, err)
				require.True(t, matches(t, &metav1.LabelSelector{MatchLabels: found}, monitored))
				require.False(t, matches(t, &metav1.LabelSelector{MatchLabels: found}, otherPod.labels))
			}
		})
	}
}
