//go:build e2e

package cluster

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/tiered-prometheus/tiered-prometheus/backend/config"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

// helms are the helm of CI, and those that E2E_HELM names in addition.
func helms(t *testing.T) map[string]string {
	t.Helper()
	paths := map[string]string{"helm": shared.helmPath}
	for _, name := range strings.Fields(os.Getenv("E2E_HELM")) {
		path, err := stack.Tool(t.Context(), os.Stderr, name)
		require.NoError(t, err)
		paths[name] = path
	}
	return paths
}

// chartPath is a path in the chart.
func chartPath(t *testing.T, path string) string {
	t.Helper()
	root, err := stack.Root()
	require.NoError(t, err)
	return filepath.Join(root, "deploy", "helm", "tierproxy", path)
}

// helm runs helm without a cluster. It returns what helm prints.
func helm(t *testing.T, path string, arguments ...string) (string, error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), path, arguments...)
	command.Env = append(os.Environ(), "HOME="+t.TempDir())
	output, err := command.CombinedOutput()
	return string(output), err
}

// template renders the chart as the release tierproxy in namespace perses. Values are files of the chart.
func template(t *testing.T, path string, values ...string) []*unstructured.Unstructured {
	t.Helper()
	arguments := []string{"template", "tierproxy", chartPath(t, ""), "--namespace", "perses"}
	for _, kind := range []string{"ServiceMonitor", "PodMonitor"} {
		arguments = append(arguments, "--api-versions", "monitoring.coreos.com/v1/"+kind)
	}
	for _, each := range values {
		arguments = append(arguments, "--values", chartPath(t, each))
	}
	output, err := helm(t, path, arguments...)
	require.NoError(t, err, "%s", output)
	manifests := parse(output)
	require.NotEmpty(t, manifests)
	return manifests
}

// TestChart_EqualsTheKustomizations compares what both render, field by field. What differs on purpose is listed.
func TestChart_EqualsTheKustomizations(t *testing.T) {
	// The chart knows the configuration, so it gives no right to a Service that is not asked for.
	const settings = "ConfigMap perses/tierproxy: data.tierproxy.yaml.discovery.hot"
	for name, test := range map[string]struct {
		values      []string
		overlay     string
		components  []string
		differences []string
	}{
		"defaults":   {nil, "kubernetes", nil, nil},
		"kubernetes": {[]string{"values-kubernetes.yaml"}, "kubernetes", nil, nil},
		"openshift":  {[]string{"values-openshift.yaml"}, "openshift", nil, nil},
		"sidecar":    {[]string{"values-sidecar.yaml"}, "sidecar", nil, nil},
		// A kustomization leaves the selector to the user.
		"selector": {[]string{"ci/selector-values.yaml"}, "kubernetes", []string{"selector"}, []string{settings + ".name", settings + ".selector"}},
		"all-namespaces": {[]string{"ci/all-namespaces-values.yaml"}, "kubernetes", []string{"all-namespaces"}, []string{
			settings + ".name", settings + ".namespace", settings + ".selector", settings + ".all_namespaces",
			"Role monitoring/tierproxy-discovery: rules[0].resourceNames", // without the hot tier of the overlay
			"NetworkPolicy perses/tierproxy: spec.egress",                 // without its pods, which the rule for all namespaces covers
		}},
		"front-ingress": {[]string{"ci/front-ingress-values.yaml"}, "kubernetes", []string{"front-ingress"}, nil},
		"front-gateway": {[]string{"ci/front-gateway-values.yaml"}, "kubernetes", []string{"front-gateway"}, nil},
		"front-route":   {[]string{"ci/front-route-values.yaml"}, "openshift", []string{"front-route"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expected, err := shared.renderWith(t.Context(), test.overlay, test.components...)
			require.NoError(t, err)
			for helmName, path := range helms(t) {
				require.ElementsMatch(t, test.differences, compare(byName(t, expected), byName(t, template(t, path, test.values...))), helmName)
			}
		})
	}
}

// ofHelm are the labels and annotations that only the chart sets. The pods' selectors have the label of the
// release, so that two releases fit into a namespace. The annotation does what the name of a ConfigMap with
// a hash does for kustomize: it replaces the pods when the configuration changes.
var ofHelm = []string{"helm.sh/chart", "app.kubernetes.io/managed-by", "app.kubernetes.io/instance", "app.kubernetes.io/version", "checksum/config"}

// unordered are lists whose order means nothing.
var unordered = []string{"volumes", "volumeMounts", "egress", "ingress"}

var hashed = regexp.MustCompile(`^((?:tierproxy|perses)[a-z-]*)-[a-z0-9]{10}$`)

