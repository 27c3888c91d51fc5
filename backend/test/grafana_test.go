//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/tiered-prometheus/tiered-prometheus/backend/test/stack"
)

var updateGrafana = flag.Bool("update-grafana", false, "write what is lost of the Grafana dashboards anew")

// grafanaDashboards are those of testdata/grafana, by the file, with their names in Perses.
var grafanaDashboards = map[string]string{"requests": "shop-requests", "nodes": "shop-nodes", "objectives": "shop-objectives"}

// kept is a part of a Grafana dashboard that arrives in Perses: part of the saved JSON. percli writes it unless it is restored.
type kept struct {
	dashboard, text string
	isRestored      bool
}

// keptOfGrafana is what docs/from-grafana.md says is kept, by the first column of its table.
var keptOfGrafana = map[string][]kept{
	"title, tags":                  {{"requests", `"display":{"name":"Shop / Requests"`, false}, {"requests", `"tags":["http","shop"]`, false}},
	"description of the dashboard": {{"requests", `"description":"What customers of the shop ask for`, true}},
	"refresh interval, time zone, time range up to now": {
		{"requests", `"refreshInterval":"30s"`, true}, {"requests", `"duration":"3h"`, true}, {"objectives", `"timezone":"Europe/Berlin"`, true},
	},
	"rows, open, collapsed or repeated": {
		{"nodes", `"display":{"title":"Availability","collapse":{"open":false}}`, false}, {"requests", `"collapse":{"open":true}`, false}, {"requests", `"repeatVariable":"job"`, false},
	},
	"repeated panels": {{"requests", `"repeatVariable":{"value":"instance","maxPer":3}`, true}, {"nodes", `"repeatVariable":{"value":"node","alignment":"vertical"}`, true}},
	"time series, graph, stat, gauge, bar gauge, table, text": {
		{"requests", `"kind":"TimeSeriesChart"`, false}, {"objectives", `"kind":"TimeSeriesChart"`, false}, {"requests", `"kind":"StatChart"`, false},
		{"requests", `"kind":"GaugeChart"`, false}, {"requests", `"kind":"BarChart"`, false}, {"nodes", `"kind":"Table"`, false}, {"requests", `"text":"Duration is measured`, false},
	},
	"unit, legend, thresholds, value mappings of stat": {
		{"requests", `"unit":"requests/sec"`, false}, {"requests", `"values":["mean","max"]`, false}, {"requests", `{"color":"#ff9830","value":200}`, false}, {"requests", `"value":"idle"`, false},
	},
	"percentages as thresholds":                     {{"requests", `"mode":"percent"`, true}},
	"legend format":                                 {{"requests", `"seriesNameFormat":"{{code}}"`, false}},
	"minimum step of a query":                       {{"nodes", `"minStep":"$resolution"`, true}},
	"minimum step of a panel":                       {{"nodes", `"minStep":"2m"`, true}},
	"instant queries":                               {{"requests", `"instant":true`, true}},
	"`$__interval`, `$__rate_interval`, `$__range`": {{"requests", `[$__interval]`, false}, {"requests", `[$__rate_interval]`, false}, {"requests", `[$__range]`, false}},
	"variables as `[[name]]`":                       {{"objectives", `"seriesNameFormat":"{{instance}} of ${job}"`, true}},
	"datasource by uid":                             {{"nodes", `"name":"metrics"`, true}},
	"datasource by variable":                        {{"requests", `"datasource":"$metrics"`, true}},
	"queries without a datasource of their own, or with its name alone": {
		{"objectives", `"datasource":{"kind":"TieredPrometheusDatasource","name":"metrics"},"query":"1 - sum`, true},
	},
	"variable of datasources":           {{"requests", `"datasourcePluginKind":"TieredPrometheusDatasource"`, true}, {"requests", `"defaultValue":"metrics"`, true}},
	"`label_values`, `label_names`":     {{"requests", `PrometheusLabelValuesVariable`, false}, {"objectives", `PrometheusLabelNamesVariable`, false}},
	"`query_result`":                    {{"objectives", `"labelName":"instance"`, true}, {"objectives", `"labelName":"job"`, false}},
	"`metrics`":                         {{"objectives", `"labelName":"__name__"`, true}},
	"links with variables":              {{"requests", `"renderVariables":true`, true}},
	"annotations by a Prometheus query": {{"requests", `"kind":"TieredPrometheusPromQLAnnotation"`, true}, {"requests", `"title":"{{job}} fails"`, true}, {"requests", `"tags":["job"]`, true}},
	"custom, interval, text box and constant variables, several values, All, hidden": {
		{"requests", `{"label":"OK","value":"200"}`, false}, {"requests", `"values":["5m","1h"]`, true}, {"requests", `"value":".*:8080"`, false}, {"requests", `"value":"shop","constant":true`, false},
		{"requests", `"allowMultiple":true`, false}, {"requests", `"customAllValue":"..."`, false}, {"requests", `"defaultValue":["$__all"]`, false}, {"requests", `"hidden":true`, false},
	},
}

