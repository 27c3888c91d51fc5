package dashboard

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

type object = map[string]any

// restoration restores what percli migrate drops of a Grafana dashboard, and reports what it cannot restore.
type restoration struct {
	grafana grafanaDashboard
	// document is the migrated dashboard, spec its spec.
	document, spec object
	// datasource is the name that all queries and variables will have, or empty.
	datasource string
	notes      []string
	// inputs holds the name that percli put in place of a datasource of the Grafana dashboard, because of its flag --input.
	inputs map[string]string
}

// restore returns a migrated dashboard, in its format, with what percli migrate dropped of the Grafana dashboard that it
// was migrated from, and notes of what is lost. The queries are those of the Prometheus plugin.
func restore(source []byte, options Options) ([]byte, []string, error) {
	grafana, err := parseGrafana(options.Grafana)
	if err != nil {
		return nil, nil, err
	}
	isJSON := json.Valid(source)
	document, err := decodeDocument(source, isJSON)
	if err != nil {
		return nil, nil, err
	}
	r := &restoration{grafana: grafana, document: document, datasource: options.Datasource, inputs: map[string]string{}}
	r.spec = child(document, "spec")
	if document["kind"] == "PersesDashboard" && child(r.spec, "config") != nil {
		r.spec = child(r.spec, "config")
	}
	if err := r.match(); err != nil {
		return nil, nil, err
	}
	r.settings()
	r.panels() // First, since it finds the inputs.
	r.variables()
	r.annotations()
	r.links("dashboard", grafana.Links, r.spec)
	r.references(document)
	restored, err := encodeDocument(document, isJSON)
	return restored, r.notes, err
}

func decodeDocument(source []byte, isJSON bool) (object, error) {
	var document object
	if isJSON {
		decoder := json.NewDecoder(bytes.NewReader(source))
		decoder.UseNumber()
		if err := decoder.Decode(&document); err != nil {
			return nil, fmt.Errorf("read the migrated dashboard: %w", err)
		}
		return document, nil
	}
	if err := yaml.Unmarshal(source, &document); err != nil {
		return nil, fmt.Errorf("read the migrated dashboard as YAML: %w", err)
	}
	return document, nil
}

func encodeDocument(document object, isJSON bool) ([]byte, error) {
	var out bytes.Buffer
	if isJSON {
		encoder := json.NewEncoder(&out)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		err := encoder.Encode(document)
		return out.Bytes(), err
	}
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	err := encoder.Encode(document)
	return out.Bytes(), err
}

func (r *restoration) note(place, format string, arguments ...any) {
	r.notes = append(r.notes, place+": "+fmt.Sprintf(format, arguments...))
}

// child returns the object below the keys, or nil.
func child(parent object, keys ...string) object {
	for _, key := range keys {
		parent, _ = parent[key].(object)
	}
	return parent
}

// items returns the objects of a list.
func items(parent object, key string) []object {
	list, _ := parent[key].([]any)
	var all []object
	for _, item := range list {
		if one, isObject := item.(object); isObject {
			all = append(all, one)
		}
	}
	return all
}

// textOf returns a string of an object, or an empty one.
func textOf(parent object, key string) string {
	value, _ := parent[key].(string)
	return value
}

// match returns an error if the document was not migrated from the Grafana dashboard, or was changed since.
func (r *restoration) match() error {
	if r.spec == nil {
		return errors.New("the document is no dashboard that percli migrate wrote")
	}
	panels := child(r.spec, "panels")
	expected := r.grafana.byKey()
	for _, key := range slices.Sorted(maps.Keys(expected)) {
		title := expected[key].Title
		if title == "" {
			title = "empty" // percli names them so.
		}
		spec := child(panels, key, "spec")
		queries := len(items(spec, "queries"))
		if textOf(child(spec, "display"), "name") != title || queries != len(expected[key].Targets) && !isPanelPlaceholder(child(spec, "plugin")) {
			return fmt.Errorf("the document was migrated from another Grafana dashboard, or edited since: it has no panel %q with the title %q and %d queries. "+
				"Migrate again, and convert what percli wrote", key, title, len(expected[key].Targets))
		}
	}
	if len(panels) != len(expected) {
		return fmt.Errorf("the document has %d panels, and the Grafana dashboard %d: migrate again, and convert what percli wrote", len(panels), len(expected))
	}
	return nil
}

var (
	// relativeTime matches the start of a time range that a duration of Perses expresses.
	relativeTime = regexp.MustCompile(`^now-(\d+[smhdwy])$`)
	// refreshInterval matches a refresh interval that Perses takes.
	refreshInterval = regexp.MustCompile(`^\d+[smhd]$`)
	// notInName matches what the name of a resource of Perses must not have.
	notInName = regexp.MustCompile(`[^a-zA-Z0-9_.-]+`)
)

// settings restores the settings of the dashboard.
func (r *restoration) settings() {
	if metadata := child(r.document, "metadata"); metadata != nil && textOf(metadata, "name") == "" {
		metadata["name"] = strings.Trim(notInName.ReplaceAllString(strings.ToLower(r.grafana.Title), "-"), "-")
	}
	if display := child(r.spec, "display"); display != nil && r.grafana.Description != "" {
		display["description"] = r.grafana.Description
	}
	from, to := r.grafana.Time.From.value, r.grafana.Time.To.value
	duration := relativeTime.FindStringSubmatch(from)
	switch {
	case from == "" && to == "":
	case duration != nil && to == "now":
		r.spec["duration"] = duration[1]
	default:
		r.note("dashboard", "the time range from %s to %s is lost: Perses opens a dashboard with a range up to now, here %v", from, to, r.spec["duration"])
	}
	if refreshInterval.MatchString(r.grafana.Refresh.value) {
		r.spec["refreshInterval"] = r.grafana.Refresh.value
	}
	switch zone := r.grafana.Timezone; zone {
	case "", "browser":
	case "utc":
		r.spec["timezone"] = "UTC"
	default:
		r.spec["timezone"] = zone
	}
}

// links lets links render their variables, as Grafana does, and reports those that lead nowhere in Perses.
func (r *restoration) links(place string, links []grafanaLink, migrated object) {
	for _, link := range items(migrated, "links") {
		if strings.Contains(textOf(link, "url"), "$") {
			link["renderVariables"] = true
		}
	}
	for _, link := range links {
		switch {
		case link.Type == "dashboards":
			r.note(place, "the link %q to dashboards with certain tags is lost: Perses has only links with a URL", link.Title)
		case grafanaURL.MatchString(link.URL):
			r.note(place, "the link %q leads to a page of Grafana: %s", link.Title, link.URL)
		case grafanaLinkVariable.MatchString(link.URL):
			r.note(place, "the link %q has a variable that Perses does not know: %s", link.Title, link.URL)
		}
	}
}

var (
	grafanaURL          = regexp.MustCompile(`^(https?://[^/]+/grafana)?/?(d|explore|dashboard|alerting)(/|\?|$)`)
	grafanaLinkVariable = regexp.MustCompile(`\$\{?__(url_time_range|all_variables|field|data|series|value|org|user)\b`)
)
