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
	documents, isJSON, err := parse(source)
	if err != nil {
		return Result{}, err
	}
	if len(documents) == 0 {
		return Result{}, errors.New("there is no document")
	}
	c := newConversion(newEditor(source, isJSON), options)
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
	changed, err := c.editor.result()
	if err != nil {
		return Result{}, err
	}
	return Result{Document: changed, Converted: c.converted, Notes: c.notes}, nil
}

// conversion is one run over a document.
type conversion struct {
	editor  *editor
	options Options
	// kinds are the kinds of plugins that are changed, and what they become.
	kinds map[string]string
	// from and to are the kinds of the datasources.
	from, to string

	visited   map[*node]bool
	converted int
	notes     []string
	mistakes  []error
}

func newConversion(e *editor, options Options) *conversion {
	c := &conversion{
		editor: e, options: options, kinds: map[string]string{}, visited: map[*node]bool{},
		from: datasourceKinds[Prometheus], to: datasourceKinds[options.To],
	}
	for _, kind := range pluginKinds {
		c.kinds[kind] = "Tiered" + kind
	}
	if options.To == Prometheus {
		c.from = datasourceKinds[Tiered]
		for _, kind := range pluginKinds {
			delete(c.kinds, kind)
			c.kinds["Tiered"+kind] = kind
		}
	}
	return c
}

func (c *conversion) note(path, format string, arguments ...any) {
	c.notes = append(c.notes, path+": "+fmt.Sprintf(format, arguments...))
}

// check remembers what could not be changed.
func (c *conversion) check(path string, err error) {
	if err != nil {
		c.mistakes = append(c.mistakes, fmt.Errorf("%s: %w", path, err))
	}
}

// walk looks for plugins below a node.
func (c *conversion) walk(n *node, path string) {
	if c.visited[n] {
		return
	}
	c.visited[n] = true
	for _, each := range n.entries {
		below := join(path, each.key)
		if each.key == "<<" {
			c.note(below, "what is merged here is converted only where it stands")
		}
		if each.key == "plugin" && each.value.kind == object {
			c.plugin(each.value, below)
		}
		c.walk(each.value, below)
	}
	for i, item := range n.items {
		c.walk(item, join(path, strconv.Itoa(i)))
	}
}

func join(path, key string) string { return strings.TrimPrefix(path+"."+key, ".") }

// plugin converts a plugin, if it is of a kind that has a counterpart.
func (c *conversion) plugin(n *node, path string) {
	kind, spec := n.get("kind"), n.get("spec")
	specPath := join(path, "spec")
	counterpart, found := c.kinds[kind.text()]
	switch {
	case found:
		c.converted++
		c.check(join(path, "kind"), c.editor.replace(kind, counterpart))
		c.selector(spec, specPath)
		c.tier(spec, specPath)
	case kind.text() == c.from:
		c.note(path, "this datasource stays a %s: write a %s in its place by hand", c.from, c.to)
	case kind.text() == "DatasourceVariable":
		if of := spec.get("datasourcePluginKind"); of.text() == c.from {
			c.check(join(specPath, "datasourcePluginKind"), c.editor.replace(of, c.to))
			c.converted++
		}
	case spec.get("datasource").get("kind").text() == c.from:
		c.note(path, "this %s stays, since it has no counterpart, and asks a %s", kind.text(), c.from)
	}
}

// selector converts what a query or variable says of its datasource.
func (c *conversion) selector(spec *node, path string) {
	selected, name := spec.get("datasource"), c.options.Datasource
	path = join(path, "datasource")
	switch {
	case selected == nil:
		if name == "" {
			return
		}
		if spec == nil || spec.kind != object {
			c.note(path, "there is no spec to put the datasource %q into: add it by hand", name)
			return
		}
		c.check(path, c.editor.prepend(spec, member{key: "datasource", members: []member{{key: "kind", value: c.to}, {key: "name", value: name}}}, c.removed()))
	case selected.kind == object:
		if kind := selected.get("kind"); kind.text() == c.from {
			c.check(join(path, "kind"), c.editor.replace(kind, c.to))
		}
		if name == "" {
			return
		}
		if old := selected.get("name"); old != nil {
			c.check(join(path, "name"), c.editor.replace(old, name))
		} else {
			c.check(path, c.editor.prepend(selected, member{key: "name", value: name}, ""))
		}
	case name != "":
		c.note(path, "%s selects the datasource and stays", selected.value)
	}
}

// removed is the field of a spec that is dropped.
func (c *conversion) removed() string {
	if c.options.To == Prometheus {
		return "tier"
	}
	return ""
}

// tier drops the choice of a tier where there are none.
func (c *conversion) tier(spec *node, path string) {
	chosen := spec.get(c.removed())
	if chosen == nil {
		return
	}
	path = join(path, "tier")
	if chosen.kind != scalar {
		c.check(path, errors.New("must be auto, hot or cold"))
		return
	}
	c.check(path, c.editor.remove(spec, c.removed()))
	c.note(path, "%s dropped: a PrometheusDatasource has no tiers", chosen.value)
}
