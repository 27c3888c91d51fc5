package dashboard

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// grafanaDashboard is what is read of a Grafana dashboard. Its fields are those of the classic model, which Grafana exports
// as "classic" or "V1".
type grafanaDashboard struct {
	Title       string          `json:"title"`
	Description string          `json:"description"`
	Timezone    string          `json:"timezone"`
	Refresh     loose[string]   `json:"refresh"`
	Panels      []grafanaPanel  `json:"panels"`
	Links       []grafanaLink   `json:"links"`
	Wrapped     json.RawMessage `json:"dashboard"`
	APIVersion  string          `json:"apiVersion"`
	Elements    json.RawMessage `json:"elements"`
	Time        struct {
		From loose[string] `json:"from"`
		To   loose[string] `json:"to"`
	} `json:"time"`
	Templating struct {
		List []grafanaVariable `json:"list"`
	} `json:"templating"`
	Annotations struct {
		List []grafanaAnnotation `json:"list"`
	} `json:"annotations"`
}

type grafanaPanel struct {
	Type            string            `json:"type"`
	Title           string            `json:"title"`
	Collapsed       bool              `json:"collapsed"`
	Panels          []grafanaPanel    `json:"panels"`
	Datasource      grafanaDatasource `json:"datasource"`
	Targets         []grafanaTarget   `json:"targets"`
	Interval        loose[string]     `json:"interval"`
	MaxDataPoints   loose[float64]    `json:"maxDataPoints"`
	TimeFrom        string            `json:"timeFrom"`
	TimeShift       string            `json:"timeShift"`
	Repeat          string            `json:"repeat"`
	RepeatDirection string            `json:"repeatDirection"`
	MaxPerRow       loose[int]        `json:"maxPerRow"`
	Alert           json.RawMessage   `json:"alert"`
	Links           []grafanaLink     `json:"links"`
	LibraryPanel    struct {
		Name string `json:"name"`
	} `json:"libraryPanel"`
	Transformations []struct {
		ID string `json:"id"`
	} `json:"transformations"`
	FieldConfig struct {
		Defaults struct {
			Min        loose[float64]    `json:"min"`
			Mappings   []json.RawMessage `json:"mappings"`
			Links      []grafanaLink     `json:"links"`
			Thresholds struct {
				Mode  string            `json:"mode"`
				Steps []json.RawMessage `json:"steps"`
			} `json:"thresholds"`
		} `json:"defaults"`
		Overrides []struct {
			Properties []struct {
				ID string `json:"id"`
			} `json:"properties"`
		} `json:"overrides"`
	} `json:"fieldConfig"`
}

type grafanaTarget struct {
	RefID        string            `json:"refId"`
	Datasource   grafanaDatasource `json:"datasource"`
	Expr         string            `json:"expr"`
	LegendFormat string            `json:"legendFormat"`
	Interval     loose[string]     `json:"interval"`
	Instant      bool              `json:"instant"`
	Range        bool              `json:"range"`
	Exemplar     bool              `json:"exemplar"`
	Hide         bool              `json:"hide"`
}

type grafanaVariable struct {
	Name       string               `json:"name"`
	Type       string               `json:"type"`
	Datasource grafanaDatasource    `json:"datasource"`
	Query      grafanaVariableQuery `json:"query"`
	Regex      string               `json:"regex"`
	Auto       bool                 `json:"auto"`
}

type grafanaAnnotation struct {
	Name            string            `json:"name"`
	BuiltIn         loose[int]        `json:"builtIn"`
	Datasource      grafanaDatasource `json:"datasource"`
	Enable          *bool             `json:"enable"`
	Expr            string            `json:"expr"`
	IconColor       string            `json:"iconColor"`
	TitleFormat     string            `json:"titleFormat"`
	TextFormat      string            `json:"textFormat"`
	TagKeys         string            `json:"tagKeys"`
	UseValueForTime loose[bool]       `json:"useValueForTime"`
}

type grafanaLink struct {
	Title string `json:"title"`
	Type  string `json:"type"`
	URL   string `json:"url"`
}

