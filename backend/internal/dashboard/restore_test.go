package dashboard

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// The way of whole dashboards through the real percli is tested in backend/test. Here are single parts, with what percli
// writes of them.

// pair is a Grafana dashboard and what percli makes of it, with one panel.
type pair struct {
	// panel and target are fields of the panel of Grafana and of its query, more those of the dashboard.
	panel, target, more string
	// plugin is the plugin of the migrated panel, query the spec of its query, spec more of the dashboard.
	plugin, query, spec string
}

func (p pair) grafana() string {
	return fmt.Sprintf(`{"title": "T", "uid": "t", "panels": [{"type": "timeseries", "title": "P", "targets": [{"refId": "A", "expr": "up"%s}]%s}]%s}`, p.target, p.panel, p.more)
}

func (p pair) migrated() string {
	plugin, query := p.plugin, p.query
	if plugin == "" {
		plugin = `{"kind": "TimeSeriesChart", "spec": {}}`
	}
	if query == "" {
		query = `{"query": "up"}`
	}
	return fmt.Sprintf(`{"kind": "Dashboard", "metadata": {"name": "t"}, "spec": {"display": {"name": "T"}, "duration": "1h",
		"layouts": [{"kind": "Grid", "spec": {"items": [{"x": 0, "y": 0, "width": 12, "height": 8, "content": {"$ref": "#/spec/panels/0"}}]}}],
		"panels": {"0": {"kind": "Panel", "spec": {"display": {"name": "P"}, "plugin": %s,
			"queries": [{"kind": "TimeSeriesQuery", "spec": {"plugin": {"kind": "PrometheusTimeSeriesQuery", "spec": %s}}}]}}}%s}}`, plugin, query, p.spec)
}

// converted returns the compact JSON of the converted dashboard, and the notes.
func (p pair) converted(t *testing.T, datasource string) (string, []string) {
	t.Helper()
	result, err := Convert([]byte(p.migrated()), Options{To: Tiered, Datasource: datasource, Grafana: []byte(p.grafana())})
	require.NoError(t, err)
	var decoded any
	require.NoError(t, json.Unmarshal(result.Document, &decoded))
	text, err := json.Marshal(decoded)
	require.NoError(t, err)
	return string(text), result.Notes
}

