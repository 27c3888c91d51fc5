// Command example writes a dashboard with a datasource of its own project:
//
//	percli dac build -f main.go -ojson
package main

import (
	"flag"

	sdk "github.com/perses/perses/go-sdk"
	"github.com/perses/perses/go-sdk/dashboard"
	"github.com/perses/perses/go-sdk/panel"
	panelgroup "github.com/perses/perses/go-sdk/panel-group"
	variablegroup "github.com/perses/perses/go-sdk/variable-group"
	listvariable "github.com/perses/perses/go-sdk/variable/list-variable"
	"github.com/perses/spec/go/plugin"

	"github.com/tiered-prometheus/tiered-prometheus/sdk/go/query"
	labelnames "github.com/tiered-prometheus/tiered-prometheus/sdk/go/variable/label-names"
	labelvalues "github.com/tiered-prometheus/tiered-prometheus/sdk/go/variable/label-values"
	"github.com/tiered-prometheus/tiered-prometheus/sdk/go/variable/promql"
)

// metrics is the name of the datasource.
const metrics = "metrics"

// chart adds a panel of lines.
func chart(title, unit string, queries ...panel.Option) panelgroup.Option {
	lines := panel.Plugin(plugin.Plugin{Kind: "TimeSeriesChart", Spec: map[string]any{
		"legend": map[string]any{"position": "bottom", "mode": "list"},
		"yAxis":  map[string]any{"format": map[string]any{"unit": unit}, "min": 0},
	}})
	return panelgroup.AddPanel(title, append([]panel.Option{lines}, queries...)...)
}

func main() {
	flag.Parse()
	builder, err := dashboard.New("shop-in-go",
		dashboard.ProjectName("dashboards-as-code"),
		dashboard.Name("Web shop, written in Go"),
		dashboard.AddVariableGroup(
			variablegroup.AddVariable("job", listvariable.List(listvariable.AllowAllValue(true), listvariable.AllowMultiple(true),
				labelvalues.TieredPrometheusLabelValues("job", labelvalues.Datasource(metrics), labelvalues.Matchers("http_requests_total")))),
			variablegroup.AddVariable("instance", listvariable.List(listvariable.AllowAllValue(true), listvariable.AllowMultiple(true),
				promql.TieredPrometheusPromQL(`group by (instance) (up{job=~"$job"})`, promql.LabelName("instance"), promql.Datasource(metrics)))),
			variablegroup.AddVariable("label", listvariable.List(
				labelnames.TieredPrometheusLabelNames(labelnames.Datasource(metrics), labelnames.Matchers("http_requests_total")))),
		),
		dashboard.AddPanelGroup("Requests",
			panelgroup.PanelsPerLine(2),
			chart("Requests per second", "decimal", panel.AddQuery(query.PromQL(
				`sum by ($label) (rate(http_requests_total{job=~"$job",instance=~"$instance"}[$__rate_interval]))`,
				query.Datasource(metrics), query.SeriesNameFormat("{{$label}}"),
			))),
			chart("Memory, from cold whatever the time range", "bytes", panel.AddQuery(query.PromQL(
				`max by (job) (process_resident_memory_bytes{job=~"$job",instance=~"$instance"})`,
				query.Datasource(metrics), query.Tier(query.Cold),
			))),
		),
	)
	exec := sdk.NewExec()
	exec.BuildDashboard(builder, err)
}
