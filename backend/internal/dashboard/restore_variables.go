package dashboard

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// migratedValues is what percli migrate writes in place of a variable that it cannot migrate.
var migratedValues = []any{"grafana", "migration", "not", "supported"}

// isPlaceholder reports whether a plugin stands for a variable that percli could not migrate.
func isPlaceholder(plugin object) bool {
	return textOf(plugin, "kind") == "StaticListVariable" && reflect.DeepEqual(child(plugin, "spec")["values"], migratedValues)
}

// variables restores the variables of the dashboard.
func (r *restoration) variables() {
	kept := []any{}
	for _, variable := range items(r.spec, "variables") {
		name := textOf(child(variable, "spec"), "name")
		at := slices.IndexFunc(r.grafana.Templating.List, func(v grafanaVariable) bool { return v.Name == name })
		if at < 0 || r.variable(r.grafana.Templating.List[at], child(variable, "spec")) {
			kept = append(kept, variable)
		}
	}
	if len(kept) > 0 || r.spec["variables"] != nil {
		r.spec["variables"] = kept
	}
}

// variable restores one variable, and reports whether it stays.
func (r *restoration) variable(from grafanaVariable, spec object) bool {
	place := fmt.Sprintf("variable %q", from.Name)
	plugin := child(spec, "plugin")
	if all := textOf(spec, "customAllValue"); all != "" && r.grafana.repeatsFor(from.Name) {
		delete(spec, "customAllValue")
		r.note(place, "its custom All value %q is removed: Perses would repeat its rows and panels once for it, not for each value", all)
	}
	switch from.Type {
	case "adhoc":
		r.note(place, "ad hoc filters are lost: Perses has none, and the variable is removed")
		return false
	case "datasource":
		r.datasourceVariable(place, from, spec)
	case "interval":
		if from.Auto {
			r.note(place, `its option "auto" is removed: write $__interval or $__rate_interval in the queries instead`)
			removeAuto(spec)
		}
	case "query":
		r.queryVariable(place, from, spec)
	default:
		if isPlaceholder(plugin) {
			r.note(place, "Perses migrates no variables of the type %q: replace its values", from.Type)
		}
	}
	return true
}

// datasourceVariable restores a variable that selects a datasource.
func (r *restoration) datasourceVariable(place string, from grafanaVariable, spec object) {
	if from.Query != "prometheus" {
		r.note(place, "it selects datasources of the type %q, and stays as percli wrote it", from.Query)
		return
	}
	if isPlaceholder(child(spec, "plugin")) {
		spec["plugin"] = object{"kind": "DatasourceVariable", "spec": object{"datasourcePluginKind": "PrometheusDatasource"}}
	}
	// The value is the uid or the name of a datasource in Grafana.
	delete(spec, "defaultValue")
	if r.datasource != "" {
		spec["defaultValue"] = r.datasource
	}
	if from.Regex != "" {
		r.note(place, "its regex %s is lost: it offers all datasources of the kind", from.Regex)
	}
}

// removeAuto removes the option auto of an interval, whose value only Grafana computes.
func removeAuto(spec object) {
	isAuto := func(value any) bool {
		if option, isObject := value.(object); isObject {
			value = option["value"]
		}
		text, _ := value.(string)
		return text == "auto" || strings.HasPrefix(text, "$__auto")
	}
	if isAuto(spec["defaultValue"]) {
		delete(spec, "defaultValue")
	}
	options := child(spec, "plugin", "spec")
	if values, isList := options["values"].([]any); isList {
		options["values"] = slices.DeleteFunc(values, isAuto)
	}
}

var (
	metricsQuery = regexp.MustCompile(`^\s*metrics\((.*)\)\s*$`)
	labelValues  = regexp.MustCompile(`(?s)^\s*label_values\(\s*(?:(.*),)?\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*\)\s*$`)
	queryResult  = regexp.MustCompile(`(?s)^\s*query_result\((.*)\)\s*$`)
	// labelRegex matches a regex that takes the value of one label out of a series, and nothing else.
	labelRegex = regexp.MustCompile(`^/[^()]*?\b([a-zA-Z_][a-zA-Z0-9_]*)="?\(([^()]*)\)"?[^()]*/[a-z]*$`)
	// anyValue are the groups of such a regex that match every value.
	anyValue = []string{".*", ".+", ".*?", ".+?", `[^"]*`, `[^"]+`, `\w+`, `\w*`}
)

// queryVariable restores a variable whose values come from a query.
func (r *restoration) queryVariable(place string, from grafanaVariable, spec object) {
	plugin := child(spec, "plugin")
	if !from.Datasource.isPrometheus() {
		if isPlaceholder(plugin) || strings.HasPrefix(textOf(plugin, "kind"), "Prometheus") {
			r.note(place, "it asks a datasource of the type %q: replace it", from.Datasource.name())
		}
		return
	}
	regexIsLost := from.Regex != ""
	query := modernSyntax(string(from.Query))
	switch {
	case strings.HasPrefix(textOf(plugin, "kind"), "Prometheus") && !queryResult.MatchString(query):
		matchers, _ := child(plugin, "spec")["matchers"].([]any)
		for i, matcher := range matchers {
			matchers[i] = modernSyntax(fmt.Sprint(matcher))
		}
	case metricsQuery.MatchString(query):
		// Grafana finds the pattern anywhere in the name.
		matcher := fmt.Sprintf("{__name__=~%q}", ".*("+metricsQuery.FindStringSubmatch(query)[1]+").*")
		plugin = object{"kind": "PrometheusLabelValuesVariable", "spec": object{"labelName": "__name__", "matchers": []any{matcher}}}
	case labelValues.MatchString(query):
		parts := labelValues.FindStringSubmatch(query)
		values := object{"labelName": parts[2], "matchers": []any{}}
		if matcher := strings.TrimSpace(parts[1]); matcher != "" {
			values["matchers"] = []any{matcher}
		}
		plugin = object{"kind": "PrometheusLabelValuesVariable", "spec": values}
	case queryResult.MatchString(query):
		result := object{"expr": strings.TrimSpace(queryResult.FindStringSubmatch(query)[1]), "labelName": textOf(child(plugin, "spec"), "labelName")}
		if parts := labelRegex.FindStringSubmatch(from.Regex); parts != nil {
			result["labelName"], regexIsLost = parts[1], !slices.Contains(anyValue, parts[2])
		}
		if label := textOf(result, "labelName"); label == migratedQuery || label == "" {
			r.note(place, "its regex does not tell which label of the result has its values: set labelName")
		}
		plugin = object{"kind": "PrometheusPromQLVariable", "spec": result}
	default:
		r.note(place, "its query %q has no counterpart in Perses: replace its values", from.Query)
		return
	}
	spec["plugin"] = plugin
	r.selectDatasource(child(plugin, "spec"), from.Datasource)
	if regexIsLost {
		r.note(place, "its regex %s is lost: it offers the whole values", from.Regex)
	}
	r.unknownVariables(place, query, rangeVariables)
}