func TestConvert_RestoresPartsOfGrafanaDashboards(t *testing.T) {
	for name, c := range map[string]struct {
		pair
		datasource, expected string
	}{
		"an instant query":              {pair: pair{target: `, "instant": true`}, expected: `{"instant":true,"query":"up"}`},
		"a query that is both":          {pair: pair{target: `, "instant": true, "range": true`}, expected: `"spec":{"query":"up"}`},
		"an empty minimum step":         {pair: pair{query: `{"query": "up", "minStep": ""}`}, expected: `"spec":{"query":"up"}`},
		"the minimum step of the panel": {pair: pair{panel: `, "interval": ">2m"`}, expected: `"minStep":"2m"`},
		"a minimum step in braces":      {pair: pair{target: `, "interval": "${i}"`, query: `{"query": "up", "minStep": "${i}"}`}, expected: `"minStep":"$i"`},
		"a query that percli lost":      {pair: pair{target: `, "datasource": "Prom", "legendFormat": "[[job]]"`, query: `{"query": "migration_from_grafana_not_supported"}`}, expected: `{"datasource":{"kind":"TieredPrometheusDatasource","name":"Prom"},"query":"up","seriesNameFormat":"${job}"}`},
		"the datasource of the panel":   {pair: pair{panel: `, "datasource": {"type": "prometheus", "uid": "p"}`}, datasource: "metrics", expected: `"datasource":{"kind":"TieredPrometheusDatasource","name":"metrics"}`},
		"a datasource by variable":      {pair: pair{target: `, "datasource": {"type": "prometheus", "uid": "${v}"}`, more: `, "templating": {"list": [{"name": "v", "type": "datasource", "query": "prometheus"}]}`, spec: migratedVariable(placeholder)}, expected: `"spec":{"datasource":"$v","query":"up"}`},
		"the default datasource":        {pair: pair{query: `{"query": "up", "datasource": {"kind": "PrometheusDatasource", "name": "default"}}`}, expected: `{"datasource":{"kind":"TieredPrometheusDatasource"},"query":"up"}`},
		"an input that percli has set":  {pair: pair{target: `, "datasource": {"uid": "${DS_P}"}`, query: `{"query": "up", "datasource": {"kind": "PrometheusDatasource", "name": "prom"}}`, more: `, "annotations": {"list": [{"name": "A", "expr": "a", "datasource": "${DS_P}"}]}`}, expected: `"spec":{"datasource":{"kind":"TieredPrometheusDatasource","name":"prom"},"expr":"a"}`},
		"percentages":                   {pair: pair{panel: `, "fieldConfig": {"defaults": {"thresholds": {"mode": "percentage"}}}`, plugin: `{"kind": "TimeSeriesChart", "spec": {"thresholds": {"steps": []}}}`}, expected: `"thresholds":{"mode":"percent","steps":[]}`},
		"a color with red, green, blue": {pair: pair{plugin: `{"kind": "TimeSeriesChart", "spec": {"querySettings": [{"queryIndex": 0, "colorMode": "fixed", "colorValue": "rgba(255, 16, 0, 0.5)"}]}}`}, expected: `"colorValue":"#ff1000"`},
		"a color that is too long":      {pair: pair{plugin: `{"kind": "Table", "spec": {"cellSettings": [{"backgroundColor": "#12345678"}]}}`}, expected: `"backgroundColor":"#123456"`},
		"a panel that repeats":          {pair: pair{panel: `, "repeat": "job", "repeatDirection": "h", "maxPerRow": 4`}, expected: `"repeatVariable":{"maxPer":4,"value":"job"}`},
		"settings of the dashboard":     {pair: pair{more: `, "time": {"from": "now-2d", "to": "now"}, "refresh": "5m", "timezone": "utc", "description": "D"`}, expected: `"duration":"2d"`},
		"a link":                        {pair: pair{spec: `, "links": [{"url": "https://example.org/$job"}]`}, expected: `"links":[{"renderVariables":true,"url":"https://example.org/$job"}]`},
		"text in place of a panel":      {pair: pair{panel: `, "type": "heatmap"`, plugin: `{"kind": "Markdown", "spec": {"text": "**Migration from Grafana not supported !**"}}`}, expected: "This was a panel of Grafana of the type *heatmap*.\\n\\n```\\nup\\n```"},
	} {
		t.Run(name, func(t *testing.T) {
			converted, _ := c.converted(t, c.datasource)
			require.Contains(t, converted, c.expected)
		})
	}
}

// migratedVariable returns a variable as percli writes it, with its plugin.
func migratedVariable(plugin string) string {
	return `, "variables": [{"kind": "ListVariable", "spec": {"name": "v", "defaultValue": "P123", "plugin": ` + plugin + `}}]`
}

const placeholder = `{"kind": "StaticListVariable", "spec": {"values": ["grafana", "migration", "not", "supported"]}}`

