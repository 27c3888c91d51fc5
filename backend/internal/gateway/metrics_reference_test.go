package gateway

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"

	"github.com/tiered-prometheus/tiered-prometheus/backend/datasource"
	"github.com/tiered-prometheus/tiered-prometheus/backend/test/running"
)

var update = flag.Bool("update", false, "write the generated documentation anew")

const metricsFile = "../../../docs/metrics.md"

const metricsHead = `# Metrics of tierproxy

<!-- Written by make generate from the metrics that the program registers. Do not edit. -->

` + "`GET /metrics`" + ` serves them, on the address that tierproxy listens on or, if there is one, on the admin address. Each label has the listed values only,
and all of them exist from the start, so that ` + "`rate()`" + ` sees the first failure. Durations are native histograms that also have classic buckets.
[Operations](operations.md) says what to do about each alert.

"The gateway's own" tiers are those of its configuration or of discovery, which the default datasource uses. Queries to tiers that a datasource names
count, too. The states of these tiers have no metrics, because anyone who may write datasources can add more.

Fallbacks to the other tier are queries with the reason ` + "`hot-failed`, `cold-failed` or `hot-empty`" + `. Retries have their own metric.
`

const metricsTail = `
The program also has these metrics:

- ` + "`tierproxy_build_info`" + `: the version of tierproxy.
- ` + "`tierproxy_config_last_reload_successful`" + `: whether the last attempt to load the configuration succeeded.
- ` + "`tierproxy_config_last_reload_success_timestamp_seconds`" + `: when the configuration was last loaded.
- ` + "`go_*` and `process_*`" + `: the metrics of Prometheus' client library.
`

// gatherAll returns the metrics of a Manager with everything that there can be.
func gatherAll(t *testing.T) (*prometheus.Registry, []*dto.MetricFamily) {
	t.Helper()
	registry := prometheus.NewRegistry()
	running.Start(t, running.TwoTiers("http://127.0.0.1:1", "http://127.0.0.1:1"), nil, datasource.WithRegistry(registry))
	families, err := registry.Gather()
	require.NoError(t, err)
	require.Equal(t, registered(registry), gathered(families), "each metric has its label values from the start")
	return registry, families
}

// described finds the name in the text of a prometheus.Desc, which has no other
// way to read it.
var described = regexp.MustCompile(`fqName: "(tierproxy_[a-z_]+)"`)

// registered returns the names of all metrics, those without label values
// included.
func registered(registry *prometheus.Registry) []string {
	descriptions := make(chan *prometheus.Desc)
	go func() {
		registry.Describe(descriptions)
		close(descriptions)
	}()
	var names []string
	for description := range descriptions {
		names = append(names, described.FindStringSubmatch(description.String())[1])
	}
	slices.Sort(names)
	return names
}

func gathered(families []*dto.MetricFamily) []string {
	names := make([]string, 0, len(families))
	for _, family := range families {
		names = append(names, family.GetName())
	}
	return names
}

// TestMetricsReference_MatchesTheRegistry compares docs/metrics.md with the
// registered metrics. With -update it writes the page.
func TestMetricsReference_MatchesTheRegistry(t *testing.T) {
	registry, families := gatherAll(t)
	problems, err := testutil.GatherAndLint(registry)
	require.NoError(t, err)
	require.Empty(t, problems, "what promtool check metrics would say")

	var text strings.Builder
	text.WriteString(metricsHead + "\n| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n")
	for _, family := range families {
		require.NotEmpty(t, family.GetHelp(), family.GetName())
		fmt.Fprintf(&text, "| `%s` | %s | %s | %s |\n", family.GetName(), strings.ToLower(family.GetType().String()), labelsOf(family), family.GetHelp())
	}
	text.WriteString(metricsTail)
	if *update {
		require.NoError(t, os.WriteFile(metricsFile, []byte(text.String()), 0o600))
	}
	written, err := os.ReadFile(metricsFile)
	require.NoError(t, err)
	require.Equal(t, string(written), text.String(), "docs/metrics.md is stale: run make generate")
}

// labelsOf lists the labels of a metric with the values that they have.
func labelsOf(family *dto.MetricFamily) string {
	values := map[string][]string{}
	var names []string
	for _, metric := range family.GetMetric() {
		for _, pair := range metric.GetLabel() {
			if _, found := values[pair.GetName()]; !found {
				names = append(names, pair.GetName())
			}
			values[pair.GetName()] = append(values[pair.GetName()], pair.GetValue())
		}
	}
	described := make([]string, 0, len(names))
	for _, name := range names {
		all := values[name]
		slices.SortFunc(all, cmp.Compare)
		described = append(described, "`"+name+"`: "+strings.ReplaceAll(strings.Join(slices.Compact(all), " "), "|", `\|`))
	}
	return strings.Join(described, "; ")
}

// TestMetrics_DurationsAreBothKindsOfHistogram checks that durations are native
// histograms that have classic buckets too.
func TestMetrics_DurationsAreBothKindsOfHistogram(t *testing.T) {
	_, families := gatherAll(t)
	count := 0
	for _, family := range families {
		if family.GetType() != dto.MetricType_HISTOGRAM {
			continue
		}
		count++
		for _, metric := range family.GetMetric() {
			require.NotEmpty(t, metric.GetHistogram().GetBucket(), family.GetName())
			require.NotZero(t, metric.GetHistogram().GetSchema(), family.GetName())
		}
	}
	require.GreaterOrEqual(t, count, 2)
}

// TestMetrics_LintFindsBadNames shows that the linter finds mistakes.
func TestMetrics_LintFindsBadNames(t *testing.T) {
	problems, err := promlint.New(strings.NewReader("# TYPE bad_counter counter\nbad_counter 1\n")).Lint()
	require.NoError(t, err)
	require.NotEmpty(t, problems)
}
