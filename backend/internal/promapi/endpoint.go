package promapi

import (
	"maps"
	"net/http"
	"slices"
	"strings"
)

// Endpoint names an endpoint of the Prometheus HTTP API. Its values are the
// label values of the request metrics, so there is a bounded number of them.
type Endpoint string

// The endpoints that are served. The table in traits.go says what each is like.
const (
	Query           Endpoint = "query"
	QueryRange      Endpoint = "query_range"
	QueryExemplars  Endpoint = "query_exemplars"
	Series          Endpoint = "series"
	Labels          Endpoint = "labels"
	LabelValues     Endpoint = "label_values"
	FormatQuery     Endpoint = "format_query"
	ParseQuery      Endpoint = "parse_query"
	Metadata        Endpoint = "metadata"
	Rules           Endpoint = "rules"
	Alerts          Endpoint = "alerts"
	AlertThresholds Endpoint = "alert_thresholds"
	Alertmanagers   Endpoint = "alertmanagers"
	Targets         Endpoint = "targets"
	TargetsMetadata Endpoint = "targets_metadata"
	ScrapePools     Endpoint = "scrape_pools"
	Stores          Endpoint = "stores"
	Features        Endpoint = "features"
	StatusInfo      Endpoint = "status"
)

// Endpoints lists every endpoint once, sorted. Metrics initialise their labels
// with it.
func Endpoints() []Endpoint {
	return slices.Sorted(maps.Keys(byEndpoint))
}

// refused are the endpoints that write, delete or stop something. They are
// refused by name, so that the error says more than "not found".
var refused = []string{"api/v1/write", "api/v1/otlp", "api/v1/read", "api/v1/admin", "-/reload", "-/quit"}

// MatchEndpoint returns the row of the table for the path below the datasource, such
// as /api/v1/query_range. What the table does not list is not served: everything in it
// only reads.
//
// It returns an Error with status 403 for endpoints that write, and 404 for those that
// are not served.
func MatchEndpoint(path string) (*Traits, error) {
	path = strings.TrimPrefix(path, "/")
	for _, prefix := range refused {
		if path == prefix || strings.HasPrefix(path, prefix+"/") {
			return nil, Errorf(http.StatusForbidden, ErrorForbidden, "/%s is refused: tierproxy only reads from its tiers", path)
		}
	}
	if name, isAPI := strings.CutPrefix(path, "api/v1/"); isAPI {
		if rest, isLabel := strings.CutPrefix(name, "label/"); isLabel {
			if label, isValues := strings.CutSuffix(rest, "/values"); isValues && label != "" && !strings.Contains(label, "/") {
				name = pathOfLabelValues
			}
		}
		if row, known := byPath[name]; known {
			return row, nil
		}
	}
	return nil, Errorf(http.StatusNotFound, ErrorNotFound, "/%s is not an endpoint of the Prometheus API that tierproxy serves", path)
}
