// Package filter confines the options of a variable to what the variables before it in its group hold.
package filter

import (
	"strings"

	v1 "github.com/perses/perses/pkg/model/api/v1"
	"github.com/perses/spec/go/dashboard"
)

// Apply adds a matcher for each of the variables to every selector that is a bare metric name. A selector with braces
// is left as it is: its author wrote what it should match.
func Apply(selectors []string, variables []v1.Variable) []string {
	var matchers []string
	for _, variable := range variables {
		if !holdsLabelNames(variable) {
			matchers = append(matchers, variable.Metadata.Name+`=~"$`+variable.Metadata.Name+`"`)
		}
	}
	if len(matchers) == 0 {
		return selectors
	}
	filtered := make([]string, 0, len(selectors))
	for _, selector := range selectors {
		if !strings.Contains(selector, "{") {
			selector += "{" + strings.Join(matchers, ",") + "}"
		}
		filtered = append(filtered, selector)
	}
	return filtered
}

// holdsLabelNames tells whether the values of a variable are names of labels, which no label has for its value.
func holdsLabelNames(variable v1.Variable) bool {
	spec, isList := variable.Spec.Spec.(dashboard.ListVariableSpec)
	return isList && strings.HasSuffix(spec.Plugin.Kind, "LabelNamesVariable")
}
