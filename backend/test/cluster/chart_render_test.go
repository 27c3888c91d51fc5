//go:build e2e

package cluster

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The service authority of OpenShift signs for Services of the cluster only.
func TestChart_TrustsTheServiceAuthorityForServices(t *testing.T) {
	const authority = "ca_file: /etc/tierproxy-service-ca/service-ca.crt"
	for values, count := range map[string]int{
		"{}": 2,
		"{config: {hot: {url: 'https://prometheus-k8s.openshift-monitoring.svc:9091'}}}":                                         2,
		"{config: {cold: {url: 'https://thanos.example.com'}}, networkPolicy: {enabled: false}}":                                 1,
		"{config: {hot: {url: 'https://a.example.com'}, cold: {url: 'https://b.example.com'}}, networkPolicy: {enabled: false}}": 0,
	} {
		file := filepath.Join(t.TempDir(), "values.yaml")
		require.NoError(t, os.WriteFile(file, []byte(values), 0o600))
		for helmName, path := range helms(t) {
			output, err := helm(t, path, "template", "tierproxy", chartPath(t, ""), "--set", "mode=openshift,admin.secretName=my.secret", "--values", file)
			require.NoError(t, err, output)
			require.Equal(t, count, strings.Count(output, authority), "%s: %s", helmName, values)
			require.NotContains(t, output, "- name: my.secret", "the name of a volume has no dots")
		}
	}
}

// A Service has no dots in its name, and YAML takes some names for numbers.
func TestChart_TakesTheNameOfEveryRelease(t *testing.T) {
	for release, expected := range map[string][]string{
		"my.release": {`name: "my-release-tierproxy"`, `app.kubernetes.io/instance: "my.release"`},
		"1e3":        {`name: "1e3-tierproxy"`, `app.kubernetes.io/instance: "1e3"`, `priorityClassName: "123"`},
	} {
		for helmName, path := range helms(t) {
			output, err := helm(t, path, "template", release, chartPath(t, ""), "--set-string", "priorityClassName=123")
			require.NoError(t, err, output)
			for _, each := range expected {
				require.Contains(t, output, each, helmName)
			}
		}
	}
}

// TestChart_ReportsMistakes shows what somebody reads whose values have mistakes.
func TestChart_ReportsMistakes(t *testing.T) {
	for name, test := range map[string]struct {
		values   string
		expected []string
	}{
		"of the schema": {"{mode: kubernets, replica: 3, replicas: many, image: {digest: latest}, config: {routing: {treshold: 1h}, hot: [{url: http://a.b.svc, names: y}]}, front: {kind: Ingres}}", []string{
			"- at '/mode': value must be one of 'kubernetes', 'openshift', 'sidecar'\n", "- at '': additional properties 'replica' not allowed\n",
			"- at '/replicas': got string, want ", "- at '/image/digest': 'latest' does not match pattern",
			"- at '/config/routing': additional properties 'treshold' not allowed\n", "- at '/config/hot/0': additional properties 'names' not allowed\n",
			"- at '/front/kind': value must be one of '', 'Ingress', 'HTTPRoute', 'Route'\n",
		}},
		"of tiers": {"{config: {hot: [{url: 'https://prometheus.example.com', service: {name: a}}, {name: b}, {service: {namespace: a}}], cold: {url: 'http://thanos.example.com'}, tracing: {endpoint: 'http://collector:4318'}}}", []string{
			"- config.hot[0]: set either url or service, not both\n", "- config.hot[0].service.namespace: is empty\n", "- config.hot[1]: set url or service\n",
			"- config.hot[2].service: set name or selector\n",
			"- config.hot[0].url: no rule of the network policy leads to prometheus.example.com. Add one to networkPolicy.extraEgress, or set networkPolicy.enabled to false.",
			"- config.cold.url: no rule of the network policy leads to thanos.example.com.", "- config.tracing.endpoint: no rule",
		}},
		"of the sidecar": {"{mode: sidecar, replicas: 2, front: {kind: Ingress}, dashboard: {enabled: true, kind: PersesDashboard}}", []string{
			"- replicas: mode sidecar has one pod", "- front.kind: mode sidecar closes tierproxy to other pods", "- front.host: is empty", "- dashboard.kind: with mode sidecar, no operator manages Perses",
		}},
		"of Redis": {"{redis: {address: 'a:6379'}, config: {cache: {redis: {address: 'b:6379'}}}}", []string{"- redis.address: config.cache.redis.address is set, too", "- config.cache.redis.address (better redis.address, which makes a rule): no rule"}},
		"of what belongs together": {"{redis: {secretName: a}, alerts: {disabled: [TierproxyUp]}}", []string{
			"- redis.secretName: redis.address is empty", `- alerts.disabled: there is no alert "TierproxyUp". There are TierproxyDown, `,
		}},
		"of empty sections": {"{config: null, redis: null, resources: null}", []string{"- at '': missing properties 'config', 'redis', 'resources'"}},
		"of labels": {"{podLabels: {app.kubernetes.io/name: a}, commonLabels: {app.kubernetes.io/part-of: b, release: c, team: d}, metrics: {monitor: true}}", []string{
			"- podLabels: the chart sets app.kubernetes.io/name itself, to select its pods. Remove it\n", "- commonLabels: the chart sets app.kubernetes.io/part-of itself. Remove it\n",
			"- commonLabels: the chart sets release itself. Remove it\n",
		}},
		"of a URL":      {"{config: {cold: {url: 'thanos:10902'}}}", []string{"- config.cold.url: is not an http or https URL with a host. Write http(s)://host[:port][/path]\n"}},
		"of other URLs": {"{config: {perses: {url: 'perses:8080'}, tracing: {endpoint: collector}}}", []string{"- config.perses.url: is not an http or https URL with a host.", "- config.tracing.endpoint: is not an http or https URL with a host."}},
		"of images": {"{image: {registry: 'https://registry.example.com', repository: 'http://a/b'}}", []string{
			"- at '/image/registry': 'https://registry.example.com' does not match pattern", "- at '/image/repository': 'http://a/b' does not match pattern",
		}},
		"of settings": {"{config: {routing: {threshold: 1 hour, strategy: fast}, query: {timeout: 30}}}", []string{
			"- at '/config/routing/threshold': '1 hour' does not match pattern", "- at '/config/routing/strategy': value must be one of 'route', 'split'\n",
			"- at '/config/query/timeout': maximum: got 30, want 0\n",
		}},
		"of the environment":               {"{extraEnv: [{name: A, value: 1}]}", []string{"- at '/extraEnv/0/value': got number, want string\n"}},
		"of a gateway without Perses":      {"{config: {perses: {url: ''}}}", []string{"- config.perses.url: names no Perses in the cluster, so no rule of the network policy lets anyone ask tierproxy. Add one to networkPolicy.extraIngress"}},
		"of a gateway of a Perses outside": {"{config: {perses: {url: 'https://perses.example.com'}}, networkPolicy: {extraEgress: [{}]}}", []string{"- config.perses.url: names no Perses in the cluster"}},
		"of the memory limit":              {"{resources: {limits: {memory: 512 MB}}}", []string{`resources.limits.memory: "512 MB" is not an amount of memory such as 512Mi`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "values.yaml")
			require.NoError(t, os.WriteFile(file, []byte(test.values), 0o600))
			for helmName, path := range helms(t) {
				output, err := helm(t, path, "template", "tierproxy", chartPath(t, ""), "--values", file)
				require.Error(t, err, helmName)
				for _, each := range test.expected {
					require.Contains(t, output+"\n", each, helmName)
				}
			}
		})
	}
}