// TestFromGrafana_KeepsAndLosesWhatIsDocumented moves three dashboards of Grafana into Perses, as docs/from-grafana.md says, and compares what arrives and
// what is lost with its tables. All queries that arrive are answered.
func TestFromGrafana_KeepsAndLosesWhatIsDocumented(t *testing.T) {
	modules := migrationModules(t)
	s := newSite(t, stack.Perses{Modules: modules}, nil)
	requireLoaded(t, s)
	s.login()
	s.apply(document{"kind": "Project", "metadata": document{"name": "shop"}}, s.global("metrics", nil))

	notes, saved, raw := map[string][]string{}, map[string]string{}, map[string]string{}
	for file, name := range grafanaDashboards {
		source := readFile(t, grafanaFile(file))
		shell := newShell(t, s.perses.URL)
		shell.write("grafana.json", source)
		script := strings.ReplaceAll(commands(t, "grafana"), `"$PLUGINS"`, modules)
		script = strings.ReplaceAll(script, "-f grafana.json", "-f grafana.json --input VAR_OBJECTIVE=0.9")
		output, err := shell.run(`percli login "$PERSES"` + "\ncp grafana.json kept.json\n" + script)
		require.NoError(t, err, output)
		// The last command migrated without the server.
		raw[file] = shell.json("migrated.yaml")
		saved[file] = s.saved("/api/v1/projects/shop/dashboards/" + name)
		notes[file] = s.lost(shell, "--datasource", "metrics")
		requireGolden(t, file, notes[file])
		notes[file+" without a datasource"] = s.lost(shell)
		t.Run("queries of "+file, func(t *testing.T) { runDashboard(t, s, saved[file], notes[file]) })
	}
	t.Run("kept", func(t *testing.T) { requireKept(t, saved, raw) })
	t.Run("lost", func(t *testing.T) { requireListed(t, slices.Concat(slices.Collect(maps.Values(notes))...)) })
	t.Run("percli fails", func(t *testing.T) { requirePercliFails(t, s) })
}

func grafanaFile(name string) string { return filepath.Join("testdata", "grafana", name+".json") }

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(text)
}

// requireLoaded checks that Perses loaded every module: it starts without those that it cannot load.
func requireLoaded(t *testing.T, s *site) {
	t.Helper()
	var loaded []struct {
		Metadata struct{ Name string }
		Status   struct {
			IsLoaded bool   `json:"isLoaded"`
			Error    string `json:"error"`
		}
	}
	require.NoError(t, json.Unmarshal([]byte(s.saved("/api/v1/plugins")), &loaded))
	require.Greater(t, len(loaded), len(migrated))
	for _, each := range loaded {
		require.True(t, each.Status.IsLoaded, "%s: %s", each.Metadata.Name, each.Status.Error)
	}
}

// json returns a file of YAML as the compact JSON of Perses.
func (s shell) json(name string) string {
	s.t.Helper()
	var decoded any
	require.NoError(s.t, yaml.Unmarshal([]byte(readFile(s.t, filepath.Join(s.directory, name))), &decoded))
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	require.NoError(s.t, encoder.Encode(decoded))
	return text.String()
}

// lost returns what convert-dashboard reports of the dashboard that percli migrated last.
func (s *site) lost(shell shell, arguments ...string) []string {
	s.t.Helper()
	command := exec.CommandContext(s.t.Context(), shared.tierproxyPath,
		append([]string{"convert-dashboard", "--to", "tiered", "--grafana", "grafana.json", "migrated.yaml"}, arguments...)...)
	command.Dir = shell.directory
	var stderr bytes.Buffer
	command.Stderr = &stderr
	require.NoError(s.t, command.Run(), stderr.String())
	return strings.Split(strings.TrimSpace(stderr.String()), "\n")
}

