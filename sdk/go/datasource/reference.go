package datasource

import (
	"encoding/json"

	"github.com/perses/perses/go-sdk/datasource"
)

// Reference is how a query or a variable names its datasource: by kind and name, or by a dashboard variable.
type Reference struct {
	selector *datasource.Selector
	variable string
}

// Selector names a datasource of this kind; an empty name means the default one of this kind.
func Selector(datasourceName string) *Reference {
	return &Reference{selector: &datasource.Selector{Kind: PluginKind, Name: datasourceName}}
}

// Variable names the dashboard variable, without its $, that holds a datasource of this kind.
func Variable(name string) *Reference { return &Reference{variable: "$" + name} }

// MarshalJSON writes an object of kind and name, or the variable.
func (r Reference) MarshalJSON() ([]byte, error) { return json.Marshal(r.value()) }

// MarshalYAML writes an object of kind and name, or the variable.
func (r Reference) MarshalYAML() (any, error) { return r.value(), nil }

func (r Reference) value() any {
	if r.variable != "" {
		return r.variable
	}
	return r.selector
}