// TestChart_RendersUnusualValues renders values of which each once gave something else than was meant.
func TestChart_RendersUnusualValues(t *testing.T) {
	for name, test := range map[string]struct {
		values   string
		expected []string
		absent   string
	}{
		"the image of the plugin": {
			values:   "{mode: sidecar, image: {registry: 'registry.example.com:5000/metrics/', tag: nightly}}",
			expected: []string{"registry.example.com:5000/metrics/tierproxy:nightly", "registry.example.com:5000/metrics/tiered-prometheus-plugin:nightly"},
		},
		"another image of the plugin": {values: "{mode: sidecar, image: {tag: nightly}, sidecar: {pluginImage: 'plugin:1'}}", expected: []string{"image: plugin:1"}},
		"no Perses": {
			values:   "{config: {perses: {url: ''}}, networkPolicy: {extraIngress: [{from: [{podSelector: {}}], ports: [{port: http}]}]}}",
			expected: []string{"perses:\n      url: \"\"\n"}, absent: "# Perses.",
		},
		"front mode with Perses outside of the cluster": {values: "{config: {perses: {url: 'https://perses.example.com'}}, front: {kind: Ingress, host: perses.example.com}, " +
			"networkPolicy: {extraEgress: [{to: [{ipBlock: {cidr: 192.0.2.1/32}}], ports: [{port: 443}]}]}}"},
		"a duration of 0": {values: "{config: {cold: {lag: 0}, query: {max_range: 0s}}}", expected: []string{"lag: 0\n", "max_range: 0s\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "values.yaml")
			require.NoError(t, os.WriteFile(file, []byte(test.values), 0o600))
			for helmName, path := range helms(t) {
				output, err := helm(t, path, "template", "tierproxy", chartPath(t, ""), "--values", file)
				require.NoError(t, err, output)
				for _, each := range test.expected {
					require.Contains(t, output, each, helmName)
				}
				if test.absent != "" {
					require.NotContains(t, output, test.absent, helmName)
				}
			}
		})
	}
}

// TestChart_NotesFitThePerses renders what helm prints after an installation.
func TestChart_NotesFitThePerses(t *testing.T) {
	const datasource, none = "Perses has no datasource of tierproxy yet.", "tierproxy uses no Perses, because config.perses.url is empty."
	for values, test := range map[string]struct{ expected, absent string }{
		"datasource.enabled=false":                       {datasource, none},
		"config.perses.url=,networkPolicy.enabled=false": {none, datasource},
	} {
		t.Run(values, func(t *testing.T) {
			t.Parallel()
			output, err := helm(t, shared.helmPath, "install", "tierproxy", chartPath(t, ""), "--namespace", "perses", "--dry-run=client", "--set", values)
			require.NoError(t, err, output)
			require.Contains(t, output, test.expected)
			require.NotContains(t, output, test.absent)
		})
	}
}

// TestChart_FitsTwiceIntoACluster renders releases of the same name in several namespaces. They have no object in common.
func TestChart_FitsTwiceIntoACluster(t *testing.T) {
	for _, values := range []string{"ci/all-namespaces-values.yaml", "ci/several-values.yaml", "values-openshift.yaml"} {
		t.Run(values, func(t *testing.T) {
			t.Parallel()
			namespaces := map[string]string{}
			for _, namespace := range []string{"perses", "shop", "monitoring"} {
				output, err := helm(t, shared.helmPath, "template", "tierproxy", chartPath(t, ""), "--namespace", namespace, "--values", chartPath(t, values))
				require.NoError(t, err, output)
				for _, each := range parse(output) {
					name := each.GetKind() + " " + each.GetNamespace() + "/" + each.GetName()
					require.Empty(t, namespaces[name], "%s is in the release of %s, too", name, namespace)
					namespaces[name] = namespace
				}
			}
		})
	}
}
