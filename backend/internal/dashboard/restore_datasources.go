package dashboard

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// selectDatasource sets the datasource of a query or variable to that of Grafana, unless percli set it.
func (r *restoration) selectDatasource(spec object, from grafanaDatasource) {
	if from.uid == "" {
		return
	}
	migrated := child(spec, "datasource")
	if migrated == nil {
		name, isInput := r.inputs[from.uid]
		if !isInput {
			name = from.uid
		}
		spec["datasource"] = object{"kind": "PrometheusDatasource", "name": name}
	} else if name := textOf(migrated, "name"); name != "" && name != from.uid {
		r.inputs[from.uid] = name
	}
}

// selection matches the name of a datasource that is a variable or an input.
var selection = regexp.MustCompile(`^\$(?:(\w+)|\{(\w+)(?::\w+)?\}|\{DS_[^}]*\})$`)

// references corrects the datasources of all queries and variables. percli writes their uid in Grafana as a name, even if it
// is a variable.
func (r *restoration) references(document object) {
	selects := map[string]bool{}
	for _, variable := range items(r.spec, "variables") {
		spec := child(variable, "spec")
		selects[textOf(spec, "name")] = textOf(child(spec, "plugin"), "kind") == "DatasourceVariable"
	}
	inputs, names := map[string]bool{}, map[string]bool{}
	forEachObject(document, func(spec object) {
		selector := child(spec, "datasource")
		if textOf(selector, "kind") != "PrometheusDatasource" {
			return
		}
		name := textOf(selector, "name")
		variable := selection.FindStringSubmatch(modernSyntax(name))
		switch {
		case variable != nil && selects[variable[1]+variable[2]]:
			spec["datasource"] = "$" + variable[1] + variable[2]
		case variable != nil:
			delete(selector, "name")
			inputs[name] = true
		case name == "" || name == "default":
			delete(selector, "name")
		case r.isOfGrafana(name):
			names[name] = true
		}
	})
	if r.datasource != "" {
		return // All have this name.
	}
	for _, name := range slices.Sorted(maps.Keys(inputs)) {
		r.note("dashboard", "the datasource %s has no value: the default one is queried. Set --datasource NAME here, or --input of percli migrate", name)
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		r.note("dashboard", "the datasource %q is one of Grafana: set --datasource NAME, or give a datasource of Perses this name", name)
	}
}

// isOfGrafana reports whether Grafana knows a datasource by that name, so that it is not the value of an input.
func (r *restoration) isOfGrafana(name string) bool {
	for _, panel := range r.grafana.byKey() {
		if panel.Datasource.uid == name || slices.ContainsFunc(panel.Targets, func(t grafanaTarget) bool { return t.Datasource.uid == name }) {
			return true
		}
	}
	return slices.ContainsFunc(r.grafana.Templating.List, func(v grafanaVariable) bool { return v.Datasource.uid == name }) ||
		slices.ContainsFunc(r.grafana.Annotations.List, func(a grafanaAnnotation) bool { return a.Datasource.uid == name })
}

// forEachObject calls a function with every object of a tree.
func forEachObject(value any, call func(object)) {
	switch value := value.(type) {
	case object:
		call(value)
		for _, below := range value {
			forEachObject(below, call)
		}
	case []any:
		for _, below := range value {
			forEachObject(below, call)
		}
	}
}

// annotationColor matches a color that Perses takes.
var annotationColor = regexp.MustCompile(`^(#[0-9a-fA-F]{6}|rgba?\([0-9., ]+\)|red|orange|yellow|green|blue|purple)$`)

// annotations restores the annotations that query a Prometheus.
func (r *restoration) annotations() {
	restored := []any{}
	for _, from := range r.grafana.Annotations.List {
		place := fmt.Sprintf("annotation %q", from.Name)
		switch {
		case from.BuiltIn.value != 0 || from.Datasource.uid == "-- Grafana --":
			r.note(place, "it is stored in Grafana, and lost")
		case !from.Datasource.isPrometheus() || from.Expr == "":
			r.note(place, "it asks a datasource of the type %q, and is lost", from.Datasource.name())
		default:
			restored = append(restored, r.annotation(place, from))
		}
	}
	if len(restored) > 0 {
		r.spec["annotations"] = restored
	}
}

func (r *restoration) annotation(place string, from grafanaAnnotation) object {
	display := object{"name": from.Name}
	if from.Enable != nil && !*from.Enable {
		display["hidden"] = true
	}
	if annotationColor.MatchString(from.IconColor) {
		display["color"] = from.IconColor
	} else if from.IconColor != "" {
		r.note(place, "its color %q is lost", from.IconColor)
	}
	spec := object{"expr": modernSyntax(from.Expr)}
	for key, text := range map[string]string{"title": from.TitleFormat, "legend": from.TextFormat} {
		if text != "" {
			spec[key] = modernSyntax(text)
		}
	}
	if labels := strings.FieldsFunc(from.TagKeys, func(r rune) bool { return r == ',' || r == ' ' }); len(labels) > 0 {
		spec["tags"] = labels
	}
	r.selectDatasource(spec, from.Datasource)
	if from.UseValueForTime.value {
		r.note(place, "Perses marks when the query has a value, and does not take the value for the time")
	}
	r.unknownVariables(place, textOf(spec, "expr"), stepVariables)
	return object{"display": display, "plugin": object{"kind": "PrometheusPromQLAnnotation", "spec": spec}}
}
