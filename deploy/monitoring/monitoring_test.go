package monitoring_test

import (
	"encoding/json"
	"flag"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

var update = flag.Bool("update", false, "write the generated files anew")

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(text)
}

// hold compares a generated file with what it should be, or writes it.
func hold(t *testing.T, file, expected string) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(expected), 0o600))
	}
	require.Equal(t, expected, read(t, file), "%s is stale: run make generate", file)
}

func TestDashboard_IsBuiltFromItsSource(t *testing.T) {
	built, err := exec.CommandContext(t.Context(), "../../scripts/dashboard", "dashboard.cue").Output()
	require.NoError(t, err)
	hold(t, "dashboard.json", string(built))
}

// TestPrometheusRule_HoldsTheRules compares the resource of the Prometheus operator
// with the rules.
func TestPrometheusRule_HoldsTheRules(t *testing.T) {
	const head = `# Written by make generate from rules.yaml. Do not edit.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: tierproxy
  labels:
    app.kubernetes.io/name: tierproxy
    # What kube-prometheus-stack selects rules by.
    release: kube-prometheus-stack
spec:
`
	_, groups, found := strings.Cut(read(t, "rules.yaml"), "groups:\n")
	require.True(t, found)
	var text strings.Builder
	text.WriteString(head)
	for line := range strings.Lines("groups:\n" + groups) {
		if strings.TrimSpace(line) != "" {
			line = "  " + line
		}
		text.WriteString(line)
	}
	hold(t, "prometheusrule.yaml", text.String())
}

// rules are those of the file, as far as they matter here.
type rules struct {
	Groups []struct {
		Rules []struct {
			Record      string            `yaml:"record"`
			Alert       string            `yaml:"alert"`
			Expr        string            `yaml:"expr"`
			Labels      map[string]string `yaml:"labels"`
			Annotations map[string]string `yaml:"annotations"`
		} `yaml:"rules"`
	} `yaml:"groups"`
}

func readRules(t *testing.T) rules {
	t.Helper()
	var found rules
	require.NoError(t, yaml.Unmarshal([]byte(read(t, "rules.yaml")), &found))
	require.NotEmpty(t, found.Groups)
	return found
}

func TestAlerts_HaveARunbookAndATest(t *testing.T) {
	var alerts []string
	for _, group := range readRules(t).Groups {
		for _, rule := range group.Rules {
			if rule.Alert == "" {
				continue
			}
			alerts = append(alerts, rule.Alert)
			require.Contains(t, []string{"critical", "warning", "info"}, rule.Labels["severity"], rule.Alert)
			require.NotEmpty(t, rule.Annotations["summary"], rule.Alert)
			require.True(t, strings.HasSuffix(rule.Annotations["runbook_url"], "/docs/operations.md#"+strings.ToLower(rule.Alert)),
				"%s leads to %s", rule.Alert, rule.Annotations["runbook_url"])
		}
	}
	require.Greater(t, len(alerts), 10)

	_, runbooks, found := strings.Cut(read(t, "../../docs/operations.md"), "\n## Alerts\n")
	require.True(t, found)
	var described []string
	for _, section := range regexp.MustCompile(`(?m)^### (\w+)$\n\n(\w.*)$`).FindAllStringSubmatch(runbooks, -1) {
		described = append(described, section[1])
	}
	require.ElementsMatch(t, alerts, described, "the sections of docs/operations.md")

	// A test in which it fires: one that expects nothing shows little.
	tests := read(t, "rules_test.yaml")
	for _, alert := range alerts {
		require.Regexp(t, regexp.MustCompile(`(?m)^ +alertname: `+alert+`\n +exp_alerts:\n +- exp_labels:`), tests, "%s does not fire in rules_test.yaml", alert)
	}
}

// TestQueries_NameExistingMetrics reads the queries of rules and dashboard.
func TestQueries_NameExistingMetrics(t *testing.T) {
	// These are the program's own, not those of its library.
	known := map[string]bool{"tierproxy_build_info": true, "tierproxy_config_last_reload_successful": true}
	for _, row := range regexp.MustCompile("(?m)^\\| `(tierproxy_\\w+)`").FindAllStringSubmatch(read(t, "../../docs/metrics.md"), -1) {
		known[row[1]] = true
	}
	require.Greater(t, len(known), 10)
	var expressions []string
	recorded := map[string]bool{}
	for _, group := range readRules(t).Groups {
		for _, rule := range group.Rules {
			expressions = append(expressions, rule.Expr)
			recorded[rule.Record] = true
		}
	}
	var dashboard any
	require.NoError(t, json.Unmarshal([]byte(read(t, "dashboard.json")), &dashboard))
	panels := len(expressions)
	collect(dashboard, &expressions)
	require.Greater(t, len(expressions)-panels, 15)
	asked := map[string]bool{}
	for _, expression := range expressions {
		for _, name := range regexp.MustCompile(`[\w:]*tierproxy_\w+(:\w+)?`).FindAllString(expression, -1) {
			if !recorded[name] {
				asked[strings.TrimSuffix(name, "_bucket")] = true
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(asked)) {
		require.True(t, known[name], "%s is asked for, and docs/metrics.md has no such metric", name)
	}
	for _, name := range slices.Sorted(maps.Keys(known)) {
		if !asked[name] {
			t.Logf("neither the rules nor the dashboard ask for %s", name)
		}
	}
}

// collect adds the queries and selectors that are anywhere in a dashboard.
func collect(node any, expressions *[]string) {
	switch node := node.(type) {
	case map[string]any:
		for key, value := range node {
			if text, is := value.(string); is && key == "query" {
				*expressions = append(*expressions, text)
			}
			collect(value, expressions)
		}
	case []any:
		for _, value := range node {
			if text, is := value.(string); is {
				*expressions = append(*expressions, text)
			}
			collect(value, expressions)
		}
	}
}
