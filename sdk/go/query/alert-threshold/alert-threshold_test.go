package alertthreshold_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	alertthreshold "github.com/tiered-prometheus/tiered-prometheus/sdk/go/query/alert-threshold"
)

const fixtures = "../../../../schemas/queries/tiered-prometheus-alert-threshold-query/tests/"

// read returns the spec of a fixture without its datasource, and an error where the types of the package cannot hold it.
func read(t *testing.T, file string) (spec alertthreshold.PluginSpec, fields map[string]any, err error) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var plugin struct {
		Spec map[string]any `json:"spec"`
	}
	require.NoError(t, json.Unmarshal(text, &plugin))
	delete(plugin.Spec, "datasource") // A reference is written, and never read.
	text, err = json.Marshal(plugin.Spec)
	require.NoError(t, err)
	err = json.Unmarshal(text, &spec)
	return spec, plugin.Spec, err
}

// options set what a spec holds.
func options(spec alertthreshold.PluginSpec) []alertthreshold.Option {
	all := []alertthreshold.Option{alertthreshold.Alerts(spec.Alerts...), alertthreshold.Matchers(spec.Matchers...)}
	if spec.Metric != "" {
		all = append(all, alertthreshold.Metric(spec.Metric))
	}
	if variable, isVariable := strings.CutPrefix(spec.MinStep, "$"); isVariable {
		all = append(all, alertthreshold.MinStepVariable(variable))
	} else if step, err := time.ParseDuration(spec.MinStep); err == nil {
		all = append(all, alertthreshold.MinStep(step))
	}
	return all
}

// TestOptions_AcceptWhatTheModelAccepts builds the valid examples of the CUE model.
func TestOptions_AcceptWhatTheModelAccepts(t *testing.T) {
	files, err := filepath.Glob(fixtures + "valid/*.json")
	require.NoError(t, err)
	require.Greater(t, len(files), 5)
	for _, file := range files {
		spec, expected, err := read(t, file)
		require.NoError(t, err, file)
		built := alertthreshold.AlertThresholds(options(spec)...)
		require.NoError(t, built.Error, file)
		written, err := json.Marshal(built.Plugin.Spec)
		require.NoError(t, err)
		actual := map[string]any{}
		require.NoError(t, json.Unmarshal(written, &actual))
		switch filepath.Base(file) {
		case "alerts-none.json", "min-step-empty.json": // Nothing is the same as a field that is left out.
		default:
			require.Equal(t, expected, actual, file)
		}
	}
}

// TestOptions_SayWhatTheModelSays builds the invalid examples that the types of the package can hold.
func TestOptions_SayWhatTheModelSays(t *testing.T) {
	files, err := filepath.Glob(fixtures + "invalid/*.json")
	require.NoError(t, err)
	said := 0
	for _, file := range files {
		words, err := os.ReadFile(strings.TrimSuffix(file, ".json") + ".error")
		require.NoError(t, err)
		_, message, _ := strings.Cut(strings.TrimSpace(string(words)), ": ")
		spec, _, err := read(t, file)
		if err != nil || !strings.Contains(filepath.Base(file), "alert-") && !strings.Contains(filepath.Base(file), "matcher-") {
			continue
		}
		said++
		require.ErrorContains(t, alertthreshold.AlertThresholds(options(spec)...).Error, message, file)
	}
	require.GreaterOrEqual(t, said, 6)
}

func TestAlertThresholds_ReportsAllMistakes(t *testing.T) {
	built := alertthreshold.AlertThresholds(
		alertthreshold.Alerts("A", ""), alertthreshold.Matchers("severity=page", "team"), alertthreshold.Metric(""), alertthreshold.MinStep(1))
	require.EqualError(t, built.Error, `TieredPrometheusAlertThresholdQuery:
alerts: must be the name of an alerting rule, not empty
matchers: "severity=page": must be a label matcher such as severity="critical"
matchers: "team": must be a label matcher such as severity="critical"
metric: must be the name of a metric, not empty
minStep: 1ns: must be a number of milliseconds, not negative`)
}

func TestAlertThresholds_BuildsAQuery(t *testing.T) {
	built := alertthreshold.AlertThresholds(
		alertthreshold.Datasource("metrics"), alertthreshold.Alerts("A"), alertthreshold.AddAlert("$alert"),
		alertthreshold.Matchers(`severity="critical"`), alertthreshold.AddMatcher(`team=~"$team"`),
		alertthreshold.Metric("errors_total"), alertthreshold.MinStep(90*time.Second))
	require.NoError(t, built.Error)
	text, err := json.Marshal(built.Plugin)
	require.NoError(t, err)
	require.JSONEq(t, `{"kind": "TieredPrometheusAlertThresholdQuery", "spec": {
		"datasource": {"kind": "TieredPrometheusDatasource", "name": "metrics"}, "alerts": ["A", "$alert"],
		"matchers": ["severity=\"critical\"", "team=~\"$team\""], "metric": "errors_total", "minStep": "1m30s"}}`, string(text))

	built = alertthreshold.AlertThresholds(alertthreshold.DatasourceVariable("source"), alertthreshold.MinStepVariable("step"))
	text, err = json.Marshal(built.Plugin)
	require.NoError(t, err)
	require.JSONEq(t, `{"kind": "TieredPrometheusAlertThresholdQuery", "spec": {"datasource": "$source", "minStep": "$step"}}`, string(text))
}