func TestConvert_RestoresVariablesOfGrafana(t *testing.T) {
	for name, c := range map[string]struct{ variable, plugin, expected, note string }{
		"datasource": {`"type": "datasource", "query": "prometheus"`, placeholder, `"defaultValue":"metrics","name":"v","plugin":{"kind":"DatasourceVariable","spec":{"datasourcePluginKind":"TieredPrometheusDatasource"}}`, ""},
		"names":      {`"type": "query", "query": "metrics(node_)"`, placeholder, `"kind":"TieredPrometheusLabelValuesVariable","spec":{"datasource":{"kind":"TieredPrometheusDatasource","name":"metrics"},"labelName":"__name__","matchers":["{__name__=~\".*(node_).*\"}"]`, ""},
		"values":     {`"type": "query", "query": "label_values( up{a=\"b,c\"}, job )"`, placeholder, `"labelName":"job","matchers":["up{a=\"b,c\"}"]`, ""},
		"old syntax": {`"type": "query", "query": "label_values(up{a=\"[[x:pipe]]\"}, job)"`, `{"kind": "PrometheusLabelValuesVariable", "spec": {"labelName": "job", "matchers": ["up{a=\"[[x:pipe]]\"}"]}}`, `"matchers":["up{a=\"${x:pipe}\"}"]`, "the dashboard has no variable ${x:pipe}"},
		"result":     {`"type": "query", "query": "query_result(topk(2, up))", "regex": "/.*instance=\"(.*)\".*/"`, `{"kind": "PrometheusPromQLVariable", "spec": {"expr": "query_result(topk(2, up))", "labelName": "migration_from_grafana_not_supported"}}`, `"expr":"topk(2, up)","labelName":"instance"`, ""},
		"part":       {`"type": "query", "query": "query_result(up)", "regex": "/instance=\"(node-.*):9100\"/"`, `{"kind": "PrometheusPromQLVariable", "spec": {"expr": "up", "labelName": "job"}}`, `"labelName":"instance"`, "its regex /instance=\"(node-.*):9100\"/ is lost"},
		"automatic":  {`"type": "interval", "auto": true`, `{"kind": "StaticListVariable", "spec": {"values": [{"label": "auto", "value": "$__auto_interval_v"}, "1m"]}}`, `"values":["1m"]`, `its option "auto" is removed`},
		"custom All": {`"type": "query", "query": "label_values(job)"`, `{"kind": "PrometheusLabelValuesVariable", "spec": {"labelName": "job"}}`, `{"defaultValue":"P123","name":"v"`, `its custom All value ".*" is removed`},
		"ad hoc":     {`"type": "adhoc"`, placeholder, `"variables":[]`, "ad hoc filters are lost"},
	} {
		t.Run(name, func(t *testing.T) {
			p := pair{more: `, "templating": {"list": [{"name": "v", "datasource": {"type": "prometheus", "uid": "u"}, ` + c.variable + `}]}`, spec: migratedVariable(c.plugin)}
			if name == "custom All" {
				p.panel, p.spec = `, "repeat": "v"`, strings.Replace(p.spec, `"name"`, `"customAllValue": ".*", "name"`, 1)
			}
			converted, notes := p.converted(t, "metrics")
			require.Contains(t, converted, c.expected)
			if c.note == "" {
				require.Empty(t, notes)
			} else {
				require.Contains(t, strings.Join(notes, "\n"), c.note)
			}
		})
	}
}

func TestConvert_RenumbersSettingsOfQueriesThatStay(t *testing.T) {
	grafana := `{"title": "T", "panels": [{"title": "P", "targets": [
		{"refId": "A", "expr": "a", "hide": true}, {"refId": "B", "expr": "b"}, {"refId": "C", "expr": "", "datasource": {"type": "loki", "uid": "l"}}, {"refId": "D", "expr": "d"}]}]}`
	query := `{"kind": "TimeSeriesQuery", "spec": {"plugin": {"kind": "PrometheusTimeSeriesQuery", "spec": {"query": "%s"}}}}`
	var queries []string
	for _, name := range []string{"a", "b", "c", "d"} {
		queries = append(queries, fmt.Sprintf(query, name))
	}
	migrated := `{"kind": "Dashboard", "spec": {"panels": {"0": {"spec": {"display": {"name": "P"}, "plugin": {"kind": "TimeSeriesChart",
		"spec": {"querySettings": [{"queryIndex": 0}, {"queryIndex": 3, "lineStyle": "dotted"}]}}, "queries": [` + strings.Join(queries, ",") + `]}}}}}`
	result, err := Convert([]byte(migrated), Options{To: Tiered, Grafana: []byte(grafana)})
	require.NoError(t, err)
	require.Equal(t, 2, result.Converted)
	require.Len(t, result.Notes, 2, result.Notes)
	var decoded struct {
		Spec struct {
			Panels map[string]struct {
				Spec struct{ Plugin struct{ Spec any } }
			}
		}
	}
	require.NoError(t, json.Unmarshal(result.Document, &decoded))
	require.Equal(t, map[string]any{"querySettings": []any{map[string]any{"queryIndex": 1.0, "lineStyle": "dotted"}}}, decoded.Spec.Panels["0"].Spec.Plugin.Spec)
}

// TestConvert_ReadsAllFormatsOfPercli converts JSON, YAML and a custom resource to the same dashboard.
func TestConvert_ReadsAllFormatsOfPercli(t *testing.T) {
	p := pair{target: `, "instant": true`}
	var dashboard map[string]any
	require.NoError(t, json.Unmarshal([]byte(p.migrated()), &dashboard))
	inYAML, err := yaml.Marshal(dashboard)
	require.NoError(t, err)
	resource, err := yaml.Marshal(map[string]any{"apiVersion": "perses.dev/v1alpha2", "kind": "PersesDashboard", "spec": map[string]any{"config": dashboard["spec"]}})
	require.NoError(t, err)
	for _, source := range []string{p.migrated(), string(inYAML), string(resource)} {
		result, err := Convert([]byte(source), Options{To: Tiered, Grafana: []byte(p.grafana())})
		require.NoError(t, err)
		require.Equal(t, 1, result.Converted)
		require.Contains(t, string(result.Document), "instant")
		require.Equal(t, json.Valid([]byte(source)), json.Valid(result.Document), "the format stays")
	}
}

