// Package dashboard turns Perses dashboards of Prometheus queries into tiered
// ones and back. It changes kinds in the text of a document and leaves every
// other byte as it was written: comments, order and layout of a file in git
// stay, and there and back again gives the same file.
package dashboard

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// Target is the kind of datasource that a dashboard is turned to.
type Target string

// The targets.
const (
	Tiered     Target = "tiered"
	Prometheus Target = "prometheus"
)

// Options are the choices of a conversion.
type Options struct {
	// To is the kind of datasource that queries and variables are to ask.
	To Target
	// Datasource is the name of the datasource that they are to ask. Empty
	// leaves the names as they are, and the default datasource where there is
	// none.
	Datasource string
}

// Result is a converted document.
type Result struct {
	// Document is the text, in the format that it came in.
	Document []byte
	// Converted counts the queries and variables whose kind was changed.
	Converted int
	// Notes say what was left or dropped, one line each, each with its place.
	Notes []string
}

// datasourceKinds are the kinds of the datasources by target.
var datasourceKinds = map[Target]string{
	Tiered:     "TieredPrometheusDatasource",
	Prometheus: "PrometheusDatasource",
}

// pluginKinds are the kinds that differ in the prefix Tiered only.
var pluginKinds = []string{
	"PrometheusTimeSeriesQuery",
	"PrometheusLabelNamesVariable",
	"PrometheusLabelValuesVariable",
	"PrometheusPromQLVariable",
}

// datasourceName is what Perses takes for a name.
var datasourceName = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)

// Convert turns the queries and variables of a document to the other kind: of a
// dashboard, or of any other resource of Perses, in JSON or YAML, also several
// in one text. What is already of the other kind stays. The error says what of
// the document cannot be read, or lists what has to be written otherwise first.
func Convert(source []byte, options Options) (Result, error) {
	if options.To != Tiered && options.To != Prometheus {
		return Result{}, fmt.Errorf("%q is neither tiered nor prometheus", options.To)
	}
	if options.Datasource != "" && !datasourceName.MatchString(options.Datasource) {
		return Result{}, fmt.Errorf("%q is no name of a datasource: use letters, digits, '_', '.' and '-'", options.Datasource)
	}
	editor, documents, err := parse(source)
	if err != nil {
		return Result{}, err
	}
	if len(documents) == 0 {
		return Result{}, errors.New("there is no document")
	}
	c := newConversion(editor, options)
	for i, document := range documents {
		path := ""
		if len(documents) > 1 {
			path = "document " + strconv.Itoa(i+1)
		}
		c.walk(document, path)
	}
	if err := errors.Join(c.mistakes...); err != nil {
		return Result{}, err
	}
	c.result.Document, err = editor.result()
	return c.result, err
}

// conversion is one run over a document.
type conversion struct {
	*editor
	options Options
	// kinds are the kinds of plugins that are changed, and what they become.
	kinds map[string]string
	// from and to are the kinds of the datasources.
	from, to string

	visited  map[*yaml.Node]bool
	result   Result
	mistakes []error
}

func newConversion(e *editor, options Options) *conversion {
	c := &conversion{
		editor: e, options: options, kinds: map[string]string{}, visited: map[*yaml.Node]bool{},
		from: datasourceKinds[Prometheus], to: datasourceKinds[options.To],
	}
	if options.To == Prometheus {
		c.from = datasourceKinds[Tiered]
	}
	for _, kind := range pluginKinds {
		if options.To == Tiered {
			c.kinds[kind] = "Tiered" + kind
		} else {
			c.kinds["Tiered"+kind] = kind
		}
	}
	return c
}

func (c *conversion) note(path, format string, arguments ...any) {
	c.result.Notes = append(c.result.Notes, path+": "+fmt.Sprintf(format, arguments...))
}

// check remembers what could not be changed.
func (c *conversion) check(path string, err error) {
	if err != nil {
		c.mistakes = append(c.mistakes, fmt.Errorf("%s: %w", path, err))
	}
}

// walk looks for plugins below a node.
func (c *conversion) walk(node *yaml.Node, path string) {
	if node = resolve(node); c.visited[node] {
		return
	}
	c.visited[node] = true
	if node.Kind == yaml.SequenceNode {
		for i, item := range node.Content {
			c.walk(item, join(path, strconv.Itoa(i)))
		}
		return
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i].Value, resolve(node.Content[i+1])
		below := join(path, key)
		if key == "<<" {
			c.note(below, "what is merged here is converted only where it stands")
		}
		if key == "plugin" && value.Kind == yaml.MappingNode {
			c.plugin(value, below)
		}
		c.walk(value, below)
	}
}

func join(path, key string) string { return strings.TrimPrefix(path+"."+key, ".") }

// plugin converts a plugin, if it is of a kind that has a counterpart.
func (c *conversion) plugin(plugin *yaml.Node, path string) {
	kind, spec := get(plugin, "kind"), get(plugin, "spec")
	specPath := join(path, "spec")
	counterpart, found := c.kinds[text(kind)]
	switch {
	case found:
		c.result.Converted++
		c.check(join(path, "kind"), c.replace(kind, counterpart))
		c.tier(spec, join(specPath, "tier"))
		c.selector(spec, join(specPath, "datasource"))
	case text(kind) == c.from:
		c.note(path, "this datasource stays a %s: write a %s in its place by hand", c.from, c.to)
	case text(kind) == "DatasourceVariable":
		if of := get(spec, "datasourcePluginKind"); text(of) == c.from {
			c.check(join(specPath, "datasourcePluginKind"), c.replace(of, c.to))
			c.result.Converted++
		}
	case text(get(get(spec, "datasource"), "kind")) == c.from:
		c.note(path, "this %s stays, since it has no counterpart, and asks a %s", text(kind), c.from)
	}
}

// selector converts what a query or variable says of its datasource.
func (c *conversion) selector(spec *yaml.Node, path string) {
	selected, name := get(spec, "datasource"), c.options.Datasource
	kindField, nameField := c.field("kind", c.scalar(c.to)), c.field("name", c.scalar(name))
	switch {
	case selected == nil && name == "":
	case selected == nil && (spec == nil || spec.Kind != yaml.MappingNode):
		c.note(path, "there is no spec to put the datasource %q into: add it by hand", name)
	case selected == nil:
		line := c.field("datasource", "{"+kindField+", "+nameField+"}")
		c.prepend(spec, line, "datasource:", "  "+kindField, "  "+nameField)
	case selected.Kind == yaml.MappingNode:
		if kind := get(selected, "kind"); text(kind) == c.from {
			c.check(join(path, "kind"), c.replace(kind, c.to))
		}
		if old := get(selected, "name"); name != "" && old != nil {
			c.check(join(path, "name"), c.replace(old, name))
		} else if name != "" {
			c.prepend(selected, nameField, nameField)
		}
	case name != "":
		c.note(path, "%s selects the datasource and stays", selected.Value)
	}
}

// tier drops the choice of a tier where there are none.
func (c *conversion) tier(spec *yaml.Node, path string) {
	i := index(spec, "tier")
	if c.options.To != Prometheus || i < 0 {
		return
	}
	chosen := resolve(spec.Content[i+1])
	if chosen.Kind != yaml.ScalarNode {
		c.check(path, errors.New("must be auto, hot or cold"))
		return
	}
	c.check(path, c.remove(spec, i))
	c.note(path, "%s dropped: a PrometheusDatasource has no tiers", chosen.Value)
}
