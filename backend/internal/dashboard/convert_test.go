package dashboard

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// files are documents that hold everything that is converted, and much that is
// not, in several layouts.
func files(t testing.TB) map[string][]byte {
	t.Helper()
	names, err := filepath.Glob("testdata/*.*")
	require.NoError(t, err)
	all := map[string][]byte{}
	for _, name := range names {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		all[filepath.Base(name)] = text
	}
	require.Greater(t, len(all), 3)
	return all
}

func TestConvert_RoundTripGivesTheSameFile(t *testing.T) {
	for name, source := range files(t) {
		t.Run(name, func(t *testing.T) {
			there, err := Convert(source, Options{To: Tiered})
			require.NoError(t, err)
			require.Positive(t, there.Converted)
			require.NotEqual(t, string(source), string(there.Document))
			back, err := Convert(there.Document, Options{To: Prometheus})
			require.NoError(t, err)
			require.Equal(t, string(source), string(back.Document))
			require.Equal(t, there.Converted, back.Converted)

			again, err := Convert(there.Document, Options{To: Tiered})
			require.NoError(t, err)
			require.Zero(t, again.Converted)
			require.Equal(t, string(there.Document), string(again.Document))
		})
	}
}

func TestConvert_ChangesOnlyKindsOfPlugins(t *testing.T) {
	for name, source := range files(t) {
		t.Run(name, func(t *testing.T) {
			there, err := Convert(source, Options{To: Tiered})
			require.NoError(t, err)
			require.Equal(t, expected(decode(t, source)), decode(t, there.Document))
			before, after := strings.Split(string(source), "\n"), strings.Split(string(there.Document), "\n")
			require.Len(t, after, len(before), "no line comes or goes")
		})
	}
}

// decode reads the documents of a text.
func decode(t testing.TB, text []byte) []any {
	t.Helper()
	decoder := yaml.NewDecoder(strings.NewReader(string(text)))
	var documents []any
	for {
		var document any
		if err := decoder.Decode(&document); err != nil {
			require.EqualError(t, err, "EOF", string(text))
			return documents
		}
		documents = append(documents, document)
	}
}

// expected says once more what a conversion to tiered is, of decoded documents.
func expected(value any) any {
	switch value := value.(type) {
	case []any:
		for i := range value {
			value[i] = expected(value[i])
		}
	case map[string]any:
		for key, below := range value {
			value[key] = expected(below)
		}
		convertPlugin(at(value, "plugin"))
	case map[any]any: // One of the keys is no string.
		for key, below := range value {
			value[key] = expected(below)
		}
		convertPlugin(at(value, "plugin"))
	}
	return value
}

// convertPlugin gives a decoded plugin the kinds that it should have after the conversion.
func convertPlugin(plugin any) {
	spec := at(plugin, "spec")
	switch kind := at(plugin, "kind"); kind {
	case "PrometheusTimeSeriesQuery", "PrometheusLabelNamesVariable", "PrometheusLabelValuesVariable", "PrometheusPromQLVariable", "PrometheusPromQLAnnotation":
		put(plugin, "kind", "Tiered"+kind.(string))
		if datasource := at(spec, "datasource"); at(datasource, "kind") == "PrometheusDatasource" {
			put(datasource, "kind", "TieredPrometheusDatasource")
		}
	case "DatasourceVariable":
		if at(spec, "datasourcePluginKind") == "PrometheusDatasource" {
			put(spec, "datasourcePluginKind", "TieredPrometheusDatasource")
		}
	}
}

// at returns the value of a key in a decoded mapping, or nil.
func at(mapping any, key string) any {
	switch mapping := mapping.(type) {
	case map[string]any:
		return mapping[key]
	case map[any]any:
		return mapping[key]
	}
	return nil
}

// put sets the value of a key in a decoded mapping.
func put(mapping any, key string, value any) {
	switch mapping := mapping.(type) {
	case map[string]any:
		mapping[key] = value
	case map[any]any:
		mapping[key] = value
	}
}

func TestConvert_ReportsWhatItLeavesOrDrops(t *testing.T) {
	there, err := Convert(files(t)["dashboard.yaml"], Options{To: Tiered, Datasource: "metrics"})
	require.NoError(t, err)
	require.Equal(t, 7, there.Converted)
	require.Equal(t, []string{
		"spec.datasources.local.plugin: this datasource stays a PrometheusDatasource: write a TieredPrometheusDatasource in its place by hand",
		"spec.variables.3.spec.plugin.spec.datasource: $datasource selects the datasource and stays",
		"spec.panels.slow.spec.queries.1.spec.plugin: this PrometheusAlertsQuery stays, since it has no counterpart, and uses a PrometheusDatasource",
	}, there.Notes)
}

