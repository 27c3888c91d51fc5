package dashboard

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// These are what percli migrate writes where it finds no script for a part of a dashboard.
const (
	migratedQuery = "migration_from_grafana_not_supported"
	migratedPanel = "**Migration from Grafana not supported !**"
)

// keptTransformations are those that the script of Perses' table panel migrates.
var keptTransformations = map[string][]string{"table": {"organize", "merge", "joinByField"}}

// keptOverrides are the properties of field overrides that the scripts of Perses' panels migrate.
var keptOverrides = map[string][]string{
	"timeseries": {"color", "custom.lineStyle", "custom.fillOpacity"},
	"table":      {"displayName", "custom.width", "links"},
	"stat":       {"mappings"},
}

// panels restores the panels in the order of Grafana.
func (r *restoration) panels() {
	panels := r.grafana.byKey()
	for _, key := range slices.SortedFunc(maps.Keys(panels), compareKeys) {
		r.panel(key, panels[key], child(r.spec, "panels", key, "spec"))
	}
}

// compareKeys compares keys of panels by the positions of row and panel.
func compareKeys(a, b string) int {
	var first, second [2]int
	for i, key := range []string{a, b} {
		into := []*[2]int{&first, &second}[i]
		_, _ = fmt.Sscanf(key, "%d_%d", &into[0], &into[1]) // A panel outside rows has one number.
	}
	return slices.Compare(first[:], second[:])
}

func (r *restoration) panel(key string, panel grafanaPanel, spec object) {
	place := fmt.Sprintf("panel %q", panel.Title)
	r.repeat(key, panel)
	plugin := child(spec, "plugin")
	if isPanelPlaceholder(plugin) {
		r.placeholder(place, panel, child(plugin, "spec"))
		return
	}
	r.queries(place, panel, spec)
	r.options(place, panel, plugin)
	r.colors(place, child(plugin, "spec"))
	r.links(place, append(panel.Links, panel.FieldConfig.Defaults.Links...), spec)
}

func isPanelPlaceholder(plugin object) bool {
	return textOf(child(plugin, "spec"), "text") == migratedPanel
}

// placeholder tells in the text that percli put in place of a panel what the panel was, so that it can be built by hand.
func (r *restoration) placeholder(place string, panel grafanaPanel, markdown object) {
	if name := panel.LibraryPanel.Name; name != "" {
		r.note(place, "the library panel %q is not part of the file, and lost: export the dashboard with its library panels, or unlink the panel first", name)
		markdown["text"] = fmt.Sprintf("This was the library panel *%s* of Grafana.", name)
		return
	}
	r.note(place, "Perses migrates no panels of the type %q: a text with its queries is in its place", panel.Type)
	text := fmt.Sprintf("This was a panel of Grafana of the type *%s*.", panel.Type)
	for _, target := range panel.Targets {
		if target.Expr != "" {
			text += "\n\n```\n" + target.Expr + "\n```"
		}
	}
	markdown["text"] = text
}

// options restores the mode of thresholds, and reports options that are lost.
func (r *restoration) options(place string, panel grafanaPanel, plugin object) {
	defaults := panel.FieldConfig.Defaults
	if thresholds := child(plugin, "spec", "thresholds"); thresholds != nil && defaults.Thresholds.Mode == "percentage" {
		thresholds["mode"] = "percent"
	}
	if panel.Type == "bargauge" && len(defaults.Thresholds.Steps) > 1 {
		r.note(place, "its thresholds are lost: a bar chart of Perses has none")
	}
	if len(defaults.Mappings) > 0 && panel.Type != "stat" && panel.Type != "table" {
		r.note(place, "its value mappings are lost")
	}
	if panel.Type == "gauge" && defaults.Min.value != 0 {
		r.note(place, "its minimum %s is lost: a gauge of Perses begins at 0", strconv.FormatFloat(defaults.Min.value, 'f', -1, 64))
	}
	var transformations, properties []string
	for _, each := range panel.Transformations {
		if !slices.Contains(keptTransformations[panel.Type], each.ID) {
			transformations = append(transformations, each.ID)
		}
	}
	for _, override := range panel.FieldConfig.Overrides {
		for _, property := range override.Properties {
			if !slices.Contains(keptOverrides[panel.Type], property.ID) {
				properties = append(properties, property.ID)
			}
		}
	}
	r.lost(place, "transformations", transformations)
	r.lost(place, "field overrides", properties)
	if panel.TimeFrom != "" || panel.TimeShift != "" {
		r.note(place, "its own time range is lost: %s", strings.TrimSpace(strings.Join([]string{panel.TimeFrom, panel.TimeShift}, " ")))
	}
	if panel.MaxDataPoints.value > 0 {
		r.note(place, "its maximum of %v data points is lost: the width of the panel decides", panel.MaxDataPoints.value)
	}
	if isSet(panel.Alert) {
		r.note(place, "its alert is lost: write an alerting rule for Prometheus")
	}
}

