package documents

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestDocumentation_NamesTheTestedVersions compares the versions in the
// documentation with those that scripts/tool builds.
func TestDocumentation_NamesTheTestedVersions(t *testing.T) {
	version := func(tool, module string) string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(root, "tools", tool, "go.mod"))
		require.NoError(t, err)
		found := regexp.MustCompile(`(?m)^(?:require |\t)` + regexp.QuoteMeta(module) + ` v(\S+)`).FindSubmatch(text)
		require.NotNil(t, found, "%s of %s", module, tool)
		return string(found[1])
	}
	// Prometheus counts its Go module 0.3xx where its releases are 3.xx.
	prometheus := regexp.MustCompile(`^0\.3(\d\d)\.(\d+)$`).ReplaceAllString(version("prometheus", "github.com/prometheus/prometheus"), "3.$1.$2")
	const perses = "github.com/perses/perses"
	kubernetes := version("kube-apiserver", "k8s.io/kubernetes")
	debian := debianVersion(t, "prometheus-2.42")
	for file, rows := range map[string]map[string][]string{
		"docs/compatibility.md": {
			"Perses server and percli":          {version("perses", perses)},
			"Perses server":                     {version("perses-0.53", perses), version("perses-0.52", perses)},
			"Prometheus as hot":                 {prometheus},
			"Thanos as cold":                    {version("thanos", "github.com/thanos-io/thanos")},
			"VictoriaMetrics":                   {version("victoriametrics", "github.com/VictoriaMetrics/VictoriaMetrics")},
			"Cortex as cold":                    {version("cortex", "github.com/cortexproject/cortex")},
			"Prometheus 2":                      {debian},
			"Kubernetes API":                    {kubernetes},
			"kubectl, kustomize":                {version("kubectl", "k8s.io/kubernetes"), version("kustomize", "sigs.k8s.io/kustomize/kustomize/v5")},
			"Helm":                              {version("helm", "helm.sh/helm/v4"), version("helm-3", "helm.sh/helm/v3")},
			"Perses operator":                   {version("perses-operator", "github.com/perses/perses-operator")},
			"kube-rbac-proxy, prom-label-proxy": {version("kube-rbac-proxy", "github.com/brancz/kube-rbac-proxy"), version("prom-label-proxy", "github.com/prometheus-community/prom-label-proxy")},
		},
		"README.md": {
			"Perses": {version("perses", perses), version("perses-0.53", perses), version("perses-0.52", perses)},
			"hot":    {strings.TrimSuffix(prometheus, ".0")}, "cold": {version("thanos", "github.com/thanos-io/thanos")},
		},
	} {
		text, err := os.ReadFile(filepath.Join(root, file))
		require.NoError(t, err)
		for name, versions := range rows {
			row := regexp.MustCompile(`(?m)^\| ` + regexp.QuoteMeta(name) + ` \| ([^|]*) \|`).FindSubmatch(text)
			require.NotNil(t, row, "%s has no row %q", file, name)
			for _, each := range versions {
				assert.Regexp(t, `(^|[^0-9.])`+regexp.QuoteMeta(each)+`($|[^0-9.])`, string(row[1]), "%s: %s", file, name)
			}
		}
	}
}

// debianVersion returns the version of a program that scripts/tool takes from a Debian package.
func debianVersion(t *testing.T, program string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "scripts", "tool"))
	require.NoError(t, err)
	found := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(program) + `:debian:[^:]*:([^:]*):`).FindSubmatch(text)
	require.NotNil(t, found, program)
	return string(found[1])
}
