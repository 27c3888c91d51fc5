//go:build e2e

package cluster

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/documents"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// leaveTheAccountToHelm removes the account and the rights that the tests share: helm takes over nothing that
// it has not created. After the test, they are there again.
func leaveTheAccountToHelm(t *testing.T) {
	t.Helper()
	manifests, err := shared.render(t.Context(), "overlays/openshift")
	require.NoError(t, err)
	for _, each := range manifests {
		if each.GetKind() == "ServiceAccount" || strings.Contains(each.GetKind(), "Role") {
			remove(t, each)
		}
	}
	t.Cleanup(func() { require.NoError(t, shared.prepare(context.WithoutCancel(t.Context()))) })
}

// commandsOf are the commands of one document.
func commandsOf(t *testing.T, check, file string) string {
	t.Helper()
	root, err := stack.Root()
	require.NoError(t, err)
	blocks, err := documents.Of(root, check)
	require.NoError(t, err)
	var own []documents.Block
	for _, each := range blocks {
		if each.File == file {
			own = append(own, each)
		}
	}
	require.NotEmpty(t, own, "%s has no block that is checked as %q", file, check)
	return documents.Script(own)
}

// TestInstallation_WithHelm runs the commands of the documentation with the chart: from nothing to the first panel,
// an upgrade, the way back, and the end.
func TestInstallation_WithHelm(t *testing.T) {
	p := newInstallation(t, "kubernetes", "monitoring", tierService{"kube-prometheus-stack-prometheus", "http-web", 9090}, tierService{"thanos-query", "http", 10902})
	output := p.run(t, commandsOf(t, "helm-template", "docs/deployment.md"))
	require.Contains(t, output, "deployment.apps/tierproxy created (server dry run)")
	leaveTheAccountToHelm(t)

	kubelet := p.playKubelet(t, nil)
	output = p.run(t, commandsOf(t, "helm", "docs/installation.md"))
	require.NoError(t, kubelet.wait(), output)
	require.Contains(t, output, `deployment "tierproxy" successfully rolled out`)
	require.Regexp(t, `(?m)^tierproxy \S+ runs in mode kubernetes\.$`, output)
	require.NotContains(t, output, "WARNING")
	_, connect, found := strings.Cut(commandsOf(t, "kubernetes", "docs/installation.md"), "percli login")
	require.True(t, found)
	connect, _, _ = strings.Cut(connect, "kubectl ")
	requireTier(t, p.run(t, "percli login"+connect))
	p.requireFirstPanel(t)
	_, err := find(t.Context(), "monitoring.coreos.com/v1", "ServiceMonitor", "tierproxy")
	require.NoError(t, err, "the cluster has this kind")

	before := podAnnotations(t)
	upgrade, uninstall, found := strings.Cut(commandsOf(t, "helm", "docs/deployment.md"), "helm uninstall")
	require.True(t, found)
	upgrade, back, found := strings.Cut(upgrade, "helm rollback")
	require.True(t, found)
	p.run(t, upgrade)
	require.NotEqual(t, before, podAnnotations(t), "the changed configuration replaces the pods")
	settings, err := find(t.Context(), "v1", "ConfigMap", "tierproxy")
	require.NoError(t, err)
	require.Contains(t, settings.Object["data"].(map[string]any)["tierproxy.yaml"], "threshold: 1h")
	p.run(t, "helm rollback"+back)
	require.Equal(t, before, podAnnotations(t))
	p.run(t, "helm uninstall"+uninstall)
	_, err = find(t.Context(), "apps/v1", "Deployment", "tierproxy")
	require.True(t, apierrors.IsNotFound(err), "%v", err)

	// What the chart brings into Perses is valid there.
	var provisioned []string
	for _, each := range template(t, shared.helmPath, "ci/provisioned-values.yaml") {
		data, _, _ := unstructured.NestedStringMap(each.Object, "data")
		for file, text := range data {
			switch {
			case strings.HasSuffix(file, "project.yaml"): // Perses reads projects first, too.
				provisioned = append([]string{text}, provisioned...)
			case file != "tierproxy.yaml":
				provisioned = append(provisioned, text)
			}
		}
	}
	require.Len(t, provisioned, 3)
	for _, each := range provisioned {
		p.perses.apply(t, each)
	}

	// OpenShift takes a value.
	p.run(t, commandsOf(t, "helm-openshift", "docs/installation.md"))
	_, err = find(t.Context(), "v1", "ConfigMap", "tierproxy-service-ca")
	require.NoError(t, err)
	p.run(t, "helm uninstall"+uninstall)
}

// podAnnotations are those of the pods of tierproxy.
func podAnnotations(t *testing.T) map[string]string {
	t.Helper()
	found, err := find(t.Context(), "apps/v1", "Deployment", "tierproxy")
	require.NoError(t, err)
	annotations, _, err := unstructured.NestedStringMap(found.Object, "spec", "template", "metadata", "annotations")
	require.NoError(t, err)
	require.NotEmpty(t, annotations["checksum/config"])
	return annotations
}