// loose is a field that old dashboards have with another type, such as false in place of a string. It is empty then.
type loose[T any] struct{ value T }

func (l *loose[T]) UnmarshalJSON(text []byte) error {
	if json.Unmarshal(text, &l.value) != nil {
		*l = loose[T]{}
	}
	return nil
}

// grafanaDatasource is a reference to a datasource. Before Grafana 8.3 it was its name or a variable.
type grafanaDatasource struct{ kind, uid string }

func (d *grafanaDatasource) UnmarshalJSON(text []byte) error {
	var reference struct {
		Type string `json:"type"`
		UID  string `json:"uid"`
	}
	if json.Unmarshal(text, &d.uid) == nil {
		return nil
	}
	if err := json.Unmarshal(text, &reference); err != nil {
		return fmt.Errorf("datasource: %w", err)
	}
	d.kind, d.uid = reference.Type, reference.UID
	return nil
}

// isPrometheus reports whether the datasource is a Prometheus, or may be one because the reference has no type.
func (d grafanaDatasource) isPrometheus() bool {
	return d.kind == "prometheus" || strings.HasSuffix(d.kind, "prometheus-datasource") || d.kind == "" && d.uid != "-- Grafana --" && d.uid != "-- Mixed --" && d.uid != "-- Dashboard --"
}

// name returns the type of the datasource for a text, or its uid.
func (d grafanaDatasource) name() string {
	if d.kind != "" {
		return d.kind
	}
	return d.uid
}

// grafanaVariableQuery is the query of a variable: a text, or an object with one.
type grafanaVariableQuery string

func (q *grafanaVariableQuery) UnmarshalJSON(text []byte) error {
	var object struct {
		Query loose[string] `json:"query"`
	}
	if json.Unmarshal(text, (*string)(q)) != nil && json.Unmarshal(text, &object) == nil {
		*q = grafanaVariableQuery(object.Query.value)
	}
	return nil
}

// parseGrafana reads a Grafana dashboard in the classic model.
func parseGrafana(source []byte) (grafanaDashboard, error) {
	var read grafanaDashboard
	if err := json.Unmarshal(source, &read); err != nil {
		return read, fmt.Errorf("read the Grafana dashboard as JSON: %w", err)
	}
	switch {
	case read.Wrapped != nil:
		return read, errors.New(`the Grafana dashboard is an answer of Grafana's API: migrate the part below "dashboard", and name a file with that part`)
	case read.APIVersion != "" || read.Elements != nil:
		return read, errors.New("the Grafana dashboard is a resource or of schema V2: export it as Classic in Grafana, and migrate that")
	case read.Panels == nil:
		return read, errors.New(`the Grafana dashboard has no "panels": Perses migrates no "rows" of Grafana before version 5; open and save it in a newer Grafana`)
	}
	return read, nil
}

// byKey returns the panels by the keys that percli gives them. A panel after an open row belongs to that row.
func (d grafanaDashboard) byKey() map[string]grafanaPanel {
	all := map[string]grafanaPanel{}
	top, inRow, isOpen := -1, 0, false
	for _, panel := range d.Panels {
		switch {
		case panel.Type == "row":
			top++
			isOpen, inRow = !panel.Collapsed, len(panel.Panels)
			for i, inner := range panel.Panels {
				all[rowKey(top, i)] = inner
			}
		case isOpen:
			all[rowKey(top, inRow)] = panel
			inRow++
		default:
			top++
			all[strconv.Itoa(top)] = panel
		}
	}
	return all
}

// repeatsFor reports whether a row or a panel repeats for the values of a variable.
func (d grafanaDashboard) repeatsFor(variable string) bool {
	repeats := func(panel grafanaPanel) bool { return panel.Repeat == variable }
	return slices.ContainsFunc(d.Panels, func(panel grafanaPanel) bool { return repeats(panel) || slices.ContainsFunc(panel.Panels, repeats) })
}

func rowKey(row, panel int) string { return fmt.Sprintf("%d_%d", row, panel) }