// TestConvert_LeavesAlertThresholds also checks that the way back reports them, whether they
// select a datasource or not.
func TestConvert_LeavesAlertThresholds(t *testing.T) {
	for name, spec := range map[string]string{
		"the default datasource":   `{alerts: [HighErrors]}`,
		"a datasource by its name": `{datasource: {kind: TieredPrometheusDatasource, name: old}}`,
		"a variable":               `{datasource: $source}`,
	} {
		t.Run(name, func(t *testing.T) {
			document := "- plugin: {kind: TieredPrometheusAlertThresholdQuery, spec: " + spec + "}\n"
			for _, target := range []Target{Tiered, Prometheus} {
				result, err := Convert([]byte(document), Options{To: target, Datasource: "metrics"})
				require.NoError(t, err)
				require.Equal(t, document, string(result.Document))
				require.Zero(t, result.Converted)
				if target == Tiered {
					require.Empty(t, result.Notes)
					continue
				}
				require.Equal(t, []string{
					"0.plugin: this TieredPrometheusAlertThresholdQuery stays, since it has no counterpart, and uses a TieredPrometheusDatasource",
				}, result.Notes)
			}
		})
	}
}

// TestConvert_NamesDatasourceAndDropsTier converts one query in each style of YAML
// and JSON.
func TestConvert_NamesDatasourceAndDropsTier(t *testing.T) {
	for name, c := range map[string]struct {
		options       Options
		before, after string
	}{
		"added to block YAML": {
			options: Options{To: Tiered, Datasource: "metrics"},
			before:  "plugin:\n  kind: PrometheusTimeSeriesQuery\n  spec:\n    # the query\n    query: up\n",
			after:   "plugin:\n  kind: TieredPrometheusTimeSeriesQuery\n  spec:\n    # the query\n    datasource:\n      kind: TieredPrometheusDatasource\n      name: metrics\n    query: up\n",
		},
		"added in a list": {
			options: Options{To: Tiered, Datasource: "metrics"},
			before:  "- plugin: {kind: PrometheusTimeSeriesQuery, spec: {query: up}}\n- plugin: {kind: PrometheusLabelNamesVariable, spec: {}}\n",
			after: "- plugin: {kind: TieredPrometheusTimeSeriesQuery, spec: {datasource: {kind: TieredPrometheusDatasource, name: metrics}, query: up}}\n" +
				"- plugin: {kind: TieredPrometheusLabelNamesVariable, spec: {datasource: {kind: TieredPrometheusDatasource, name: metrics}}}\n",
		},
		"added to JSON": {
			options: Options{To: Tiered, Datasource: "metrics"},
			before:  "{\"plugin\": {\n  \"kind\": \"PrometheusTimeSeriesQuery\",\n  \"spec\": {\n    \"query\": \"up\"\n  }\n}}",
			after:   "{\"plugin\": {\n  \"kind\": \"TieredPrometheusTimeSeriesQuery\",\n  \"spec\": {\n    \"datasource\": {\"kind\": \"TieredPrometheusDatasource\", \"name\": \"metrics\"},\n    \"query\": \"up\"\n  }\n}}",
		},
		"replaced, quotes kept": {
			options: Options{To: Tiered, Datasource: "metrics"},
			before:  "plugin:\n  kind: 'PrometheusTimeSeriesQuery'\n  spec: {query: up, datasource: {kind: \"PrometheusDatasource\", name: \"old\"}}\n",
			after:   "plugin:\n  kind: 'TieredPrometheusTimeSeriesQuery'\n  spec: {query: up, datasource: {kind: \"TieredPrometheusDatasource\", name: \"metrics\"}}\n",
		},
		"a name that YAML takes for a number": {
			options: Options{To: Tiered, Datasource: "2024"},
			before:  "plugin:\n  kind: PrometheusTimeSeriesQuery\n  spec:\n    datasource:\n      kind: PrometheusDatasource\n    query: up\n",
			after:   "plugin:\n  kind: TieredPrometheusTimeSeriesQuery\n  spec:\n    datasource:\n      name: \"2024\"\n      kind: TieredPrometheusDatasource\n    query: up\n",
		},
		"tier in block YAML": {
			options: Options{To: Prometheus},
			before:  "plugin:\r\n  kind: TieredPrometheusTimeSeriesQuery\r\n  spec:\r\n    query: up\r\n    tier: hot # fast\r\n    minStep: 1m\r\n",
			after:   "plugin:\r\n  kind: PrometheusTimeSeriesQuery\r\n  spec:\r\n    query: up\r\n    minStep: 1m\r\n",
		},
		"tier as the first and as the last of flow YAML": {
			options: Options{To: Prometheus},
			before:  "- plugin: {kind: TieredPrometheusTimeSeriesQuery, spec: {tier: \"hot\", query: up}}\n- plugin: {kind: TieredPrometheusTimeSeriesQuery, spec: {query: up, tier: cold}}\n",
			after:   "- plugin: {kind: PrometheusTimeSeriesQuery, spec: {query: up}}\n- plugin: {kind: PrometheusTimeSeriesQuery, spec: {query: up}}\n",
		},
		"tier before the datasource that is added": {
			options: Options{To: Prometheus, Datasource: "prom"},
			before:  "plugin:\n  kind: TieredPrometheusTimeSeriesQuery\n  spec:\n    tier: hot\n    query: up\n",
			after:   "plugin:\n  kind: PrometheusTimeSeriesQuery\n  spec:\n    datasource:\n      kind: PrometheusDatasource\n      name: prom\n    query: up\n",
		},
		"tier alone": {
			options: Options{To: Prometheus},
			before:  "plugin: {kind: TieredPrometheusTimeSeriesQuery, spec: {tier: hot}}",
			after:   "plugin: {kind: PrometheusTimeSeriesQuery, spec: {}}",
		},
		"tier alone, and a datasource that is added": {
			options: Options{To: Prometheus, Datasource: "x"},
			before:  "plugin: {kind: TieredPrometheusTimeSeriesQuery, spec: {tier: hot}}",
			after:   "plugin: {kind: PrometheusTimeSeriesQuery, spec: {datasource: {kind: PrometheusDatasource, name: x}}}",
		},
		"tier in JSON": {
			options: Options{To: Prometheus},
			before:  `{"plugin":{"kind":"TieredPrometheusTimeSeriesQuery","spec":{"query":"up","tier":"auto"}}}`,
			after:   `{"plugin":{"kind":"PrometheusTimeSeriesQuery","spec":{"query":"up"}}}`,
		},
		"an alias": {
			options: Options{To: Tiered},
			before:  "a: {plugin: &p {kind: &k PrometheusTimeSeriesQuery, spec: {query: up}}}\nb: {plugin: *p}\nc: {plugin: {kind: *k}}\n",
			after:   "a: {plugin: &p {kind: &k TieredPrometheusTimeSeriesQuery, spec: {query: up}}}\nb: {plugin: *p}\nc: {plugin: {kind: *k}}\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			result, err := Convert([]byte(c.before), c.options)
			require.NoError(t, err)
			require.Equal(t, c.after, string(result.Document))
			decode(t, result.Document)
			require.Equal(t, strings.Count(c.before, "tier:")+strings.Count(c.before, `"tier":`), len(result.Notes), result.Notes)
		})
	}
}

