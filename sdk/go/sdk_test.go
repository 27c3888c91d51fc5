package sdk

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/perses/perses/go-sdk/dashboard"
	"github.com/perses/perses/go-sdk/panel"
	panelgroup "github.com/perses/perses/go-sdk/panel-group"
	variablegroup "github.com/perses/perses/go-sdk/variable-group"
	listvariable "github.com/perses/perses/go-sdk/variable/list-variable"

	"github.com/tiered-prometheus/tiered-prometheus/sdk/go/annotation"
	"github.com/tiered-prometheus/tiered-prometheus/sdk/go/datasource"
	"github.com/tiered-prometheus/tiered-prometheus/sdk/go/query"
	labelnames "github.com/tiered-prometheus/tiered-prometheus/sdk/go/variable/label-names"
	labelvalues "github.com/tiered-prometheus/tiered-prometheus/sdk/go/variable/label-values"
	"github.com/tiered-prometheus/tiered-prometheus/sdk/go/variable/promql"
)

// plugins returns the plugins of a list of variables or queries by their place in it.
func plugins(t *testing.T, built any) []any {
	t.Helper()
	text, err := json.Marshal(built)
	require.NoError(t, err)
	var each []struct {
		Kind string `json:"kind"`
		Spec struct {
			Plugin any `json:"plugin"`
		} `json:"spec"`
	}
	require.NoError(t, json.Unmarshal(text, &each))
	var found []any
	for _, one := range each {
		found = append(found, one.Spec.Plugin)
	}
	return found
}

func TestVariableGroup_VariablesConfineEachOther(t *testing.T) {
	built, err := dashboard.New("shop", dashboard.ProjectName("demo"), dashboard.AddVariableGroup(
		variablegroup.AddVariable("labels", listvariable.List(
			labelnames.TieredPrometheusLabelNames(labelnames.Datasource("metrics"), labelnames.Matchers("up"), labelnames.AddMatcher(`{job="a"}`)),
		)),
		variablegroup.AddVariable("job", listvariable.List(
			labelvalues.TieredPrometheusLabelValues("job", labelvalues.AddMatcher("up")),
		)),
		variablegroup.AddVariable("instance", listvariable.List(listvariable.AllowMultiple(true),
			labelvalues.TieredPrometheusLabelValues("instance", labelvalues.DatasourceVariable("source"), labelvalues.Matchers("up", `down{}`)),
		)),
		variablegroup.AddVariable("cluster", listvariable.List(
			promql.TieredPrometheusPromQL("group by (cluster) (up)", promql.LabelName("cluster"), promql.Datasource("metrics")),
		)),
	))
	require.NoError(t, err)
	text, err := json.Marshal(plugins(t, built.Dashboard.Spec.Variables))
	require.NoError(t, err)
	require.JSONEq(t, `[
		{"kind": "TieredPrometheusLabelNamesVariable", "spec": {
			"datasource": {"kind": "TieredPrometheusDatasource", "name": "metrics"}, "matchers": ["up", "{job=\"a\"}"]}},
		{"kind": "TieredPrometheusLabelValuesVariable", "spec": {"labelName": "job", "matchers": ["up"]}},
		{"kind": "TieredPrometheusLabelValuesVariable", "spec": {
			"datasource": "$source", "labelName": "instance", "matchers": ["up{job=~\"$job\"}", "down{}"]}},
		{"kind": "TieredPrometheusPromQLVariable", "spec": {
			"datasource": {"kind": "TieredPrometheusDatasource", "name": "metrics"},
			"expr": "group by (cluster) (up)", "labelName": "cluster"}}
	]`, string(text))
}

func TestPanel_BuildsQueries(t *testing.T) {
	built, err := dashboard.New("shop", dashboard.ProjectName("demo"), dashboard.AddPanelGroup("all",
		panelgroup.AddPanel("up", panel.AddQuery(
			query.PromQL("up"),
			query.PromQL("up", query.Datasource("metrics"), query.SeriesNameFormat("{{instance}}"),
				query.MinStep(90*time.Second), query.Resolution(2), query.Instant(), query.Tier(query.Cold)),
			query.PromQL("up", query.DatasourceVariable("source"), query.MinStepVariable("step"), query.Tier(query.Auto)),
		)),
	))
	require.NoError(t, err)
	for _, each := range built.Dashboard.Spec.Panels {
		text, err := json.Marshal(plugins(t, each.Spec.Queries))
		require.NoError(t, err)
		const expected = `[
			{"kind": "TieredPrometheusTimeSeriesQuery", "spec": {"query": "up"}},
			{"kind": "TieredPrometheusTimeSeriesQuery", "spec": {
				"datasource": {"kind": "TieredPrometheusDatasource", "name": "metrics"}, "query": "up",
				"seriesNameFormat": "{{instance}}", "minStep": "1m30s", "resolution": 2, "instant": true, "tier": "cold"}},
			{"kind": "TieredPrometheusTimeSeriesQuery", "spec": {
				"datasource": "$source", "query": "up", "minStep": "$step", "tier": "auto"}}
		]`
		require.JSONEq(t, expected, string(text))

		inYAML, err := yaml.Marshal(each.Spec.Queries)
		require.NoError(t, err)
		var queries []any
		require.NoError(t, yaml.Unmarshal(inYAML, &queries))
		text, err = json.Marshal(plugins(t, queries))
		require.NoError(t, err)
		require.JSONEq(t, expected, string(text), "the default format of percli dac build")
	}
	require.Len(t, built.Dashboard.Spec.Panels, 1)
}