func TestConvert_RefusesWhatIsNoMigration(t *testing.T) {
	p := pair{}
	for expected, c := range map[string]struct{ source, grafana string }{
		"a dashboard from Grafana is converted to tiered only": {p.migrated(), p.grafana()},
		"read the Grafana dashboard as JSON":                   {p.migrated(), "kind: Dashboard"},
		`migrate the part below "dashboard"`:                   {p.migrated(), `{"meta": {}, "dashboard": ` + p.grafana() + `}`},
		"export it as Classic":                                 {p.migrated(), `{"elements": {}, "layout": {}}`},
		`the Grafana dashboard has no "panels"`:                {p.migrated(), `{"rows": []}`},
		"the document is no dashboard that percli migrate":     {"{}", p.grafana()},
		"read the migrated dashboard":                          {"[]", p.grafana()},
		`no panel "0" with the title "Q" and 1 queries`:        {p.migrated(), strings.Replace(p.grafana(), `"P"`, `"Q"`, 1)},
		`no panel "0" with the title "P" and 0 queries`:        {p.migrated(), `{"panels": [{"title": "P"}]}`},
		"the document has 1 panels, and the Grafana dashboard": {p.migrated(), `{"panels": []}`},
	} {
		options := Options{To: Tiered, Grafana: []byte(c.grafana)}
		if strings.Contains(expected, "tiered only") {
			options.To = Prometheus
		}
		_, err := Convert([]byte(c.source), options)
		require.ErrorContains(t, err, expected)
	}
}

// TestConvert_ReportsWhatPercliLeft names what the migration left, where the Grafana dashboard is not known.
func TestConvert_ReportsWhatPercliLeft(t *testing.T) {
	p := pair{
		plugin: `{"kind": "Markdown", "spec": {"text": "**Migration from Grafana not supported !**"}}`,
		query:  `{"query": "migration_from_grafana_not_supported", "datasource": {"kind": "PrometheusDatasource", "name": "${prom}"}}`,
		spec:   migratedVariable(placeholder),
	}
	result, err := Convert([]byte(p.migrated()), Options{To: Tiered})
	require.NoError(t, err)
	notes := strings.Join(result.Notes, "\n")
	require.Contains(t, notes, "spec.panels.0.spec.plugin: percli could not migrate this from Grafana")
	require.Contains(t, notes, "spec.panels.0.spec.queries.0.spec.plugin: percli could not migrate this from Grafana")
	require.Contains(t, notes, "spec.variables.0.spec.plugin: percli could not migrate this variable from Grafana")
	require.Len(t, result.Notes, 3)

	p.query = `{"query": "up", "datasource": {"kind": "PrometheusDatasource", "name": "${prom}"}}`
	result, err = Convert([]byte(p.migrated()), Options{To: Tiered})
	require.NoError(t, err)
	require.Contains(t, strings.Join(result.Notes, "\n"), "the datasource ${prom} is a variable of Grafana")
}

// FuzzGrafana restores from any Grafana dashboard. The converted dashboard stays valid.
func FuzzGrafana(f *testing.F) {
	p := pair{panel: `, "repeat": "a", "maxPerRow": "4", "interval": 3`, target: `, "datasource": null`, more: `, "refresh": false, "templating": {"list": [{"name": "v", "query": 4}]}`, spec: migratedVariable(placeholder)}
	f.Add([]byte(p.grafana()), []byte(p.migrated()))
	f.Fuzz(func(t *testing.T, grafana, migrated []byte) {
		if len(grafana) == 0 {
			return
		}
		result, err := Convert(migrated, Options{To: Tiered, Grafana: grafana})
		if err != nil {
			return
		}
		require.NoError(t, yaml.Unmarshal(result.Document, new(any)), "%q", result.Document)
	})
}
