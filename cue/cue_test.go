package cue_test

import (
	"bytes"
	"flag"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write tests/builders.json anew")

// cue runs the CUE program that percli runs too, in the root of the module.
func cue(t *testing.T, input string, arguments ...string) (output, mistakes string, err error) {
	t.Helper()
	paths, err := exec.CommandContext(t.Context(), "../scripts/tool", "cue").Output()
	require.NoError(t, err)
	command := exec.CommandContext(t.Context(), strings.TrimSpace(string(paths)), arguments...)
	command.Dir = ".."
	command.Stdin = strings.NewReader(input)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	err = command.Run()
	return stdout.String(), stderr.String(), err
}

func TestBuilders_BuildTheExpectedResources(t *testing.T) {
	built, mistakes, err := cue(t, "", "eval", "cue/tests/builders.cue", "--out", "json", "--concrete")
	require.NoError(t, err, mistakes)
	if *update {
		require.NoError(t, os.WriteFile("tests/builders.json", []byte(built), 0o600))
	}
	expected, err := os.ReadFile("tests/builders.json")
	require.NoError(t, err)
	require.Equal(t, string(expected), built)
}

// TestBuilders_ReportMistakes checks that mistakes show where something is built, in
// the words of the models.
func TestBuilders_ReportMistakes(t *testing.T) {
	for name, test := range map[string]struct {
		builder, parameters, output string
		expected                    []string
	}{
		"query": {"query", `#query: "", #tier: "warm", #minStep: "soon"`, "query", []string{
			"spec.plugin.spec.query: must be a PromQL expression, not empty",
			"spec.plugin.spec.tier: must be auto, hot or cold",
			`spec.plugin.spec.minStep: must be a duration such as 30s or a variable such as "$interval"`,
		}},
		"no query": {"query", "", "query", []string{"spec.plugin.spec.query: incomplete value"}},
		"datasource": {
			"datasource", `#name: "..", #gateway: "tierproxy:9190", #threshold: "0s", #hot: {url: "http://a", service: {namespace: "a", name: "b"}}`, "datasource",
			[]string{
				"spec.plugin.spec._hot.service: remove either url or service: a tier has one of them, not both",
				"spec.plugin.spec.proxy.spec.url: must name this datasource: http(s)://GATEWAY/proxy/globaldatasources/NAME, or",
				"spec.plugin.spec.threshold: must be a duration longer than zero, such as 90s, 15m or 1h30m",
			},
		},
		"hot tiers": {"datasource", `#name: "metrics", #gateway: "http://tierproxy:9190", #hot: [{name: "a"}, {name: "a"}, {url: "b"}]`, "datasource", []string{
			"spec.plugin.spec._hot.1.name: must differ from the names of the other hot tiers",
			"spec.plugin.spec._hot.2.url: must be http(s)://host[:port][/path]",
		}},
		"annotation": {"annotation", `#name: "a", #query: "", #tags: [""]`, "annotation", []string{
			"plugin.spec.expr: must be a PromQL expression, not empty",
			"plugin.spec.tags.0: must be the name of a label, not empty",
		}},
		"alert thresholds": {"query/alertthreshold", `#alerts: [""], #matchers: ["severity=page"], #metric: "", #minStep: "soon"`, "query", []string{
			"spec.plugin.spec.alerts.0: must be the name of an alerting rule, not empty",
			`spec.plugin.spec.matchers.0: must be a label matcher such as severity="critical"`,
			"spec.plugin.spec.metric: must be the name of a metric, not empty",
			`spec.plugin.spec.minStep: must be a duration such as 30s or a variable such as "$interval"`,
		}},
		"label":     {"variable/labelvalues", `#name: "job", #label: ""`, "variable", []string{"spec.plugin.spec.labelName: must be the name of a label, not empty"}},
		"no promql": {"variable/promql", `#name: "job"`, "variable", []string{"spec.plugin.spec.expr: field is required but not present"}},
	} {
		t.Run(name, func(t *testing.T) {
			input := `import builder "github.com/tiered-prometheus/tiered-prometheus/cue/` + test.builder + `"` +
				"\n{builder & {" + test.parameters + "}}." + test.output
			_, mistakes, err := cue(t, input, "eval", "-", "--out", "json", "--concrete")
			require.Error(t, err)
			for _, expected := range test.expected {
				require.Contains(t, mistakes, expected)
			}
		})
	}
}

// TestImports_BuildersImportModelsOnly also checks that the models import no
// builder.
func TestImports_BuildersImportModelsOnly(t *testing.T) {
	const module = "github.com/tiered-prometheus/tiered-prometheus/"
	imports := regexp.MustCompile(`"([a-z]+\.[a-z]+/[^":]+)`)
	for folder, allowed := range map[string][]string{".": {module + "cue/", module + "schemas/"}, "../schemas": {module + "schemas/"}} {
		count := 0
		require.NoError(t, filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".cue" {
				return err
			}
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			for _, found := range imports.FindAllStringSubmatch(string(text), -1) {
				count++
				require.True(t, slices.ContainsFunc(allowed, func(prefix string) bool { return strings.HasPrefix(found[1], prefix) }),
					"%s imports %s", path, found[1])
			}
			return nil
		}))
		require.Positive(t, count)
	}
}
