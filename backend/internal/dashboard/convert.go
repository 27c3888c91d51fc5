// Package dashboard converts Perses dashboards of Prometheus queries into tiered ones, and
// back. It changes the kinds in the text of a document and keeps every other byte. Comments,
// order and layout of a file in git stay, and a round trip returns the same file. The package
// imports no other package of this project, and does no I/O.
package dashboard

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// Target is the kind of datasource to convert a dashboard to.
type Target string

// The targets.
const (
	Tiered     Target = "tiered"
	Prometheus Target = "prometheus"
)

// Options configure a conversion.
type Options struct {
	// To is the kind of datasource for queries and variables.
	To Target
	// Datasource is the name of their datasource. Empty: the names stay, and the default
	// datasource if there is none.
	Datasource string
	// Grafana is the Grafana dashboard that percli migrated to the document, which is JSON or one YAML document then.
	// What percli dropped is restored, and the document is written anew. Empty: the text stays.
	Grafana []byte
}

// Result is a converted document.
type Result struct {
	// Document is the text, in its original format.
	Document []byte
	// Converted is the number of queries, variables and annotations whose kind was changed.
	Converted int
	// Notes list what was dropped or has to be changed by hand, with its path.
	Notes []string
}

// tieredPrefix is the prefix of a tiered kind before the kind of its counterpart.
const tieredPrefix = "Tiered"

// pluginKinds are the kinds of Prometheus plugins that have a tiered counterpart.
var pluginKinds = []string{
	"PrometheusTimeSeriesQuery",
	"PrometheusLabelNamesVariable",
	"PrometheusLabelValuesVariable",
	"PrometheusPromQLVariable",
	"PrometheusPromQLAnnotation",
}

// ownFields are the fields that a tiered plugin has and its counterpart has not, with the
// values that they may have and the reason why they are dropped on the way back.
var ownFields = []struct{ name, values, reason string }{
	{"tier", "auto, hot or cold", "a PrometheusDatasource has no tiers"},
	{"splitAtGaps", "true or false", "a PrometheusPromQLAnnotation marks a series once, across its gaps"},
}

// alertThresholdQuery is a query kind without a counterpart. It uses a tiered datasource
// even if its spec selects none.
const alertThresholdQuery = "TieredPrometheusAlertThresholdQuery"

// datasourceName matches the names of datasources in Perses.
var datasourceName = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)

