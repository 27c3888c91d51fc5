//go:build e2e

package e2e

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// savedDashboard is what the queries of a dashboard are read from.
type savedDashboard struct {
	Spec struct {
		Variables []struct {
			Kind string
			Spec struct {
				Name          string
				Value         string
				AllowMultiple bool
				Plugin        savedPlugin
			}
		}
		Annotations []struct{ Plugin savedPlugin }
		Panels      map[string]struct {
			Spec struct {
				Display struct{ Name string }
				Queries []struct{ Spec struct{ Plugin savedPlugin } }
			}
		}
	}
}

type savedPlugin struct {
	Kind string
	Spec struct {
		Query, Expr, LabelName string
		Matchers               []string
		Instant                bool
		Values                 []any
	}
}

// runDashboard runs all queries of a dashboard as its panels, variables and annotations do, through Perses and tierproxy.
func runDashboard(t *testing.T, s *site, saved string, notes []string) {
	var dashboard savedDashboard
	require.NoError(t, json.Unmarshal([]byte(saved), &dashboard))
	r := runner{t: t, base: s.perses.URL + "/proxy/globaldatasources/metrics", values: map[string][]string{}}
	for _, variable := range dashboard.Spec.Variables {
		r.values[variable.Spec.Name] = r.options(variable.Spec.Plugin)
		if variable.Kind == "TextVariable" {
			r.values[variable.Spec.Name] = []string{variable.Spec.Value}
		}
	}
	for _, annotation := range dashboard.Spec.Annotations {
		require.Equal(t, "TieredPrometheusPromQLAnnotation", annotation.Plugin.Kind)
		r.query(annotation.Plugin.Spec.Expr, false)
	}
	asked := 0
	for _, panel := range dashboard.Spec.Panels {
		for _, query := range panel.Spec.Queries {
			plugin := query.Spec.Plugin
			require.Equal(t, "TieredPrometheusTimeSeriesQuery", plugin.Kind, panel.Spec.Display.Name)
			if strings.Contains(r.replace(plugin.Spec.Query), "$") {
				require.Contains(t, strings.Join(notes, "\n"), "Perses does not know", plugin.Spec.Query)
				continue
			}
			require.NotEmpty(t, r.query(plugin.Spec.Query, plugin.Spec.Instant), plugin.Spec.Query)
			asked++
		}
	}
	require.Greater(t, asked, 2)
}

// runner asks a datasource with the values of variables.
type runner struct {
	t      *testing.T
	base   string
	values map[string][]string
}

// options returns the values of a variable.
func (r runner) options(plugin savedPlugin) []string {
	matchers := url.Values{}
	for _, matcher := range plugin.Spec.Matchers {
		matchers.Add("match[]", r.replace(matcher))
	}
	var found []string
	switch plugin.Kind {
	case "TieredPrometheusLabelValuesVariable":
		r.get("label/"+plugin.Spec.LabelName+"/values", matchers, &found)
	case "TieredPrometheusLabelNamesVariable":
		r.get("labels", matchers, &found)
	case "TieredPrometheusPromQLVariable":
		for _, series := range r.query(plugin.Spec.Expr, true) {
			found = append(found, series.Metric[plugin.Spec.LabelName])
		}
	default:
		for _, value := range plugin.Spec.Values {
			text, _ := value.(string)
			if option, isObject := value.(document); isObject {
				text, _ = option["value"].(string)
			}
			found = append(found, text)
		}
		return found
	}
	require.NotEmpty(r.t, found, "%s", plugin.Kind)
	return found
}

// builtIn are values of the variables of Perses.
var builtIn = strings.NewReplacer("$__rate_interval", "4m", "$__interval", "1m", "$__range", "1h")

// replace replaces variables as the plugin does: by one value after = and outside of strings, else by all of them.
func (r runner) replace(text string) string {
	text = builtIn.Replace(text)
	for _, name := range slices.Backward(slices.Sorted(maps.Keys(r.values))) {
		values := r.values[name]
		if len(values) == 0 {
			continue
		}
		all := "(" + strings.Join(values, "|") + ")"
		if len(values) == 1 {
			all = values[0]
		}
		text = strings.NewReplacer(`="$`+name+`"`, `="`+values[0]+`"`, "[$"+name+"]", "["+values[0]+"]", "${"+name+":pipe}", strings.Join(values, "|"),
			"${"+name+"}", all, "$"+name, all).Replace(text)
	}
	return text
}

type foundSeries struct{ Metric map[string]string }

func (r runner) query(expression string, instant bool) []foundSeries {
	r.t.Helper()
	end := time.Now()
	parameters, endpoint := url.Values{"query": {r.replace(expression)}}, "query_range"
	if instant {
		endpoint = "query"
		parameters.Set("time", seconds(end))
	} else {
		parameters.Set("start", seconds(end.Add(-time.Hour)))
		parameters.Set("end", seconds(end))
		parameters.Set("step", strconv.Itoa(60))
	}
	var found struct{ Result []foundSeries }
	r.get(endpoint, parameters, &found)
	return found.Result
}

// get asks an endpoint and decodes the data of its answer.
func (r runner) get(endpoint string, parameters url.Values, into any) {
	r.t.Helper()
	got := mustDo(r.t, call{base: r.base, endpoint: endpoint, values: parameters})
	require.Equal(r.t, http.StatusOK, got.status, "%s %s: %s", endpoint, parameters, got.body)
	var body struct{ Data json.RawMessage }
	require.NoError(r.t, json.Unmarshal(got.body, &body))
	require.NoError(r.t, json.Unmarshal(body.Data, into))
	require.NotEmpty(r.t, got.tier, "tierproxy answers, and no other")
}