var (
	persesColor = regexp.MustCompile(`^#(?:[0-9a-fA-F]{3}){1,2}$`)
	longColor   = regexp.MustCompile(`^(#[0-9a-fA-F]{6})[0-9a-fA-F]{2}$`)
	rgbColor    = regexp.MustCompile(`^rgba?\(\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*(?:,.*)?\)$`)
)

// colors corrects the colors of values and series that Perses refuses, since percli writes those it does not know as Grafana
// has them. A color of a threshold may be any text.
func (r *restoration) colors(place string, chart object) {
	var unknown []string
	correct := func(owner object, key string) {
		color, isText := owner[key].(string)
		if !isText || persesColor.MatchString(color) {
			return
		}
		if parts := longColor.FindStringSubmatch(color); parts != nil {
			owner[key] = parts[1]
		} else if parts := rgbColor.FindStringSubmatch(color); parts != nil {
			owner[key] = "#"
			for _, part := range parts[1:] {
				value, _ := strconv.ParseUint(part, 10, 8) // It is 255 if it is out of range.
				owner[key] = fmt.Sprintf("%s%02x", owner[key], value)
			}
		} else {
			delete(owner, key)
			unknown = append(unknown, color)
		}
	}
	forEachObject(chart, func(each object) {
		correct(child(each, "result"), "color")
		for _, key := range []string{"colorValue", "backgroundColor", "textColor"} {
			correct(each, key)
		}
	})
	r.lost(place, "colors of values or series", unknown)
}

// lost reports things of a panel that are lost, each once.
func (r *restoration) lost(place, what string, names []string) {
	slices.Sort(names)
	if names = slices.Compact(names); len(names) > 0 {
		r.note(place, "these %s are lost: %s", what, strings.Join(names, ", "))
	}
}

func isSet(value json.RawMessage) bool { return len(value) > 0 && string(value) != "null" }

// repeat restores that a panel repeats for the values of a variable.
func (r *restoration) repeat(key string, panel grafanaPanel) {
	if panel.Repeat == "" {
		return
	}
	repeated := object{"value": panel.Repeat}
	if panel.RepeatDirection == "v" {
		repeated["alignment"] = "vertical"
	} else if perRow := panel.MaxPerRow.value; perRow > 0 {
		repeated["maxPer"] = perRow
	}
	for _, layout := range items(r.spec, "layouts") {
		for _, item := range items(child(layout, "spec"), "items") {
			if textOf(child(item, "content"), "$ref") == "#/spec/panels/"+key {
				item["repeatVariable"] = repeated
			}
		}
	}
}

// queries restores the queries of a panel, which percli migrates one by one in their order.
func (r *restoration) queries(place string, panel grafanaPanel, spec object) {
	queries := items(spec, "queries")
	if len(queries) == 0 {
		return
	}
	kept := []any{}
	position := map[int]int{}
	for i, target := range panel.Targets {
		if target.Datasource == (grafanaDatasource{}) {
			target.Datasource = panel.Datasource
		}
		plugin := child(queries[i], "spec", "plugin")
		if reason := droppedBecause(target, plugin); reason != "" {
			r.note(place, "query %s %s: it is removed", target.RefID, reason)
			continue
		}
		if textOf(plugin, "kind") == "PrometheusTimeSeriesQuery" {
			r.query(place, panel, target, plugin)
		}
		position[i] = len(kept)
		kept = append(kept, queries[i])
	}
	spec["queries"] = kept
	moveQuerySettings(child(spec, "plugin", "spec"), position)
}

// droppedBecause returns why a query must not stay, or an empty string.
func droppedBecause(target grafanaTarget, migrated object) string {
	isPrometheus := target.Datasource.isPrometheus()
	switch {
	case !isPrometheus && textOf(migrated, "kind") != "PrometheusTimeSeriesQuery":
		return "" // A script of another plugin migrated it.
	case !isPrometheus:
		return fmt.Sprintf("asks a datasource of the type %q", target.Datasource.name())
	case target.Hide:
		return "is hidden in Grafana"
	case target.Expr == "":
		return "has no expression"
	}
	return ""
}