// Convert converts the queries and variables of a document to the other kind. The document is
// a dashboard or another resource of Perses, in JSON or YAML, or several in one text. Plugins
// that already have the other kind stay. Convert returns an error if it cannot read the
// document, or all places whose layout it does not support, joined.
func Convert(source []byte, options Options) (Result, error) {
	if options.To != Tiered && options.To != Prometheus {
		return Result{}, fmt.Errorf("%q is neither tiered nor prometheus", options.To)
	}
	if options.Datasource != "" && !datasourceName.MatchString(options.Datasource) {
		return Result{}, fmt.Errorf("%q is not the name of a datasource: use letters, digits, '_', '.' and '-'", options.Datasource)
	}
	var notes []string
	if len(options.Grafana) > 0 {
		if options.To != Tiered {
			return Result{}, errors.New("a dashboard from Grafana is converted to tiered only")
		}
		var err error
		if source, notes, err = restore(source, options); err != nil {
			return Result{}, err
		}
	}
	editor, documents, err := parse(source)
	if err != nil {
		return Result{}, err
	}
	if len(documents) == 0 {
		return Result{}, errors.New("there is no document")
	}
	const plain = "PrometheusDatasource"
	c := &conversion{editor: editor, options: options, visited: map[*yaml.Node]bool{}, from: plain, to: tieredPrefix + plain}
	c.result.Notes = notes
	if options.To == Prometheus {
		c.from, c.to = c.to, c.from
	}
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

// conversion converts one text.
type conversion struct {
	*editor
	options Options
	// from and to are the kinds of datasources.
	from, to string

	visited  map[*yaml.Node]bool
	result   Result
	mistakes []error
}

// counterpart returns the new kind of a plugin, or an empty string for a plugin that stays.
func (c *conversion) counterpart(kind string) string {
	plain, isTiered := strings.CutPrefix(kind, tieredPrefix)
	switch {
	case isTiered == (c.options.To == Tiered) || !slices.Contains(pluginKinds, plain):
		return ""
	case isTiered:
		return plain
	}
	return tieredPrefix + plain
}

func (c *conversion) note(path, format string, arguments ...any) {
	c.result.Notes = append(c.result.Notes, path+": "+fmt.Sprintf(format, arguments...))
}

// check adds an error of the editor to the mistakes.
func (c *conversion) check(path string, err error) {
	if err != nil {
		c.mistakes = append(c.mistakes, fmt.Errorf("%s: %w", path, err))
	}
}

// walk converts the plugins below a node.
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

// plugin converts a plugin, if its kind has a counterpart.
func (c *conversion) plugin(plugin *yaml.Node, path string) {
	kind, spec := get(plugin, "kind"), get(plugin, "spec")
	specPath := join(path, "spec")
	c.leftover(spec, path)
	if counterpart := c.counterpart(text(kind)); counterpart != "" {
		c.result.Converted++
		c.check(join(path, "kind"), c.replace(kind, counterpart))
		c.dropOwnFields(spec, specPath)
		c.selector(spec, join(specPath, "datasource"))
		return
	}
	switch {
	case text(kind) == c.from:
		c.note(path, "this datasource stays a %s: write a %s in its place by hand", c.from, c.to)
	case text(kind) == "DatasourceVariable":
		if selected := get(spec, "datasourcePluginKind"); text(selected) == c.from {
			c.check(join(specPath, "datasourcePluginKind"), c.replace(selected, c.to))
			c.result.Converted++
		}
	case c.usesOldDatasource(text(kind), spec):
		c.note(path, "this %s stays, since it has no counterpart, and uses a %s", text(kind), c.from)
	}
}

// leftover reports what percli migrate left of a Grafana dashboard, unless restore has reported it.
func (c *conversion) leftover(spec *yaml.Node, path string) {
	if len(c.options.Grafana) > 0 {
		return
	}
	const hint = ". Convert what percli wrote with --grafana FILE, or replace it by hand"
	selected := text(get(get(spec, "datasource"), "name"))
	switch {
	case text(get(spec, "query")) == migratedQuery, text(get(spec, "labelName")) == migratedQuery, text(get(spec, "text")) == migratedPanel:
		c.note(path, "percli could not migrate this from Grafana"+hint)
	case slices.EqualFunc(migratedValues, values(get(spec, "values")), func(a any, b string) bool { return a == b }):
		c.note(path, "percli could not migrate this variable from Grafana"+hint)
	case strings.HasPrefix(selected, "$"):
		c.note(path, "the datasource %s is a variable of Grafana, and Perses finds none by that name%s", selected, hint)
	}
}

// values returns the texts of a list.
func values(list *yaml.Node) []string {
	if list == nil || list.Kind != yaml.SequenceNode {
		return nil
	}
	var all []string
	for _, item := range list.Content {
		all = append(all, text(resolve(item)))
	}
	return all
}

// usesOldDatasource reports whether a plugin that stays uses a datasource of the old kind.
func (c *conversion) usesOldDatasource(kind string, spec *yaml.Node) bool {
	if kind == alertThresholdQuery {
		return c.options.To == Prometheus
	}
	return text(get(get(spec, "datasource"), "kind")) == c.from
}

// selector converts the datasource selector of a query or variable.
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
	case name != "" && len(c.options.Grafana) == 0:
		c.note(path, "%s selects the datasource and stays", selected.Value)
	}
}

// dropOwnFields removes the fields that a Prometheus plugin does not have.
func (c *conversion) dropOwnFields(spec *yaml.Node, path string) {
	if c.options.To != Prometheus {
		return
	}
	for _, field := range ownFields {
		i, at := index(spec, field.name), join(path, field.name)
		if i < 0 {
			continue
		}
		value := resolve(spec.Content[i+1])
		if value.Kind != yaml.ScalarNode {
			c.check(at, errors.New("must be "+field.values))
			continue
		}
		c.check(at, c.remove(spec, i))
		c.note(at, "%s dropped: %s", value.Value, field.reason)
	}
}