func TestConvert_AnnotationsComeBackWhole(t *testing.T) {
	const tiered = "annotations:\n- display: {name: a}\n  plugin:\n    kind: TieredPrometheusPromQLAnnotation\n    spec:\n      expr: up\n      splitAtGaps: true\n"
	result, err := Convert([]byte(tiered), Options{To: Prometheus})
	require.NoError(t, err)
	plain := strings.Replace(strings.Replace(tiered, "TieredProm", "Prom", 1), "      splitAtGaps: true\n", "", 1)
	require.Equal(t, plain, string(result.Document))
	require.Equal(t, []string{
		"annotations.0.plugin.spec.splitAtGaps: true dropped: a PrometheusPromQLAnnotation marks a series once, across its gaps",
	}, result.Notes)
}

func TestConvert_JSONThatYAMLDoesNotRead(t *testing.T) {
	const before = "{\n\t\"title\":\"\\ud83d\\ude80 \\/ \\\\ud83d\",\n\t\"plugin\":\t{\"kind\":\"PrometheusTimeSeriesQuery\",\n\"spec\":{\"query\":\"up\"}}}"
	result, err := Convert([]byte(before), Options{To: Tiered})
	require.NoError(t, err)
	require.Equal(t, strings.ReplaceAll(before, "Prom", "TieredProm"), string(result.Document))
}