// requireGolden compares what is lost of a dashboard with the file beside it.
func requireGolden(t *testing.T, file string, lost []string) {
	t.Helper()
	golden := strings.TrimSuffix(grafanaFile(file), ".json") + ".lost.txt"
	got := strings.Join(lost, "\n") + "\n"
	if *updateGrafana {
		require.NoError(t, os.WriteFile(golden, []byte(got), 0o600))
	}
	require.Equal(t, readFile(t, golden), got)
}

// documentTable returns the rows of the table below a heading of docs/from-grafana.md.
func documentTable(t *testing.T, heading string) [][]string {
	t.Helper()
	_, section, found := strings.Cut(readFile(t, "../../docs/from-grafana.md"), "\n## "+heading+"\n")
	require.True(t, found, heading)
	section, _, _ = strings.Cut(section, "\n## ")
	var rows [][]string
	for line := range strings.Lines(section) {
		if cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | "); strings.HasPrefix(line, "| ") && !strings.HasPrefix(line, "| ---") {
			rows = append(rows, []string{strings.TrimSpace(cells[0]), strings.TrimSpace(cells[1])})
		}
	}
	require.Greater(t, len(rows), 2)
	return rows[1:] // Without its header.
}

// requireKept compares the table of what is kept with what arrived, and with what percli wrote.
func requireKept(t *testing.T, saved, raw map[string]string) {
	var documented []string
	for _, row := range documentTable(t, "What is kept") {
		documented = append(documented, row[0])
		isRestored := false
		for _, each := range keptOfGrafana[row[0]] {
			require.Contains(t, saved[each.dashboard], each.text, row[0])
			if each.isRestored {
				require.NotContains(t, raw[each.dashboard], each.text, "%s: percli writes this itself", row[0])
				isRestored = true
			}
		}
		if row[1] == "percli" {
			continue
		}
		require.Equal(t, "convert-dashboard", row[1], row[0])
		require.True(t, isRestored, row[0])
	}
	require.ElementsMatch(t, slices.Collect(maps.Keys(keptOfGrafana)), documented)
}

// requireListed checks that the documentation has a row for each line that the dashboards gave, and none besides.
func requireListed(t *testing.T, notes []string) {
	patterns := map[string]*regexp.Regexp{}
	unseen := map[string]bool{}
	for _, row := range documentTable(t, "What is lost") {
		text := strings.Trim(row[0], "`")
		patterns[text] = regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(text), "…", ".+") + "$")
		unseen[text] = true
	}
	for _, note := range notes {
		matches := 0
		for text, pattern := range patterns {
			if pattern.MatchString(note) {
				matches++
				delete(unseen, text)
			}
		}
		require.Positive(t, matches, "docs/from-grafana.md does not list: %s", note)
	}
	require.Empty(t, unseen, "docs/from-grafana.md lists what no dashboard gives")
}

// requirePercliFails checks the mistakes of percli that the documentation tells how to get around.
func requirePercliFails(t *testing.T, s *site) {
	source := readFile(t, grafanaFile("requests"))
	for _, row := range documentTable(t, "If percli fails") {
		broken := map[string]string{
			"`undefined field: legendFormat`":              strings.Replace(source, `"legendFormat": "",`, "", 1),
			"`spec.legend.values: undefined field: calcs`": strings.Replace(source, `"legend": { "calcs": [], `, `"legend": { `, 1),
			"`Error name cannot be empty`":                 strings.Replace(source, `"uid": "shop-requests"`, `"uid": null`, 1),
		}[row[0]]
		require.NotEmpty(t, broken, row[0])
		require.NotEqual(t, source, broken)
		file := filepath.Join(t.TempDir(), "grafana.json")
		require.NoError(t, os.WriteFile(file, []byte(broken), 0o600))
		output, err := s.runPercli("migrate", "--online", "-f", file)
		require.Error(t, err, row[0])
		require.Contains(t, output, strings.Trim(row[0], "`"))
	}
}