// moveQuerySettings renumbers the settings of queries after some of them were removed.
func moveQuerySettings(chart object, position map[int]int) {
	settings := items(chart, "querySettings")
	if len(settings) == 0 {
		return
	}
	kept := []any{}
	for _, setting := range settings {
		var old int
		if _, err := fmt.Sscan(fmt.Sprint(setting["queryIndex"]), &old); err != nil {
			continue
		}
		if moved, stays := position[old]; stays {
			setting["queryIndex"] = moved
			kept = append(kept, setting)
		}
	}
	chart["querySettings"] = kept
}

// query restores one Prometheus query.
func (r *restoration) query(place string, panel grafanaPanel, target grafanaTarget, plugin object) {
	spec := child(plugin, "spec")
	if textOf(spec, "query") == migratedQuery {
		spec["query"] = target.Expr
		if format := target.LegendFormat; format != "" && format != "__auto" {
			spec["seriesNameFormat"] = format
		}
		if interval := target.Interval.value; interval != "" {
			spec["minStep"] = interval
		}
	}
	r.selectDatasource(spec, target.Datasource)
	if target.Instant && !target.Range {
		spec["instant"] = true
	}
	if target.Exemplar {
		r.note(place, "the exemplars of query %s are lost", target.RefID)
	}
	if textOf(spec, "minStep") == "" {
		delete(spec, "minStep")
		if interval := strings.TrimPrefix(panel.Interval.value, ">"); interval != "" {
			spec["minStep"] = interval
		}
	}
	if step := textOf(spec, "minStep"); step != "" {
		spec["minStep"] = bracedVariable.ReplaceAllString(modernSyntax(step), "$$$1")
	}
	for _, key := range []string{"query", "seriesNameFormat"} {
		if text := textOf(spec, key); text != "" {
			spec[key] = modernSyntax(text)
		}
	}
	r.unknownVariables(fmt.Sprintf("%s: query %s", place, target.RefID), textOf(spec, "query"), stepVariables)
}

var (
	// oldVariable matches the oldest notation of a variable in Grafana.
	oldVariable = regexp.MustCompile(`\[\[(\w+)(?::(\w+))?\]\]`)
	// bracedVariable matches a text that is one variable in braces.
	bracedVariable = regexp.MustCompile(`^\$\{(\w+)\}$`)
	// anyVariable matches every variable of Grafana in a text, with its field and its format.
	anyVariable = regexp.MustCompile(`\$(?:(\w+)|\{(\w+)(?:\.[^:}]+)?(?::(\w+)[^}]*)?\})`)
)

// modernSyntax writes [[name]] as ${name}.
func modernSyntax(text string) string {
	return oldVariable.ReplaceAllStringFunc(text, func(found string) string {
		parts := oldVariable.FindStringSubmatch(found)
		if parts[2] != "" {
			return "${" + parts[1] + ":" + parts[2] + "}"
		}
		return "${" + parts[1] + "}"
	})
}

// Variables that Perses sets: in every text, and in queries that have a step.
var (
	rangeVariables = []string{"__range", "__range_s", "__range_ms", "__from", "__to", "__dashboard", "__project"}
	stepVariables  = append([]string{"__interval", "__interval_ms", "__rate_interval"}, rangeVariables...)
	formats        = []string{
		"csv", "distributed", "doublequote", "glob", "json", "lucene", "percentencode", "pipe", "prometheus", "raw", "regex",
		"singlequote", "sqlstring", "text", "queryparam",
	}
)

// unknownVariables reports variables and formats that Perses does not know.
func (r *restoration) unknownVariables(place, text string, builtIn []string) {
	reported := map[string]bool{}
	for _, parts := range anyVariable.FindAllStringSubmatch(text, -1) {
		name, format := parts[1]+parts[2], parts[3]
		switch isBuiltIn := strings.HasPrefix(name, "__"); {
		case reported[parts[0]]:
		case isBuiltIn && !slices.Contains(builtIn, name):
			r.note(place, "Perses does not know %s", parts[0])
		case format != "" && !slices.Contains(formats, format):
			r.note(place, "Perses does not know the format of %s", parts[0])
		case !isBuiltIn && !slices.ContainsFunc(r.grafana.Templating.List, func(v grafanaVariable) bool { return v.Name == name }):
			r.note(place, "the dashboard has no variable %s", parts[0])
		}
		reported[parts[0]] = true
	}
}