func TestConvert_ReportsMistakes(t *testing.T) {
	for expected, c := range map[string]struct {
		source  string
		options Options
	}{
		`"other" is neither tiered nor prometheus`:                 {"{}", Options{To: "other"}},
		`"a b" is not the name of a datasource`:                    {"{}", Options{To: Tiered, Datasource: "a b"}},
		"there is no document":                                     {"# nothing\n", Options{To: Tiered}},
		"read the document as YAML: yaml: line 2":                  {"a: 1\n b: 2\n", Options{To: Tiered}},
		`line 2: mapping key "a" already defined at line 1`:        {"{\"a\": 1,\n\"a\": 2}", Options{To: Tiered}},
		`line 3: mapping key "a" already defined at line 2`:        {"b: 1\na: 1\na: 2\n", Options{To: Tiered}},
		"plugin.kind: line 2: \"PrometheusTimeSeriesQuery\" has a": {"plugin:\n  kind: >-\n    PrometheusTimeSeriesQuery\n", Options{To: Tiered}},
		"plugin.spec.tier: must be auto, hot or cold":              {"plugin: {kind: TieredPrometheusTimeSeriesQuery, spec: {tier: [hot]}}", Options{To: Prometheus}},
		"plugin.spec.splitAtGaps: must be true or false":           {"plugin: {kind: TieredPrometheusPromQLAnnotation, spec: {splitAtGaps: {}}}", Options{To: Prometheus}},
		"plugin.spec.tier: line 4: nothing would be left":          {"plugin:\n  kind: TieredPrometheusTimeSeriesQuery\n  spec:\n    tier: hot", Options{To: Prometheus}},
		"the changed document would be broken":                     {"plugin: {kind: TieredPrometheusTimeSeriesQuery, spec: {query: up, # this,\n tier: hot}}", Options{To: Prometheus}},
	} {
		_, err := Convert([]byte(c.source), c.options)
		require.ErrorContains(t, err, expected)
	}
}

// FuzzThereAndBackAgain converts any document there and back. The result is the same
// document, and in between only the kinds of plugins differ.
func FuzzThereAndBackAgain(f *testing.F) {
	for _, source := range files(f) {
		f.Add(source)
	}
	f.Add([]byte("- plugin: &a {kind: 'PrometheusTimeSeriesQuery', spec: {}}\n- plugin: *a\n"))
	f.Add([]byte("? plugin\n: kind: PrometheusTimeSeriesQuery\n  spec: {datasource: {kind: \"PrometheusDatasource\"}}\n"))
	f.Add([]byte("{.5, plugin: {0.5: null, kind: PrometheusTimeSeriesQuery, spec: {1: 2, datasource: {kind: PrometheusDatasource}}}}\n"))
	f.Fuzz(func(t *testing.T, source []byte) {
		if strings.Contains(string(source), "Tiered") {
			return // Part of it would come back as something else.
		}
		there, err := Convert(source, Options{To: Tiered})
		if err != nil {
			return
		}
		back, err := Convert(there.Document, Options{To: Prometheus})
		require.NoError(t, err, "%q", there.Document)
		if isEscaped(source) {
			return // What was written with escapes comes back without.
		}
		require.Equal(t, string(source), string(back.Document), "%q", there.Document)
		requireOnlyKinds(t, source, there.Document)
	})
}

func isEscaped(source []byte) bool {
	return json.Valid(source) && strings.Contains(string(source), `\u`)
}

// requireOnlyKinds compares the decoded documents, where they can be decoded.
func requireOnlyKinds(t *testing.T, before, after []byte) {
	t.Helper()
	var old, changed any
	if yaml.Unmarshal(before, &old) != nil || strings.Contains(string(before), "<<") || strings.ContainsAny(string(before), "*") {
		return // An alias is changed with its anchor, wherever it leads.
	}
	require.NoError(t, yaml.Unmarshal(after, &changed), "%q", after)
	if want := expected(old); !reflect.DeepEqual(want, changed) {
		wanted, _ := yaml.Marshal(want)
		got, _ := yaml.Marshal(changed)
		require.Equal(t, string(wanted), string(got)) // NaN equals NaN here
	}
}

// FuzzDatasourceAndTier names a datasource and drops tiers. The document stays
// valid.
func FuzzDatasourceAndTier(f *testing.F) {
	for _, source := range files(f) {
		f.Add(source, true)
		f.Add([]byte(strings.ReplaceAll(string(source), "Prometheus", "TieredPrometheus")), false)
	}
	f.Add([]byte("- plugin:\n    kind: TieredPrometheusTimeSeriesQuery\n    spec:\n      tier: hot\n      query: up\n"), false)
	f.Fuzz(func(t *testing.T, source []byte, tiered bool) {
		to := Prometheus
		if tiered {
			to = Tiered
		}
		first, err := Convert(source, Options{To: to, Datasource: "metrics"})
		if err != nil {
			return
		}
		second, err := Convert(first.Document, Options{To: to})
		require.NoError(t, err, "%q", first.Document)
		require.Zero(t, second.Converted)
		require.Equal(t, string(first.Document), string(second.Document))
		var old, changed any
		if yaml.Unmarshal(source, &old) == nil {
			require.NoError(t, yaml.Unmarshal(first.Document, &changed), "%q", first.Document)
		}
	})
}