// byName returns manifests by kind, namespace and name, without what the way of rendering alone brings.
func byName(t *testing.T, manifests []*unstructured.Unstructured) map[string]any {
	t.Helper()
	found := map[string]any{}
	for _, each := range manifests {
		object := simplify("", each.DeepCopy().Object).(map[string]any)
		if texts, _, _ := unstructured.NestedStringMap(object, "data"); each.GetKind() == "ConfigMap" {
			data := map[string]any{}
			for file, text := range texts {
				var content any
				require.NoError(t, yaml.Unmarshal([]byte(text), &content))
				data[file] = content
			}
			object["data"] = data
		}
		name, _, _ := unstructured.NestedString(object, "metadata", "name")
		key := fmt.Sprintf("%s %s/%s", each.GetKind(), each.GetNamespace(), name)
		require.NotContains(t, found, key)
		found[key] = object
	}
	return found
}

func simplify(key string, value any) any {
	switch value := value.(type) {
	case map[string]any:
		for name, nested := range value {
			if slices.Contains(ofHelm, name) {
				delete(value, name)
				continue
			}
			value[name] = simplify(name, nested)
		}
	case []any:
		for i, nested := range value {
			value[i] = simplify("", nested)
		}
		if slices.Contains(unordered, key) {
			slices.SortFunc(value, func(a, b any) int { return strings.Compare(asJSON(a), asJSON(b)) })
		}
	case string:
		if key == "name" {
			return hashed.ReplaceAllString(value, "$1")
		}
	}
	return value
}

func asJSON(value any) string {
	written, _ := json.Marshal(value)
	return string(written)
}

// compare returns where manifests differ.
func compare(expected, actual map[string]any) (places []string) {
	keys := maps.Clone(expected)
	maps.Copy(keys, actual)
	for key := range keys {
		places = append(places, differences(key+": ", expected[key], actual[key])...)
	}
	return places
}

func differences(at string, expected, actual any) (places []string) {
	first, isMap := expected.(map[string]any)
	second, areMaps := actual.(map[string]any)
	if isMap && areMaps {
		keys := maps.Clone(first)
		maps.Copy(keys, second)
		for key := range keys {
			separator := "."
			if strings.HasSuffix(at, ": ") {
				separator = ""
			}
			places = append(places, differences(at+separator+key, first[key], second[key])...)
		}
		return places
	}
	one, isList := expected.([]any)
	other, areLists := actual.([]any)
	if isList && areLists && len(one) == len(other) {
		for i := range one {
			places = append(places, differences(fmt.Sprintf("%s[%d]", at, i), one[i], other[i])...)
		}
		return places
	}
	if !reflect.DeepEqual(expected, actual) && asJSON(expected) != asJSON(actual) {
		places = append(places, at)
	}
	return places
}

// TestChart_IsValid lints the chart with all of its values files, applies what it renders to an API server,
// and lets tierproxy check the configuration.
func TestChart_IsValid(t *testing.T) {
	applyKinds(t)
	applyGatewayAPI(t)
	files, err := filepath.Glob(chartPath(t, "values-*.yaml"))
	require.NoError(t, err)
	more, err := filepath.Glob(chartPath(t, "ci/*-values.yaml"))
	require.NoError(t, err)
	require.Greater(t, len(files)+len(more), 10)
	for _, file := range append(files, more...) {
		values, err := filepath.Rel(chartPath(t, ""), file)
		require.NoError(t, err)
		t.Run(values, func(t *testing.T) {
			t.Parallel()
			for helmName, path := range helms(t) {
				output, err := helm(t, path, "lint", "--strict", "--values", file, chartPath(t, ""))
				require.NoError(t, err, "%s: %s", helmName, output)
			}
			manifests := template(t, shared.helmPath, values)
			for _, each := range manifests {
				namespaces := []string{"", "perses", "monitoring", "openshift-monitoring", "shop", "eu-1"}
				require.Contains(t, namespaces, each.GetNamespace(), each.GetName())
				if each.GetNamespace() == "eu-1" {
					each.SetNamespace("shop") // The cluster of the tests has no other one.
				}
				// Right after a kind was added, the server may not serve it yet.
				require.EventuallyWithT(t, func(c *assert.CollectT) {
					assert.NoError(c, shared.apply(t.Context(), each, metav1.DryRunAll))
				}, eventually, 20*time.Millisecond)
				if each.GetKind() == "Deployment" {
					requireRestricted(t, each)
				}
				if settings, found, _ := unstructured.NestedString(each.Object, "data", "tierproxy.yaml"); found {
					file := filepath.Join(t.TempDir(), "tierproxy.yaml")
					require.NoError(t, os.WriteFile(file, []byte(settings), 0o600))
					_, err := config.Load(file)
					require.NoError(t, err, settings)
				}
			}
			if values != "ci/minimal-values.yaml" {
				requireMetricsForPrometheusAlone(t, manifests)
			}
		})
	}
}