func TestDashboard_HasAnnotations(t *testing.T) {
	built, err := dashboard.New("shop", dashboard.ProjectName("demo"),
		annotation.PromQL("Down", "up == 0"),
		annotation.PromQL("Deployments", "changes(generation[5m]) > 0", annotation.Description("Of this cluster"), annotation.Hidden(),
			annotation.Color("#ee6c6c"), annotation.DatasourceVariable("source"), annotation.Title("Deployment of {{deployment}}"),
			annotation.Legend("{{namespace}}"), annotation.Tags("deployment"), annotation.SplitAtGaps()),
		annotation.FiringAlerts("Alerts", annotation.Datasource("metrics"), annotation.Legend("{{instance}}")),
	)
	require.NoError(t, err)
	const expected = `[
		{"display": {"name": "Down"}, "plugin": {"kind": "TieredPrometheusPromQLAnnotation", "spec": {"expr": "up == 0"}}},
		{"display": {"name": "Deployments", "description": "Of this cluster", "hidden": true, "color": "#ee6c6c"},
			"plugin": {"kind": "TieredPrometheusPromQLAnnotation", "spec": {"datasource": "$source",
				"expr": "changes(generation[5m]) > 0", "title": "Deployment of {{deployment}}", "legend": "{{namespace}}",
				"tags": ["deployment"], "splitAtGaps": true}}},
		{"display": {"name": "Alerts"}, "plugin": {"kind": "TieredPrometheusPromQLAnnotation", "spec": {
			"datasource": {"kind": "TieredPrometheusDatasource", "name": "metrics"}, "expr": "ALERTS{alertstate=\"firing\"}",
			"title": "{{alertname}}", "legend": "{{instance}}", "splitAtGaps": true}}}
	]`
	text, err := json.Marshal(built.Dashboard.Spec.Annotations)
	require.NoError(t, err)
	require.JSONEq(t, expected, string(text))

	inYAML, err := yaml.Marshal(built.Dashboard.Spec.Annotations)
	require.NoError(t, err)
	var annotations []any
	require.NoError(t, yaml.Unmarshal(inYAML, &annotations))
	text, err = json.Marshal(annotations)
	require.NoError(t, err)
	require.JSONEq(t, expected, string(text), "the default format of percli dac build")
}

func TestBuilders_MistakesNameTheField(t *testing.T) {
	for message, option := range map[string]dashboard.Option{
		"query: must be a PromQL expression, not empty":                                         dashboard.AddPanelGroup("g", panelgroup.AddPanel("p", panel.AddQuery(query.PromQL("")))),
		`tier: "warm": must be auto, hot or cold`:                                               dashboard.AddPanelGroup("g", panelgroup.AddPanel("p", panel.AddQuery(query.PromQL("up", query.Tier("warm"))))),
		"minStep: 1ns: must be a number of milliseconds":                                        dashboard.AddPanelGroup("g", panelgroup.AddPanel("p", panel.AddQuery(query.PromQL("up", query.MinStep(1))))),
		"labelName: must be the name of a label, not empty: set it with LabelName":              dashboard.AddVariable("v", listvariable.List(promql.TieredPrometheusPromQL("up"))),
		"expr: must be a PromQL expression":                                                     dashboard.AddVariable("v", listvariable.List(promql.TieredPrometheusPromQL(""))),
		"LabelValuesVariable: labelName: must be the name of a label":                           dashboard.AddVariable("v", listvariable.List(labelvalues.TieredPrometheusLabelValues(""))),
		"PromQLAnnotation:\ndisplay.name: must not be empty\nexpr: must be a PromQL expression": annotation.PromQL("", ""),
		"tags: must be names of labels, not empty":                                              annotation.PromQL("a", "up", annotation.Tags("pod", "")),
		"proxy: is required": dashboard.AddDatasource("d", datasource.TieredPrometheus()),
	} {
		_, err := dashboard.New("shop", option)
		require.ErrorContains(t, err, message)
	}
}
